import CacheFormat
import Foundation
import TestSupport
import Testing

@Suite struct CaptureTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func capture(
    _ arguments: String..., to name: String = "cache",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> CacheReader {
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", shared.prompts, "--out", folder.path(name)]
        + ["--quiet"] + arguments)
    try #require(answer.status == 0, "\(answer)", sourceLocation: sourceLocation)
    #expect(answer.errors == "", sourceLocation: sourceLocation)
    return try CacheReader(directory: folder.path(name))
  }

  /// All values of a hook, prompt after prompt.
  private func values(_ hook: String, in cache: CacheReader) throws -> [Float] {
    let index = try #require(cache.hookIndex(hook), "\(cache.plan.hooks.map(\.name))")
    return try (0..<cache.committedPrompts).flatMap { try cache.read(hook: index, prompt: $0) }
  }

  @Test func everyPromptIsCapturedOnceWithEveryDefaultHook() throws {
    let out = folder.path("cache")
    let answer = try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", out)
    #expect(answer.output.hasPrefix("captured 7 prompts (77 tokens), 55 hooks: "))
    #expect(answer.lines.count == 1)
    #expect(answer.errors.contains("capturing 7/7 prompts  100 %"))
    #expect(
      try names(in: out)
        == ["manifest", "pairs.jsonl", "plan.json", "prompts.jsonl", "segment-000000.pbs"])

    let cache = try CacheReader(directory: out)
    #expect(cache.isComplete)
    #expect(cache.committedPrompts == SharedCache.promptCount)
    #expect(cache.plan.hooks.count == TinyModel.hookCount)
    let pairs = try cache.pairs()
    #expect(pairs.map(\.clean) == [0, 2, 4, 0])
    #expect(pairs.map(\.corrupted) == [1, 3, 5, 6])
    #expect(pairs[0].answer == Int32(UInt8(ascii: "A")))
    #expect(pairs[0].wrongAnswer == Int32(UInt8(ascii: "B")))
    let prompt = try cache.prompt(0)
    #expect(prompt.text == "ab cd ef g")
    #expect(prompt.tokens == [256] + "ab cd ef g".utf8.map(Int32.init))
    #expect(prompt.pieces == ["<|endoftext|>"] + "ab cd ef g".map(String.init))
  }

  @Test func dryRunSaysWhatItWouldDoAndWritesNothing() throws {
    let answer = try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", folder.path("cache"),
      "--dry-run")
    #expect(answer.lines.first == "7 prompts, 77 tokens, the longest prompt 11")
    #expect(answer.output.contains("55 hooks:"))
    let bytes = try CacheReader(directory: shared.path).summary().rawBytes
    let size = "\((bytes + 500) / 1000) kB"
    #expect(answer.lines.last?.hasPrefix("\(size) of activations (") == true)
    #expect(answer.output.contains("hook_resid_pre") && answer.output.contains("derived"))
    let full = try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", folder.path("cache"),
      "--dry-run", "--store", "full")
    #expect(full.lines.last?.contains("of which \(size) would go to") == true)
    #expect(!full.output.contains("derived"))
    #expect(try names(in: folder.path).isEmpty)
  }

  @Test func hooksAreChosenByAnySpelling() throws {
    let cache = try capture(
      "--hooks", "z1,blocks.0.hook_resid_pre", "--hooks", "blocks.*.ln?.hook_scale", "--hooks",
      "resid_post-1,result2,logits")
    #expect(
      cache.plan.hooks.map(\.name) == [
        "blocks.0.hook_resid_pre", "blocks.0.ln1.hook_scale", "blocks.0.ln2.hook_scale",
        "blocks.1.ln1.hook_scale", "blocks.1.attn.hook_z", "blocks.1.ln2.hook_scale",
        "blocks.2.ln1.hook_scale", "blocks.2.attn.hook_result", "blocks.2.ln2.hook_scale",
        "blocks.2.hook_resid_post", "hook_unembed",
      ])
    // A hook's values do not depend on which others are captured.
    let whole = try CacheReader(directory: shared.path)
    #expect(
      try values("blocks.1.attn.hook_z", in: cache)
        == values("blocks.1.attn.hook_z", in: whole))
    let result = try #require(cache.hookIndex("blocks.2.attn.hook_result"))
    #expect(
      try cache.read(hook: result, prompt: 0).count
        == SharedCache.positions * TinyModel.heads * TinyModel.width)
  }

  @Test(arguments: [("f16", 0x1p-11), ("bf16", 0x1p-8)])
  func narrowTypesRoundToNearest(type: String, precision: Double) throws {
    let cache = try capture("--dtype", type, "--hooks", "resid_post,pattern")
    #expect(cache.plan.elementType.rawValue == type)
    let whole = try CacheReader(directory: shared.path)
    for hook in cache.plan.hooks.map(\.name) {
      let exact = try values(hook, in: whole)
      let rounded = try values(hook, in: cache)
      #expect(exact != rounded, "\(hook) was not rounded")
      for (a, b) in zip(exact, rounded) {
        let tolerance = precision * Double(abs(a)) + 0x1p-24
        #expect(abs(Double(a) - Double(b)) <= tolerance, "\(hook): \(a) became \(b)")
      }
    }
  }

  @Test func withoutBOSPromptsAreOneTokenShorter() throws {
    let cache = try capture("--no-bos")
    #expect(!cache.plan.prependBOS)
    #expect(try cache.prompts().map(\.tokens.count) == Array(repeating: 10, count: 7))
    #expect(try cache.prompt(0).tokens.first == Int32(UInt8(ascii: "a")))
  }

  @Test func weightProcessingChangesActivationsAndNotPredictions() throws {
    let folded = try capture("--hooks", "*,logits", to: "folded")
    let raw = try capture("--hooks", "*,logits", "--weights", "raw", to: "raw")
    let refactored = try capture("--hooks", "*,logits", "--refactor", to: "refactored")
    #expect(folded.plan.weights == "transformerlens")
    #expect(raw.plan.weights == "raw")
    #expect(refactored.plan.weights == "transformerlens+refactor")
    let expected = try logProbabilities(in: folded)
    for other in [raw, refactored] {
      #expect(difference(try logProbabilities(in: other), expected) < 1e-3)
    }
    let stream = "blocks.1.hook_resid_mid"
    #expect(largestDifference(try values(stream, in: raw), try values(stream, in: folded)) > 0.01)
    let query = "blocks.1.attn.hook_q"
    #expect(
      largestDifference(try values(query, in: refactored), try values(query, in: folded)) > 0.01)
    let pattern = "blocks.1.attn.hook_pattern"
    #expect(
      largestDifference(try values(pattern, in: refactored), try values(pattern, in: folded))
        < 1e-3)
  }

  private func logProbabilities(in cache: CacheReader) throws -> [Double] {
    logSoftmax(try values("hook_unembed", in: cache), vocabulary: TinyModel.vocabulary)
  }

  private func difference(_ a: [Double], _ b: [Double]) -> Double {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
  }

  /// Long enough for several segments, which threads take side by side.
  @Test func threadsDoNotChangeAByte() throws {
    let lines = (0..<420).map { number in
      "\(number) a prompt of some length, cut".padding(
        toLength: TinyModel.contextLength - 1, withPad: "x", startingAt: 0)
    }
    let prompts = try folder.write("many.txt", lines.joined(separator: "\n"))
    for threads in ["1", "3"] {
      try Program.capture.succeed(
        "--model", shared.model, "--prompts", prompts, "--out", folder.path(threads),
        "--threads", threads, "--hooks", "*,result,q_input,k_input")
    }
    let files = try names(in: folder.path("1"))
    #expect(files.count { $0.hasPrefix("segment-") } > 1, "\(files)")
    #expect(try names(in: folder.path("3")) == files)
    for file in files {
      #expect(
        try contents(folder.path("1/\(file)")) == contents(folder.path("3/\(file)")), "\(file)")
    }
  }

  /// The next file to be opened gets the number of a closed stream: messages must not go there.
  @Test func closedStreamsDoNotEndUpInTheCache() throws {
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/sh")
    shell.arguments = [
      "-c", #"exec "$@" <&- >&- 2>&-"#, "sh", try Program.capture.path(), "--model", shared.model,
      "--prompts", shared.prompts, "--out", folder.path("cache"),
    ]
    try shell.run()
    shell.waitUntilExit()
    #expect(shell.terminationReason == .exit && shell.terminationStatus == 0)
    try Program.cachedump.succeed("verify", folder.path("cache"))
  }

  @Test func anEmptyDirectoryIsAsGoodAsNone() throws {
    try FileManager.default.createDirectory(
      atPath: folder.path("empty"), withIntermediateDirectories: false)
    #expect(try capture("--hooks", "resid_pre", to: "empty/").isComplete)
  }

  @Test func hubNamesAreFoundInTheLocalCache() throws {
    let hub = try TemporaryDirectory()
    for name in ["models--openai-community--gpt2", "models--someone--tiny"] {
      try TinyModel().write(to: hub.path("hub/\(name)/snapshots/abc"))
      try FileManager.default.createDirectory(
        atPath: hub.path("hub/\(name)/refs"), withIntermediateDirectories: true)
      try hub.write("hub/\(name)/refs/main", "abc\n")
    }
    for (arguments, variables) in [
      ([], ["HF_HOME": hub.path, "HF_HUB_CACHE": ""]),
      (["--model", "gpt2"], ["HF_HUB_CACHE": hub.path("hub")]),
      (["--model", "someone/tiny"], ["HF_HUB_CACHE": hub.path("hub")]),
    ] {
      let answer = try Program.capture.run(
        ["--prompts", shared.prompts, "--out", folder.path("x"), "--dry-run"] + arguments,
        environment: variables)
      #expect(answer.status == 0, "\(answer)")
    }
  }

  @Test func weightsThatAreNotFiniteAreCapturedAndReported() throws {
    var model = TinyModel()
    model.set(.nan, at: 5, of: "h.1.mlp.c_fc.weight")
    try model.write(to: folder.path("nan"))
    let captured = try Program.capture.succeed(
      "--model", folder.path("nan"), "--prompts", shared.prompts, "--out", folder.path("cache"))
    #expect(
      captured.errors.contains(
        "warning: the last rows of \(SharedCache.promptCount) prompts, number 0 the first, are not finite"
      ))
    try Program.cachedump.succeed("verify", folder.path("cache"))
    let report = try Program.analyze.succeed(
      "patch", "--cache", folder.path("cache"), "--hooks", "resid_pre,z")
    #expect(
      report.output.contains(
        "warning: 4 of 4 pairs have a metric that is not a finite number (pair 0, 1, 2, 3)"))
    let file = try patch(folder.path("cache"), "--hooks", "resid_pre")
    #expect(file.baselines.clean == nil)
    #expect(file.sweeps.first?.effect.allSatisfy { $0 == nil } == true)

    // A head of such weights cannot be taken apart.
    model.set(.nan, at: 5, of: "h.1.attn.c_attn.weight")
    try model.write(to: folder.path("nan"))
    try Program.capture.refuse(
      "--model", folder.path("nan"), "--prompts", shared.prompts, "--out", folder.path("no"),
      "--refactor", "--quiet", status: 65, saying: ["head 0 in layer 1", "not finite"])
    #expect(!exists(folder.path("no")))
  }
}
