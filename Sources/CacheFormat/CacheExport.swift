import FileIO
import FoundationEssentials
import Glibc

/// Writes arrays of a cache as files that Python reads: hook names as keys, TransformerLens's
/// shapes without the batch axis, values as float32.
///
/// A file appears under its name when it is whole.
public struct CacheExport {
  public enum Format: String, Sendable, CaseIterable { case safetensors, npy }

  private let reader: CacheReader
  private let format: Format
  private let hooks: [Int]

  /// - Parameter hooks: their places in the plan's table.
  public init(reader: CacheReader, format: Format, hooks: [Int]) {
    self.reader = reader
    self.format = format
    self.hooks = hooks
  }

  /// Writes one prompt: safetensors to the file `path`, npy to files NAME.npy in a directory `path`.
  public func write(prompt: Int, to path: String) throws(ExportError) {
    switch format {
    case .safetensors: try writeSafetensors(prompt: prompt, to: path)
    case .npy:
      // A directory is made only for a prompt that is there.
      _ = try cached { () throws(CacheError) in try reader.positions(prompt: prompt) }
      try makeDirectory(path)
      for hook in hooks { try writeArray(hook: hook, prompt: prompt, to: path) }
    }
  }

  /// Writes every prompt that is in the cache: `prompt-000000.safetensors`, or `.npy` files in
  /// `prompt-000000/`, and so on, in the directory `path`.
  public func writeAll(to path: String, progress: (Int) -> Void = { _ in }) throws(ExportError) {
    let path = withoutTrailingSlash(path)
    try makeDirectory(path)
    for prompt in 0..<reader.committedPrompts {
      let digits = String(prompt)
      let name = "prompt-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
      let suffix = format == .safetensors ? ".safetensors" : ""
      try write(prompt: prompt, to: path + "/" + name + suffix)
      progress(prompt + 1)
    }
  }

  private func makeDirectory(_ path: String) throws(ExportError) {
    do throws(SystemError) {
      try SystemCalls().makeDirectory(path)
    } catch {
      guard error.errno == EEXIST else { throw .file(FileError(.create, path, errno: error.errno)) }
      if (try? SystemCalls().list(path)) == nil { throw .notADirectory(path: path) }
    }
  }

  private struct Tensor: Encodable {
    var dtype = "F32"
    var shape: [Int]
    var offsets: [Int]

    enum CodingKeys: String, CodingKey {
      case dtype, shape
      case offsets = "data_offsets"
    }
  }

  private struct Header: Encodable {
    var metadata: [String: String]
    var tensors: [(name: String, tensor: Tensor)]

    private struct Key: CodingKey {
      var stringValue: String
      var intValue: Int? { nil }
      init(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { nil }
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(metadata, forKey: Key(stringValue: "__metadata__"))
      for (name, tensor) in tensors {
        try container.encode(tensor, forKey: Key(stringValue: name))
      }
    }
  }

  /// Eight bytes of length, the header filled with spaces to a multiple of eight, the arrays.
  private func writeSafetensors(prompt: Int, to path: String) throws(ExportError) {
    try writeFile(path) { (file) throws(ExportError) in
      let header = try safetensorsHeader(prompt: prompt)
      let length = withUnsafeBytes(of: UInt64(header.count).littleEndian) { [UInt8]($0) }
      try append(length + header, to: file)
      for hook in hooks { try append(try values(hook: hook, prompt: prompt), to: file) }
    }
  }

  private func safetensorsHeader(prompt: Int) throws(ExportError) -> [UInt8] {
    let T = try cached { () throws(CacheError) in try reader.positions(prompt: prompt) }
    var header = Header(
      metadata: [
        "patchbay.plan": reader.planDigest, "patchbay.prompt": String(prompt),
        "patchbay.model": reader.plan.model.name, "patchbay.weights": reader.plan.weights,
      ], tensors: [])
    var offset = 0
    for hook in hooks {
      let spec = reader.plan.hooks[hook]
      guard let count = spec.count(positions: T), count <= Limits.arrayBytes / 4 else {
        throw .cache(.arrayTooLarge(hook: spec.name, positions: T))
      }
      let tensor = Tensor(
        shape: spec.dimensions(positions: T), offsets: [offset, offset + 4 * count])
      header.tensors.append((spec.name, tensor))
      offset += 4 * count
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(header) else { throw .notEncodable(prompt: prompt) }
    let spaces = (8 - data.count % 8) % 8
    return [UInt8](data) + Array(repeating: UInt8(ascii: " "), count: spaces)
  }

  private func writeArray(hook: Int, prompt: Int, to directory: String) throws(ExportError) {
    let spec = reader.plan.hooks[hook]
    try writeFile(withoutTrailingSlash(directory) + "/" + spec.name + ".npy") {
      (file) throws(ExportError) in
      let T = try cached { () throws(CacheError) in try reader.positions(prompt: prompt) }
      let shape = spec.dimensions(positions: T)
      try append(NumPyFile.header(Float.self, shape: shape), to: file)
      try append(try values(hook: hook, prompt: prompt), to: file)
    }
  }

  private func values(hook: Int, prompt: Int) throws(ExportError) -> [Float] {
    try cached { () throws(CacheError) in try reader.read(hook: hook, prompt: prompt) }
  }

  private func cached<Result>(_ body: () throws(CacheError) -> Result) throws(ExportError)
    -> Result
  {
    do throws(CacheError) { return try body() } catch { throw .cache(error) }
  }

  private func append<Value>(_ values: [Value], to file: DurableFile) throws(ExportError) {
    do throws(FileError) {
      try values.withUnsafeBufferPointer { (values) throws(FileError) in
        try file.write(UnsafeRawBufferPointer(values))
      }
    } catch {
      throw .file(error)
    }
  }

  /// Writes beside `path` and renames.
  private func writeFile(_ path: String, _ body: (DurableFile) throws(ExportError) -> Void)
    throws(ExportError)
  {
    let file: DurableFile
    if (try? SystemCalls().list(path)) != nil { throw .isADirectory(path: path) }
    do throws(FileError) { file = try DurableFile(creating: path + ".new") } catch {
      throw .file(error)
    }
    do throws(ExportError) {
      try body(file)
      do throws(FileError) { try file.publish(as: path) } catch { throw .file(error) }
    } catch {
      file.discard()
      throw error
    }
  }
}

/// Why an export stopped.
public enum ExportError: ReportableError, Equatable {
  case cache(CacheError)
  case file(FileError)
  case notEncodable(prompt: Int)
  /// A file was to be written where a directory is.
  case isADirectory(path: String)
  /// A directory was to be filled where something else is.
  case notADirectory(path: String)

  public var exitCode: SysExit {
    switch self {
    case .cache(let error): error.exitCode
    case .file(let error): error.exitCode
    case .notEncodable: .badData
    case .isADirectory, .notADirectory: .cannotCreate
    }
  }

  public var description: String {
    switch self {
    case .cache(let error): error.description
    case .file(let error): error.description
    case .notEncodable(let prompt):
      "prompt \(prompt) cannot be exported: its names cannot be written as JSON"
    case .isADirectory(let path):
      "\(path) is a directory, and one prompt goes into one file; name a file, such as "
        + "\(path)/prompt.safetensors"
    case .notADirectory(let path):
      "\(path) is not a directory, and several files are to be written; name a directory"
    }
  }
}
