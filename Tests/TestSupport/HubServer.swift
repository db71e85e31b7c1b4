import Foundation

/// A hub on 127.0.0.1 that serves what is in a directory, and does wrong what a test asks it to do
/// (hub_server.py, which says what there is). It ends with the object.
public final class HubServer: @unchecked Sendable {
  /// A commit as the hub names it.
  public static let commit = "0123456789abcdef0123456789abcdef01234567"
  public static let otherCommit = "89abcdef0123456789abcdef0123456789abcdef"

  /// A request as it arrived.
  public struct Request: Decodable, Sendable {
    public let method: String
    public let path: String
    /// Whether it came to the hub; else it came to the store.
    public let isHub: Bool
    public let authorization: String?
    public let range: String?
    public let agent: String?
  }

  public let folder: TemporaryDirectory
  public let endpoint: String
  private var scenario: [String: Any]
  private let process = Process()
  private let input = Pipe()

  public init() throws {
    folder = try TemporaryDirectory()
    scenario = [
      "root": folder.path + "/root",
      "revisions": [
        "main": HubServer.commit, "refs/pr/7": HubServer.otherCommit, "v1.0": HubServer.otherCommit,
      ],
    ]
    try FileManager.default.createDirectory(
      atPath: folder.path + "/root", withIntermediateDirectories: true)
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("hub_server.py").path
    process.arguments = [
      "python3", "-IS", script, folder.path + "/scenario", folder.path + "/log",
    ]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    var line = Data()
    while !line.contains(UInt8(ascii: "\n")) {
      let piece = output.fileHandleForReading.availableData
      guard !piece.isEmpty else { break }
      line += piece
    }
    let port = String(decoding: line, as: UTF8.self).split(separator: " ").first ?? "0"
    endpoint = "http://127.0.0.1:\(port)"
    try write()
  }

  deinit {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  private func write() throws {
    try folder.write("scenario", JSONSerialization.data(withJSONObject: scenario))
  }

  /// Serves a file of a repository.
  public func serve(_ name: String, of repository: String, _ bytes: some Sequence<UInt8>) throws {
    try FileManager.default.createDirectory(
      atPath: "\(folder.path)/root/\(repository)", withIntermediateDirectories: true)
    try folder.write("root/\(repository)/\(name)", bytes)
  }

  /// Sets an entry of the scenario.
  public func set(_ key: String, _ value: Any) throws {
    scenario[key] = value
    try write()
  }

  /// Lets something go wrong with a file: where the hub describes it, or where its bytes come from.
  public func fail(_ file: String, resolve: [String: Any] = [:], content: [String: Any] = [:])
    throws
  {
    try set("faults", [file: ["resolve": resolve, "content": content]])
  }

  /// The requests so far.
  public func requests() throws -> [Request] {
    let path = folder.path + "/log"
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
      try JSONDecoder().decode(Request.self, from: Data($0.utf8))
    }
  }
}
