import Foundation
import TestSupport
import Testing

@testable import Hub

/// Models that are on this machine, as Hugging Face's own programs leave them.
@Suite struct ModelLocationTests {
  private let home: TemporaryDirectory

  init() throws { home = try TemporaryDirectory() }

  /// Puts files into a snapshot of a hub's cache.
  private func hold(
    _ folder: String, revision: String = "607a30d", reference: String? = nil,
    files: [String] = ["config.json", "model.safetensors", "tokenizer.json"]
  ) throws {
    let model = URL(fileURLWithPath: home.path).appendingPathComponent("hub/\(folder)")
    let snapshot = model.appendingPathComponent("snapshots/\(revision)")
    let references = model.appendingPathComponent("refs")
    for directory in [snapshot, references] {
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }
    for file in files { try Data("{}".utf8).write(to: snapshot.appendingPathComponent(file)) }
    try Data((reference ?? revision).utf8).write(to: references.appendingPathComponent("main"))
  }

  private func locate(_ name: String) throws -> String {
    let environment = ["HF_HOME": home.path, "HF_HUB_OFFLINE": "1"]
    return try locateModel(
      name, for: .weights, settings: HubSettings(environment: environment), report: { _ in })
  }

  @Test func aDirectoryIsItself() throws {
    #expect(try locateModel(home.path) == home.path)
  }

  @Test(arguments: [
    ("gpt2", "models--gpt2"), ("gpt2", "models--openai-community--gpt2"),
    ("gpt2-small", "models--gpt2"), ("openai-community/gpt2", "models--gpt2"),
    ("distilgpt2", "models--distilbert--distilgpt2"),
    ("someone/tuned-gpt2", "models--someone--tuned-gpt2"),
  ])
  func aNameIsLookedUpInTheHubsCache(name: String, folder: String) throws {
    try hold(folder)
    #expect(try locate(name) == "\(home.path)/hub/\(folder)/snapshots/607a30d")
  }

  @Test func theSecondSpellingIsUsedIfTheFirstIsNotComplete() throws {
    try hold("models--gpt2", files: ["config.json"])
    try hold("models--openai-community--gpt2")
    #expect(
      try locate("gpt2") == "\(home.path)/hub/models--openai-community--gpt2/snapshots/607a30d")
  }

  @Test(arguments: ["gpt2-medium", "mine", "someone/gpt2", "gpt2@other"])
  func whatIsNotThereIsNamed(name: String) throws {
    try hold("models--gpt2")
    try hold("models--openai-community--mine")
    #expect(throws: HubError.offline(name: name, cache: home.path + "/hub", missing: [])) {
      try locate(name)
    }
  }

  @Test func whatIsMissingIsNamed() throws {
    try hold("models--gpt2", files: ["vocab.json", "model.safetensors"])
    #expect(
      throws: HubError.offline(
        name: "gpt2", cache: home.path + "/hub", missing: ["config.json", "merges.txt"])
    ) { try locate("gpt2") }
  }

  @Test(arguments: ["", "../607a30d", "607a30d/../x", ".."])
  func aReferenceThatIsNoRevisionIsNotFollowed(reference: String) throws {
    try hold("models--gpt2", reference: reference)
    #expect(throws: HubError.self) { try locate("gpt2") }
  }
}
