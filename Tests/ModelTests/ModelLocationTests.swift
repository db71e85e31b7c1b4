import Foundation
import TestSupport
import Testing

@testable import Model

@Suite struct ModelLocationTests {
  /// A hub's cache that holds one snapshot of a model.
  func hub(holding folder: String, revision: String = "607a30d", reference: String? = nil) throws
    -> TemporaryDirectory
  {
    let hub = try TemporaryDirectory()
    let model = URL(fileURLWithPath: hub.path).appendingPathComponent(folder)
    let snapshot = model.appendingPathComponent("snapshots/\(revision)")
    let references = model.appendingPathComponent("refs")
    for directory in [snapshot, references] {
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }
    try Data("{}".utf8).write(to: snapshot.appendingPathComponent("config.json"))
    try Data((reference ?? revision).utf8).write(to: references.appendingPathComponent("main"))
    return hub
  }

  @Test func aDirectoryIsItself() throws {
    let directory = ReferenceArrays.path("tiny")
    #expect(try locateModel(directory, hub: "/nowhere") == directory)
  }

  @Test(arguments: [
    ("gpt2", "models--gpt2"), ("gpt2", "models--openai-community--gpt2"),
    ("someone/tuned-gpt2", "models--someone--tuned-gpt2"),
  ])
  func aNameIsLookedUpInTheHubsCache(name: String, folder: String) throws {
    let hub = try hub(holding: folder)
    #expect(try locateModel(name, hub: hub.path) == "\(hub.path)/\(folder)/snapshots/607a30d")
  }

  @Test(arguments: [
    "gpt2-medium", "", "./gpt2", "/gpt2", "a/b/c", "../x", "someone/..", "x//y",
  ])
  func whatIsNowhereIsNamed(name: String) throws {
    let hub = try hub(holding: "models--gpt2")
    #expect(throws: ModelNotFound(name: name, hubFolder: hub.path)) {
      try locateModel(name, hub: hub.path)
    }
  }

  @Test(arguments: ["", "../607a30d", "607a30d/../x", ".."])
  func aReferenceThatIsNoRevisionIsNotFollowed(reference: String) throws {
    let hub = try hub(holding: "models--gpt2", reference: reference)
    #expect(throws: ModelNotFound.self) { try locateModel("gpt2", hub: hub.path) }
  }
}
