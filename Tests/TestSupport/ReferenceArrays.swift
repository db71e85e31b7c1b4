import Foundation

/// Arrays of a safetensors file, such as tools/make_reference.py writes. A reader of its own, without
/// any check, so that the tests do not lean on the code they test.
public struct ReferenceArrays: Sendable {
  public struct Missing: Error, CustomStringConvertible {
    public let description: String
  }

  private struct Entry: Decodable, Sendable {
    let dtype: String
    let shape: [Int]
    let data_offsets: [Int]
  }

  private let path: String
  private let body: Data
  private let entries: [String: Entry]

  /// The path of a fixture, such as `odd/reference-raw.safetensors`.
  public static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("ModelTests/Fixtures/\(name)").path
  }

  /// A fixture, by its name under the fixtures' folder.
  public init(_ name: String) throws {
    try self.init(path: ReferenceArrays.path(name))
  }

  public init(path: String) throws {
    self.path = path
    let data = try Data(contentsOf: URL(fileURLWithPath: path))
    let length = data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try JSONSerialization.jsonObject(with: data.dropFirst(8).prefix(length))
    var tensors = header as? [String: Any] ?? [:]
    tensors["__metadata__"] = nil
    entries = try JSONDecoder().decode(
      [String: Entry].self, from: try JSONSerialization.data(withJSONObject: tensors))
    body = Data(data.dropFirst(8 + length))
  }

  public var names: [String] { entries.keys.sorted() }

  public func shape(_ name: String) throws -> [Int] { try entry(name, nil).shape }

  public func floats(_ name: String) throws -> [Float] { try values(name, "F32") }

  public func doubles(_ name: String) throws -> [Double] { try values(name, "F64") }

  public func tokens(_ name: String) throws -> [Int32] { try values(name, "I32") }

  private func values<Value>(_ name: String, _ type: String) throws -> [Value] {
    let offsets = try entry(name, type).data_offsets
    return body.subdata(in: offsets[0]..<offsets[1]).withUnsafeBytes { bytes in
      (0..<bytes.count / MemoryLayout<Value>.size).map {
        bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Value>.size, as: Value.self)
      }
    }
  }

  private func entry(_ name: String, _ type: String?) throws -> Entry {
    guard let entry = entries[name], type == nil || entry.dtype == type else {
      throw Missing(description: "\(path) has no \(type ?? "array") \(name)")
    }
    return entry
  }
}
