import FileIO
import Foundation
import TestSupport
import Testing

@testable import Hub

/// Fetching a model from a hub that does everything right.
@Suite struct FetchTests {
  @Test func theCacheHasHuggingFacesLayout() throws {
    let model = try ServedModel()
    #expect(try model.fetch() == model.snapshot)
    try model.expectComplete()
    #expect(try readFile(model.folder + "/refs/main", limit: 100) == Array(HubServer.commit.utf8))
    // Digests as git and sha256sum have them.
    #expect(try model.blobs().count == 5)
    let config = try FileManager.default.destinationOfSymbolicLink(
      atPath: model.snapshot + "/config.json")
    #expect(config == "../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b")
    let settings = try FileManager.default.destinationOfSymbolicLink(
      atPath: model.snapshot + "/tokenizer_config.json")
    #expect(settings == "../../blobs/e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    let weights = try FileManager.default.destinationOfSymbolicLink(
      atPath: model.snapshot + "/model.safetensors")
    #expect(weights.hasPrefix("../../blobs/") && weights.count == 12 + 64)
    #expect(isDirectory(model.cache + "/.locks/models--someone--tiny"))
  }

  @Test func whatIsThereIsNotAskedForAgain() throws {
    let model = try ServedModel()
    _ = try model.fetch()
    let requests = try model.server.requests().count
    #expect(try model.fetch() == model.snapshot)
    #expect(try model.fetch("someone/tiny@main") == model.snapshot)
    #expect(try model.fetch("someone/tiny@\(HubServer.commit)") == model.snapshot)
    #expect(try model.server.requests().count == requests)
  }

  @Test func onlyWhatIsNeededIsFetched() throws {
    let model = try ServedModel()
    _ = try model.fetch(for: .configuration)
    try model.expectComplete(["config.json"])
    _ = try model.fetch(for: .tokenizer)
    try model.expectComplete(Set(model.files.keys).subtracting(["model.safetensors"]))
    #expect(try model.transfers(of: "model.safetensors").isEmpty)
    _ = try model.fetch()
    try model.expectComplete()
    for name in ["config.json", "vocab.json"] {
      #expect(try model.transfers(of: name).count == 1, "\(name)")
    }
  }

  @Test func oneFileOfATokenizerIsEnough() throws {
    let model = try ServedModel()
    try model.server.serve("tokenizer.json", of: ServedModel.repository, "{}".utf8)
    _ = try model.fetch()
    let there = try FileManager.default.contentsOfDirectory(atPath: model.snapshot)
    #expect(
      Set(there) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
      ])
  }

  @Test func weightsInSeveralFiles() throws {
    let model = try ServedModel(shards: true)
    _ = try model.fetch()
    try model.expectComplete()
    // A shard that went lost is fetched alone.
    let requests = try model.server.requests().count
    try FileManager.default.removeItem(atPath: model.snapshot + "/model-2.safetensors")
    for blob in try model.blobs() where blob.count == 64 {
      let path = "\(model.folder)/blobs/\(blob)"
      if try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
        == model.files["model-2.safetensors"]
      {
        try FileManager.default.removeItem(atPath: path)
      }
    }
    _ = try model.fetch()
    try model.expectComplete()
    #expect(
      try model.server.requests()[requests...].filter { $0.path.contains("model-1") }
        .allSatisfy { $0.method == "HEAD" })
  }

  @Test(arguments: [
    #"{"weight_map":{"a":"../../../etc/passwd.safetensors"}}"#,
    #"{"weight_map":{"a":"/tmp/x.safetensors"}}"#, #"{"weight_map":{"a":".safetensors"}}"#,
    #"{"weight_map":{"a":"x/y.safetensors"}}"#, #"{"weight_map":{"a":"config.json"}}"#,
    #"{"weight_map":{"a":"x\u0000.safetensors"}}"#, #"{"weight_map":{}}"#, "[]", "",
  ])
  func anIndexThatNamesSomethingElse(text: String) throws {
    let model = try ServedModel(shards: true)
    try model.server.serve("model.safetensors.index.json", of: ServedModel.repository, text.utf8)
    #expect {
      try model.fetch()
    } throws: { error in
      guard case HubError.badIndex? = error as? HubError else { return false }
      return true
    }
    #expect(model.isAbsent)
  }

  @Test func aRevisionIsABranchATagOrACommit() throws {
    let model = try ServedModel()
    let other = "\(model.folder)/snapshots/\(HubServer.otherCommit)"
    for name in ["refs/pr/7", "v1.0", HubServer.otherCommit] {
      #expect(try model.fetch("someone/tiny@\(name)") == other)
    }
    #expect(
      try readFile(model.folder + "/refs/refs/pr/7", limit: 100)
        == Array(HubServer.otherCommit.utf8))
    #expect(
      !FileManager.default.fileExists(atPath: model.folder + "/refs/\(HubServer.otherCommit)"))
    // The same files in two commits are there once.
    _ = try model.fetch()
    #expect(try model.transfers(of: "model.safetensors").count == 1)
    #expect(throws: HubError.noRevision(name: "someone/tiny", revision: "no-such")) {
      try model.fetch("someone/tiny@no-such")
    }
  }

  /// The hub answers for a repository under the name that it has now.
  @Test func aRepositoryThatMoved() throws {
    let model = try ServedModel()
    for (name, content) in model.files {
      try model.server.serve(name, of: "openai-community/gpt2", content)
    }
    try model.server.set(
      "moved", ["gpt2": "openai-community/gpt2", "someone/old": ServedModel.repository])
    #expect(
      try model.fetch("gpt2") == "\(model.cache)/models--gpt2/snapshots/\(HubServer.commit)")
    #expect(!model.events.contains { if case .moved = $0 { true } else { false } })
    _ = try model.fetch("someone/old")
    #expect(
      model.events.contains {
        if case .moved("someone/old", to: "someone/tiny") = $0 { true } else { false }
      })
  }

  @Test func theTokenGoesToTheHubAlone() throws {
    let model = try ServedModel()
    try model.server.set("token", "hf_secret")
    #expect(throws: HubError.self) { try model.fetch() }
    #expect(try model.fetch(ServedModel.repository, ["HF_TOKEN": "hf_secret"]) == model.snapshot)
    let requests = try model.server.requests()
    #expect(requests.contains { $0.isHub && $0.authorization == "Bearer hf_secret" })
    #expect(requests.contains { !$0.isHub })
    #expect(requests.allSatisfy { $0.isHub || $0.authorization == nil })
    #expect(requests.allSatisfy { $0.agent?.hasPrefix("patchbay/") == true })
  }

  @Test func severalAtOnceFetchOnce() async throws {
    let model = try ServedModel()
    let endpoint = model.server.endpoint
    let home = model.home.path
    let paths = try await withThrowingTaskGroup(of: String.self) { group in
      for _ in 0..<3 {
        group.addTask {
          try locateModel(
            ServedModel.repository, for: .weights,
            settings: HubSettings(environment: ["HF_HOME": home, "HF_ENDPOINT": endpoint]),
            report: { _ in })
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(paths == Array(repeating: model.snapshot, count: 3))
    try model.expectComplete()
    #expect(try model.transfers(of: "model.safetensors").count == 1)
  }

  /// Another program has the lock of the weights, and lets go when it is seen that it is waited for.
  @Test func whoeverFetchesIsWaitedFor() throws {
    let model = try ServedModel()
    let served = "\(model.server.folder.path)/root/\(ServedModel.repository)/model.safetensors"
    let digest = try ContentDigest.sha256("").ofFile(served)
    var other: WaitingLock? = try HubFolder(
      cache: model.cache, repository: ServedModel.repository
    ).lock(digest) {}
    let settings = HubSettings(
      environment: ["HF_HOME": model.home.path, "HF_ENDPOINT": model.server.endpoint])
    _ = try locateModel(ServedModel.repository, for: .weights, settings: settings) { event in
      if case .waits(file: "model.safetensors") = event { other = nil }
    }
    #expect(other == nil)
    try model.expectComplete()
  }

  @Test func offlineOpensNoConnection() throws {
    let model = try ServedModel()
    _ = try model.fetch(for: .tokenizer)
    let requests = try model.server.requests().count
    let offline = ["HF_HUB_OFFLINE": "1"]
    #expect(try model.fetch(ServedModel.repository, for: .tokenizer, offline) == model.snapshot)
    #expect(
      throws: HubError.offline(
        name: "someone/tiny", cache: model.cache, missing: ["model.safetensors"])
    ) { try model.fetch(ServedModel.repository, offline) }
    #expect(throws: HubError.offline(name: "gpt2", cache: model.cache, missing: [])) {
      try model.fetch("gpt2", offline)
    }
    #expect(try model.server.requests().count == requests)
  }

  @Test func hostileNamesAreNotAskedFor() throws {
    let model = try ServedModel()
    for name in ["../someone/tiny", "someone/../tiny", "/etc", "a//b", "someone/tiny@../x"] {
      #expect(throws: HubError.notAModel(name: name)) { try model.fetch(name) }
    }
    #expect(try model.server.requests().isEmpty)
    #expect(!FileManager.default.fileExists(atPath: model.cache))
  }
}
