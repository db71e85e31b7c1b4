import CacheFormat
import Foundation
import TestSupport
import Testing

/// What `analyze patch` says of sweeps, caches and models that do not fit each other.
@Suite struct BadAnalysisTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func capture(_ prompts: String, _ arguments: String...) throws -> String {
    let out = folder.path("cache")
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", prompts, "--out", out, "--quiet"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return out
  }

  @Test func aModelOfOtherWeights() throws {
    let captured = try CacheReader(directory: shared.path).plan.model.weightsDigest
    let given = try contents("\(shared.otherModel)/model.safetensors").withUnsafeBytes {
      sha256($0)
    }
    try Program.analyze.refuse(
      "patch", "--cache", shared.path, "--hooks", "z", "--model", shared.otherModel, status: 78,
      saying: [shared.path, captured, shared.otherModel, given])
  }

  /// The weights alone do not say what a model computes.
  @Test(arguments: [
    ("n_head", 2, "heads was 3, now 2"), ("n_ctx", 16, "context length was 32, now 16"),
    ("layer_norm_epsilon", 0.01, "LayerNorm epsilon was 1e-05, now 0.01"),
    ("scale_attn_weights", 0, "scores scaled by the head width was yes, now no"),
    ("scale_attn_by_inverse_layer_idx", 1, "scores scaled by the layer was no, now yes"),
  ])
  func aModelOfAnotherConfiguration(key: String, value: Double, words: String) throws {
    var model = TinyModel()
    let isFact = key.hasPrefix("scale")
    model.config[key] = isFact ? value == 1 : value == value.rounded() ? Int(value) as Any : value
    try model.write(to: folder.path("model"))
    for command in [
      ["patch", "--hooks", "z"], ["ablate", "--hooks", "z"], ["path", "--to", "logits"], ["lens"],
      ["attribution"], ["audit"],
    ] {
      let answer = try Program.analyze.run(
        [command[0], "--cache", shared.path, "--model", folder.path("model"), "--quiet"]
          + command.dropFirst())
      #expect(answer.status == 78 && answer.output == "", "\(answer)")
      for part in [shared.path, "config.json", folder.path("model"), words] {
        #expect(answer.sentence.contains(part), "no “\(part)” in: \(answer)")
      }
    }
  }

  @Test func aModelThatIsNotThere() throws {
    try Program.analyze.refuse(
      "patch", "--cache", shared.path, "--hooks", "z", "--model", folder.path("none"), status: 66,
      saying: ["there is no model \(folder.path("none"))"])
  }

  @Test func aCacheThatIsNotThere() throws {
    for path in [folder.path("none"), folder.path, shared.prompts] {
      try Program.analyze.refuse(
        "patch", "--cache", path, "--hooks", "z", status: 66,
        saying: ["\(path) is not a cache", "capture wrote"])
    }
  }

  @Test func pairsOfUnequalLength() throws {
    try Program.analyze.refuse(
      "patch", "--cache", shared.mixed, "--hooks", "z", status: 65,
      saying: [
        "1 pair cannot be patched", "pair uneven",
        "clean prompt has 7 tokens and the corrupted one 4",
        "--skip-unaligned",
      ])
    let uneven = try capture(try folder.write("uneven.txt", "abc\tab\tA\tB\n"))
    try Program.analyze.refuse(
      "patch", "--cache", uneven, "--hooks", "z", "--skip-unaligned", status: 65,
      saying: ["in 1 of 1 rows the prompts differ in their number of tokens"])
  }

  @Test(arguments: ["alone\n", "ab\tac\n", "ab\tac\tA\n"])
  func rowsThatAreNotPairs(text: String) throws {
    let cache = try capture(try folder.write("rows.txt", text))
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 65,
      saying: ["none of the 1 rows", "a corrupted prompt, an answer and a wrong answer"])
  }

  @Test(arguments: [
    ("resid_prr", [], "nearest: resid_pre"), ("z9", [], "layer 9 of a model with 3 layers"),
    ("", [], "empty entry"), ("z,", [], "empty entry"),
    ("resid_pre", ["--by", "head"], "hook_resid_pre has no heads"),
    ("resid_pre", ["--by", "pos", "--pos", "1"], "leave out --pos"),
    ("logits", [], "nothing in the model comes after it"),
    ("z", ["--pos", "11"], "no pair has a position 11"),
    ("z", ["--pos", "-12"], "-11 to -1 from the end"),
    ("z", ["--pos", "S2"], "no pair has a role S2; there are END"),
    ("z", ["--by", "direction"], "--subspace FILE.npy"),
  ])
  func sweepsThatCannotBe(hooks: String, arguments: [String], words: String) throws {
    let answer = try Program.analyze.run(
      ["patch", "--cache", shared.path, "--hooks", hooks] + arguments)
    #expect(answer.status == 64, "\(answer)")
    #expect(answer.output == "")
    #expect(answer.errors.hasPrefix("analyze: "))
    #expect(answer.sentence.contains(words), "\(answer)")
  }

  /// Said before the first sweep is run, not after.
  @Test func aCacheThatLacksWhatASweepNeeds() throws {
    let cache = try capture(shared.prompts, "--hooks", "resid_pre,z,ln_final.hook_normalized")
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z,attn_out", "--out", folder.path("out"), status: 78,
      saying: [
        cache, "blocks.0.hook_attn_out, blocks.1.hook_attn_out, blocks.2.hook_attn_out",
        "without --hooks",
      ])
    #expect(!exists(folder.path("out")))
    try Program.analyze.succeed("patch", "--cache", cache, "--hooks", "z")
  }

  /// A plan may say any number of layers: names are looked up all the same, and in time.
  @Test(arguments: [-1, Int.min, Int.max])
  func aPlanOfImpossibleLayers(layers: Int) throws {
    let path = try rewritten("odd", prompts: SharedCache.promptCount) {
      $0.segmentBytes = 1
      $0.model.layers = layers
    }
    func status(_ name: String) throws -> Int32? {
      try Program.analyze.run(["stats", "--cache", path, "--hooks", name, "--quiet"]).status
    }
    #expect(try status("blocks.1.hook_resid_pre") == 0)
    #expect(try status("resid_pre") == (layers > 0 ? 0 : 64))
    #expect(try status("q_input1") == (layers > 0 ? 78 : 64))
  }

  /// The shared cache's first prompts under another plan.
  private func rewritten(
    _ name: String, prompts: Int, _ change: (inout CachePlan) -> Void
  ) throws -> String {
    let whole = try CacheReader(directory: shared.path)
    var plan = whole.plan
    change(&plan)
    let path = folder.path(name)
    let writer = try CacheWriter(
      directory: path, plan: plan, prompts: try whole.prompts(), pairs: try whole.pairs())
    for number in 0..<prompts {
      let segment = try writer.openSegment(number)
      for hook in plan.hooks.indices {
        try whole.read(hook: hook, prompt: number).withUnsafeBufferPointer {
          try segment.append(hook: hook, prompt: number, values: [$0])
        }
      }
      try writer.commit(try segment.seal())
    }
    return path
  }

  /// Advice that can be followed: such hooks are captured where they are asked for.
  @Test func hooksThatAreCapturedOnRequest() throws {
    try Program.analyze.refuse(
      "ablate", "--cache", shared.path, "--hooks", "result", status: 78,
      saying: [shared.path, "blocks.0.attn.hook_result", "--hooks '*,result'"])
    try Program.analyze.refuse(
      "stats", "--cache", shared.path, "--hooks", "q_input1", status: 78,
      saying: [shared.path, "blocks.1.hook_q_input", "--hooks '*,q_input'"])
    try Program.analyze.refuse(
      "stats", "--cache", shared.path, "--hooks", "q_inputs", status: 64, saying: ["no hook point"])
    let cache = try capture(shared.prompts, "--hooks", "*,result")
    try Program.analyze.succeed("ablate", "--cache", cache, "--hooks", "result", "--quiet")
  }

  @Test func noiseOfASourceThatHasNone() throws {
    for arguments in [
      ["patch", "--hooks", "z"], ["ablate", "--hooks", "z"], ["path", "--to", "logits"],
    ] {
      let answer = try Program.analyze.run(
        [arguments[0], "--cache", shared.path, "--noise-scale", "2"] + arguments.dropFirst())
      #expect(answer.status == 64 && answer.output == "", "\(answer)")
      #expect(answer.errors.contains("--noise-scale belongs to noise"), "\(answer)")
    }
  }

  /// One pair has the one place, another pair the other.
  @Test func cellsThatNoPairHas() throws {
    let rows = ["S", "IO"].map {
      #"{"clean": "abcd", "corrupted": "abxd", "answer": "A", "wrong_answer": "B", "roles": {"\#($0)": 2}}"#
    }
    let cache = try capture(try folder.write("rows.jsonl", rows.joined(separator: "\n")))
    let list = try folder.write(
      "cells.csv", "\u{FEFF}group,hook,layer,pos\na,z,1,S\na,z,2,IO\nb,z,1,END\n")
    let answer = try Program.analyze.succeed(
      "patch", "--cache", cache, "--cells", list, "--quiet")
    #expect(
      answer.output.contains("warning: no pair has all places of 1 cell: a: z L1 S + z L2 IO"),
      "\(answer)")
  }

  /// Two commands would mix their files.
  @Test func resultsThatAnotherCommandWrites() throws {
    let out = folder.path("out")
    try Program.analyze.succeed("lens", "--cache", shared.path, "--out", out, "--quiet")
    let before = try names(in: out)
    let descriptor = open(out, O_RDONLY | O_DIRECTORY)
    try #require(flock(descriptor, LOCK_EX | LOCK_NB) == 0)
    for command in [["patch", "--hooks", "z"], ["lens"], ["report"]] {
      let answer = try Program.analyze.run(
        [command[0], "--cache", shared.path, "--out", out, "--quiet"] + command.dropFirst())
      #expect(answer.status == 73 && answer.output == "", "\(answer)")
      #expect(answer.sentence.contains("at work on the results in \(out)"), "\(answer)")
    }
    #expect(try names(in: out) == before)
    close(descriptor)
    try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "z", "--out", out, "--quiet")
  }

  /// A summary is never beside tables of another run: it goes first, and comes last.
  @Test(arguments: [
    ("lens", [String](), "lens.json"), ("stats", ["--hooks", "resid_pre"], "stats.json"),
    ("attribution", [], "attribution-layer.json"),
    ("patch", ["--hooks", "resid_pre"], "patch.json"),
  ])
  func aSecondResultThatCannotBeWritten(
    command: String, arguments: [String], summary: String
  ) throws {
    let out = folder.path("out")
    func run(_ more: [String], blocks: Int? = nil) throws -> Answer {
      try Program.analyze.run(
        [command, "--cache", shared.path, "--out", out, "--quiet"] + arguments + more,
        blocks: blocks)
    }
    try #require(run([]).status == 0)
    #expect(exists("\(out)/\(summary)"))
    let answer = try run([], blocks: 1)
    #expect(answer.status == 74, "\(answer)")
    #expect(!exists("\(out)/\(summary)"))
  }

  @Test func aResultThatCannotBeWritten() throws {
    let file = try folder.write("file", "")
    try Program.analyze.refuse(
      "patch", "--cache", shared.path, "--hooks", "z", "--out", folder.path("a/b"), status: 73,
      saying: ["there is no directory \(folder.path("a"))"])
    try Program.analyze.refuse(
      "patch", "--cache", shared.path, "--hooks", "z", "--out", file, status: 73,
      saying: ["\(file) is not a directory"])
    let out = folder.path("out")
    try Program.analyze.refuse(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--out", out, "--quiet", status: 74,
      saying: [out, "File too large"], blocks: 2)
    #expect(try names(in: out).isEmpty)
  }

  /// Patching goes on with the pairs that were captured before an interruption, and says so.
  @Test func aCaptureThatWasInterrupted() throws {
    let path = try rewritten("part", prompts: 4) { $0.segmentBytes = 1 }
    let file = try patch(path, "--hooks", "resid_pre")
    #expect(file.pairs.map(\.index) == [0, 1])
    #expect(file.warnings.last == "left out: 2 pairs that the capture did not come to")
    let summary = try Program.cachedump.succeed(path)
    #expect(summary.output.contains("interrupted"))
    #expect(summary.output.contains("4 of 7 are there"))
    let verified = try Program.cachedump.succeed("verify", path)
    #expect(verified.output.contains("4 of 7 prompts, the capture was interrupted"))
    try Program.cachedump.refuse(
      "show", path, "--prompt", "5", "--hook", "z0", status: 66,
      saying: ["prompts 0 to 3 of 7 are there"])
  }
}
