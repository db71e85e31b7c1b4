import FileIO
import Foundation
import TestSupport
import Testing

@testable import Hub

/// A server with a model of random bytes, an empty cache, and what is reported of fetching.
final class ServedModel {
  let server: HubServer
  let home: TemporaryDirectory
  let files: [String: [UInt8]]
  private(set) var events: [FetchEvent] = []

  static let repository = "someone/tiny"
  var cache: String { home.path + "/hub" }
  var folder: String { cache + "/models--someone--tiny" }
  var snapshot: String { "\(folder)/snapshots/\(HubServer.commit)" }

  init(weights: Int = 40_000, seed: UInt64 = 20_261_125, shards: Bool = false) throws {
    server = try HubServer()
    home = try TemporaryDirectory()
    var generator = SeededGenerator(seed: seed)
    func bytes(_ count: Int) -> [UInt8] {
      (0..<(count + 7) / 8).flatMap { _ in
        withUnsafeBytes(of: generator.next()) { [UInt8]($0) }
      }.dropLast((8 - count % 8) % 8)
    }
    var files = [
      "config.json": Array("{}".utf8), "vocab.json": bytes(5000), "merges.txt": bytes(1),
      "tokenizer_config.json": [],
    ]
    if shards {
      files["model-1.safetensors"] = bytes(weights / 2)
      files["model-2.safetensors"] = bytes(weights / 2)
      files["model.safetensors.index.json"] = Array(
        #"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#.utf8)
    } else {
      files["model.safetensors"] = bytes(weights)
    }
    self.files = files
    for (name, content) in files { try server.serve(name, of: ServedModel.repository, content) }
  }

  func fetch(
    _ name: String = ServedModel.repository, for use: ModelUse = .weights, tries: Int = 5,
    _ variables: [String: String] = [:]
  ) throws -> String {
    var patience = HubClient.Patience()
    patience.tries = tries
    patience.pause = 0
    patience.longestPause = 1
    let environment = [
      "HF_HOME": home.path, "HF_ENDPOINT": server.endpoint, "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    ]
    return try locateModel(
      name, for: use,
      settings: HubSettings(environment: environment.merging(variables) { $1 }),
      patience: patience, report: { self.events.append($0) })
  }

  /// The snapshot holds these files and no other, with the bytes that the server has.
  func expectComplete(
    _ names: Set<String>? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let there = try FileManager.default.contentsOfDirectory(atPath: snapshot)
    #expect(Set(there) == names ?? Set(files.keys), sourceLocation: sourceLocation)
    for name in there {
      #expect(
        try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(snapshot)/\(name)"))) == files[name],
        "\(name)", sourceLocation: sourceLocation)
    }
    #expect(try partials().isEmpty, sourceLocation: sourceLocation)
  }

  /// The names of blobs, those in part among them.
  func blobs() throws -> [String] {
    guard FileManager.default.fileExists(atPath: folder + "/blobs") else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: folder + "/blobs")
  }

  func partials() throws -> [String] { try blobs().filter { $0.hasSuffix(".incomplete") } }

  /// No snapshot and no reference shows a model.
  var isAbsent: Bool {
    !isDirectory(snapshot) && !FileManager.default.fileExists(atPath: folder + "/refs")
  }

  /// What went to the place that sends the bytes of a file.
  func transfers(of name: String) throws -> [HubServer.Request] {
    try server.requests().filter {
      $0.method == "GET" && !$0.path.contains("/resolve/") && $0.path.contains("/\(name)?")
    }
  }
}
