import Foundation

/// A directory that is removed when the object goes.
public final class TemporaryDirectory: Sendable {
  public let path: String

  /// - Parameter parent: where it is made; by default where the system has temporary files.
  public init(in parent: String? = nil) throws {
    let url = (parent.map { URL(filePath: $0) } ?? FileManager.default.temporaryDirectory)
      .appendingPathComponent("patchbay-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// Writes a file and returns its path. A new file in an old one's place: who maps the old one
  /// keeps it.
  @discardableResult
  public func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    try Data(bytes).write(to: URL(filePath: path + "/" + name), options: .atomic)
    return path + "/" + name
  }
}
