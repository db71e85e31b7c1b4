import Foundation
import TestSupport
import Testing

/// `--model NAME` from a hub to a cache, through the built programs.
@Suite struct HubCommandTests {
  private let server: HubServer
  private let home: TemporaryDirectory

  init() throws {
    server = try HubServer()
    home = try TemporaryDirectory()
  }

  private var environment: [String: String] {
    [
      "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server.endpoint, "HF_HOME": home.path,
      "HF_HUB_CACHE": "", "HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "", "HF_TOKEN_PATH": "",
    ]
  }

  private func serve(_ directory: String, as repository: String) throws {
    for name in try names(in: directory) where name != "README.md" {
      try server.serve(name, of: repository, contents("\(directory)/\(name)"))
    }
  }

  private func serveTiny(as repository: String = "someone/tiny") throws {
    try serve(try SharedCache.made().model, as: repository)
  }

  @Test func theDemoModelFromAServer() throws {
    let demo = repositoryPath("examples/demo-model")
    try serve(demo, as: "openai-community/gpt2")
    try server.set("moved", ["gpt2": "openai-community/gpt2"])
    let prompts = try home.write("prompts.txt", "When Mary and John went to the store\n")
    func capture(_ model: String, _ out: String) throws -> Answer {
      try Program.capture.succeed(
        "--model", model, "--prompts", prompts, "--out", home.path(out), environment: environment)
    }
    let fetched = try capture("gpt2", "fetched")
    #expect(fetched.errors.contains("fetching it from \(server.endpoint)"), "\(fetched)")
    #expect(fetched.errors.contains("gpt2 is complete in"), "\(fetched)")
    let again = try capture("gpt2-small", "again")
    #expect(again.errors == "" || !again.errors.contains("fetching"), "\(again)")
    _ = try capture(demo, "local")
    // Of the plan the model's name alone differs.
    try Program.cachedump.succeed("verify", home.path("fetched"))
    let differences = try Program.cachedump.run(["diff", home.path("fetched"), home.path("local")])
    #expect(differences.output.contains("no bit differs in"), "\(differences)")

    // What a cache names is found again; the tokenizer alone needs no weights.
    try Program.analyze.succeed(
      "audit", "--cache", home.path("fetched"), "--quiet", environment: environment)
  }

  @Test func onlyWhatACommandNeedsIsFetched() throws {
    try serveTiny()
    let blobs = home.path("hub/models--someone--tiny/blobs")
    try Program.analyze.succeed(
      "hooks", "--model", "someone/tiny", "z", environment: environment)
    #expect(try names(in: blobs).count == 1)
    let tokens = try Program.analyze.succeed(
      "tokens", "--model", "someone/tiny", "ab", "--json", environment: environment)
    #expect(tokens.output == "[256,97,98]\n")
    #expect(try names(in: blobs).count == 3)
    let dry = try Program.capture.succeed(
      "--model", "someone/tiny", "--prompts", try SharedCache.made().prompts, "--out",
      home.path("cache"), "--dry-run", environment: environment)
    #expect(!dry.errors.contains("fetching"), "\(dry)")
    #expect(try names(in: blobs).count == 3)
  }

  @Test func quietSaysNothing() throws {
    try serveTiny()
    let answer = try Program.capture.succeed(
      "--model", "someone/tiny@refs/pr/7", "--prompts", try SharedCache.made().prompts, "--out",
      home.path("cache"), "--quiet", environment: environment)
    #expect(answer.errors == "", "\(answer)")
  }

  private func refuse(
    _ model: String, status: Int32, saying words: [String], _ variables: [String: String] = [:],
    blocks: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try Program.capture.refuse(
      "--model", model, "--prompts", try SharedCache.made().prompts, "--out", home.path("cache"),
      status: status, saying: words, environment: environment.merging(variables) { $1 },
      blocks: blocks, sourceLocation: sourceLocation)
    #expect(!exists(home.path("cache")), sourceLocation: sourceLocation)
  }

  @Test func eachRefusalHasItsExitCode() throws {
    try serveTiny()
    try refuse(
      "no-such", status: 66, saying: ["there is no model no-such", "HF_TOKEN", "demo-model"])
    try refuse("someone/tiny@nope", status: 66, saying: ["no revision nope"])
    try refuse("../x", status: 66, saying: ["there is no model ../x"])
    try refuse(
      "someone/tiny", status: 66, saying: ["HF_HUB_OFFLINE"], ["HF_HUB_OFFLINE": "1"])
    try refuse(
      "someone/tiny", status: 75, saying: ["cannot be reached", "--model examples/demo-model"],
      ["HF_ENDPOINT": "http://127.0.0.1:1"])
    try refuse(
      "someone/tiny", status: 78, saying: ["HF_ENDPOINT is not an address"],
      ["HF_ENDPOINT": "hub"])
    try server.set("token", "hf_right")
    try refuse(
      "someone/tiny", status: 78, saying: ["refuses the token"], ["HF_TOKEN": "hf_wrong"])
    try server.set("token", "")
    try server.fail(
      "config.json", resolve: ["status": 403, "headers": ["X-Error-Code": "GatedRepo"]])
    try refuse("someone/tiny", status: 78, saying: ["is gated"])
    try server.fail("vocab.json", content: ["corrupt": true])
    try refuse("someone/tiny", status: 65, saying: ["vocab.json", "is damaged"])
  }

  /// What came until the disk was full is not asked for again.
  @Test func aFullDisk() throws {
    try serveTiny()
    try refuse(
      "someone/tiny", status: 74, saying: ["cannot write", "goes on where it stopped"], blocks: 40)
    let fetched = try Program.capture.succeed(
      "--model", "someone/tiny", "--prompts", try SharedCache.made().prompts, "--out",
      home.path("cache"), environment: environment)
    #expect(fetched.errors.contains("complete in"), "\(fetched)")
    let last = try server.requests().last { $0.path.contains("/store/") }
    #expect(last?.range == "bytes=\(40 * 512)-", "\(String(describing: last))")
  }

  /// cachedump, which people copy to machines where they look at caches, must not need libcurl.
  @Test func onlyTheProgramsThatFetchAreLinkedToTheClient() throws {
    for program in Program.allCases {
      let bytes = try contents(try program.path())
      let needs = bytes.range(of: Data("libcurl.so".utf8)) != nil
      #expect(needs == (program != .cachedump), "\(program)")
    }
  }
}
