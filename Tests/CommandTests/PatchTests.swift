import CacheFormat
import Foundation
import TestSupport
import Testing

/// `analyze patch` on caches as they should be.
@Suite struct PatchTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func capture(_ arguments: String...) throws -> String {
    let out = folder.path("cache")
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", shared.prompts, "--out", out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return out
  }

  private func differences(_ a: PatchFile, _ b: PatchFile) -> Double {
    zip(a.sweeps, b.sweeps).flatMap { zip($0.effect, $1.effect) }
      .reduce(a.sweeps.count == b.sweeps.count ? 0 : .infinity) { largest, pair in
        guard let one = pair.0, let other = pair.1 else {
          return pair.0 == nil && pair.1 == nil ? largest : .infinity
        }
        return max(largest, abs(one - other))
      }
  }

  @Test func theJSONHasTheDocumentedKeys() throws {
    let answer = try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--json")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any])
    #expect(
      object.keys.sorted() == [
        "baselines", "cache", "command", "direction", "fdr", "kernel", "metric", "metrics",
        "normalisation", "pairs", "sweeps", "timing", "tool", "warnings",
      ])
    let sweep = try #require((object["sweeps"] as? [[String: Any]])?.first)
    #expect(
      sweep.keys.sorted() == [
        "axes", "difference", "effect", "effect_mean_of_ratios", "gflop", "hook", "labels",
        "layers", "metric", "metric_name", "pairs", "seconds", "shape", "source", "unchanged",
        "window",
      ])

    let file = try answer.patchFile()
    #expect(file.tool.hasPrefix("patchbay "))
    #expect(
      file.command.suffix(6) == ["patch", "--cache", shared.path, "--hooks", "resid_pre", "--json"])
    #expect(file.direction == "denoise" && file.metric == "logit-diff")
    let reader = try CacheReader(directory: shared.path)
    #expect(file.cache.plan == reader.planDigest)
    #expect(file.cache.weights == reader.plan.model.weightsDigest)
    #expect(file.cache.tokenizer == reader.plan.model.tokenizerDigest)
    #expect(file.cache.promptFile == reader.plan.promptFileDigest)
    #expect(file.cache.weightProcessing == "transformerlens")
    #expect(file.kernel == reader.plan.kernel && file.cache.kernel == reader.plan.kernel)
    #expect(file.pairs.map(\.index) == [0, 1, 2, 3])
    #expect(file.pairs.map(\.clean) == [0, 2, 4, 0])
    #expect(file.pairs.map(\.corrupted) == [1, 3, 5, 6])
    #expect(file.timing.threads > 0)
    let clean = try #require(file.baselines.clean)
    let mean = file.pairs.compactMap(\.cleanMetric).reduce(0, +) / 4
    #expect(abs(clean - mean) < 1e-4)
  }

  struct Combination: Sendable {
    let hooks: String
    let by: String?
    let axes: [String]
    let shape: [Int]
  }

  static let combinations = [
    Combination(hooks: "resid_pre", by: nil, axes: ["layer", "pos"], shape: [3, 11]),
    Combination(hooks: "attn_out", by: "pos", axes: ["layer", "pos"], shape: [3, 11]),
    Combination(hooks: "z", by: nil, axes: ["layer", "head"], shape: [3, 3]),
    Combination(
      hooks: "pattern", by: "head-pos", axes: ["layer", "pos", "head"], shape: [3, 11, 3]),
    Combination(hooks: "q", by: "pos", axes: ["layer", "pos"], shape: [3, 11]),
    Combination(hooks: "mlp_post", by: nil, axes: ["layer"], shape: [3]),
    Combination(hooks: "resid_mid", by: "all", axes: ["layer"], shape: [3]),
    Combination(hooks: "embed", by: nil, axes: ["pos"], shape: [11]),
    Combination(hooks: "ln_final.hook_normalized", by: nil, axes: [], shape: []),
    Combination(hooks: "k-1", by: nil, axes: ["layer", "head"], shape: [1, 3]),
    Combination(
      hooks: "pattern", by: "head-dest-src", axes: ["layer", "head", "dest", "src"],
      shape: [3, 3, 11, 11]),
    Combination(hooks: "mlp_out", by: "neuron", axes: ["layer", "neuron"], shape: [3, 24]),
  ]

  @Test(arguments: combinations, ["denoise", "noise"])
  func everyAxisAndDirectionFillsItsTable(_ sweep: Combination, direction: String) throws {
    let out = folder.path("out")
    let arguments = sweep.by.map { ["--by", $0] } ?? []
    let answer = try Program.analyze.run(
      ["patch", "--cache", shared.path, "--hooks", sweep.hooks, "--direction", direction, "--out"]
        + [out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let file = try decoder.decode(PatchFile.self, from: try contents("\(out)/patch.json"))
    let result = try #require(file.sweeps.first)
    #expect(file.direction == direction)
    #expect(result.axes == sweep.axes && result.shape == sweep.shape)
    let cells = sweep.shape.reduce(1, *)
    #expect(result.effect.count == cells && result.metric.count == cells)
    #expect(result.effectMeanOfRatios.count == cells)
    #expect(result.pairs == Array(repeating: 4, count: cells))
    #expect(result.effect.allSatisfy { $0?.isFinite == true })
    #expect(result.effect.contains { abs($0 ?? 0) > 1e-4 }, "the sweep did nothing")

    let csv = try String(contentsOfFile: "\(out)/cells.csv", encoding: .utf8)
    let rows = csv.split(separator: "\n").map { line in
      line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    #expect(
      rows.first
        == ("hook,layer,head,pos,pair,clean,corrupted,patched,effect,metric,src,neuron"
        + ",role,direction,cell").split(
          separator: ","
        )
        .map(String.init))
    #expect(rows.count - 1 == cells * 4)
    #expect(rows.allSatisfy { $0.count == 15 })
    // A cell's rows have its mean.
    let patched = rows.dropFirst().prefix(4).compactMap { Double($0[7]) }
    #expect(patched.count == 4)
    #expect(abs(patched.reduce(0, +) / 4 - (result.metric.first.flatMap { $0 } ?? .nan)) < 1e-4)
  }

  @Test func patchingEverythingGivesTheOtherRun() throws {
    let denoised = try patch(shared.path, "--hooks", "blocks.0.hook_resid_pre", "--by", "all")
    #expect(abs((denoised.sweeps[0].effect[0] ?? 0) - 1) < 1e-3)
    #expect(abs((denoised.sweeps[0].metric[0] ?? 0) - (denoised.baselines.clean ?? 9)) < 1e-3)
    let noised = try patch(
      shared.path, "--hooks", "blocks.0.hook_resid_pre", "--by", "all", "--direction", "noise")
    #expect(abs((noised.sweeps[0].effect[0] ?? 0) + 1) < 1e-3)
  }

  @Test func positionsBeforeTheFirstDifferenceHaveNoEffect() throws {
    // "ab cd" and "ab cx" part at the fifth character; position 0 is <|endoftext|>.
    let prompts = try folder.write("one.txt", SharedCache.pairLines[0])
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", prompts, "--out", folder.path("one"))
    let sweep = try patch(folder.path("one"), "--hooks", "resid_pre").sweeps[0]
    for layer in 0..<TinyModel.layers {
      let row = sweep.effect[(layer * 11)..<(layer * 11 + 11)].map { $0 ?? .nan }
      #expect(row.prefix(5).allSatisfy { $0 == 0 })
      #expect(row[5] != 0)
    }
    // At layer 0 only the one token that differs carries anything.
    #expect(abs((sweep.effect[5] ?? 0) - 1) < 1e-3)
    #expect(sweep.effect[6..<11].allSatisfy { abs($0 ?? 1) < 1e-4 })
  }

  @Test func threadsDoNotChangeABit() throws {
    let hooks = "resid_pre,z,mlp_post"
    let one = try patch(shared.path, "--hooks", hooks, "--threads", "1")
    let three = try patch(shared.path, "--hooks", hooks, "--threads", "3")
    #expect(one.sweeps == three.sweeps)
    #expect(one.pairs == three.pairs)
    #expect(one.timing.threads == 1 && three.timing.threads == 3)
  }

  @Test func outAndJSONAreTheSameAndOutMayBeRepeated() throws {
    let out = folder.path("out")
    for hooks in ["z", "resid_pre,z"] {
      let answer = try Program.analyze.succeed(
        "patch", "--cache", shared.path, "--hooks", hooks, "--out", out, "--json")
      #expect(
        try String(contentsOfFile: "\(out)/patch.json", encoding: .utf8) + "\n" == answer.output)
      let sweeps = (hooks == "z" ? ["z"] : ["resid_pre", "z"]).flatMap {
        ["\($0)-patched.npy", "\($0).npy", "\($0).svg"]
      }
      #expect(try names(in: out) == ["cells.csv", "patch.html", "patch.json"] + sweeps)
      let csv = try String(contentsOfFile: "\(out)/cells.csv", encoding: .utf8)
      #expect(csv.contains("hook_resid_pre") == (hooks != "z"))
    }
  }

  @Test func sweepsComeInTheOrderOfTheHooks() throws {
    let file = try patch(shared.path, "--hooks", "z0,resid_post", "--hooks", "z2")
    #expect(file.sweeps.map(\.hook) == ["z", "resid_post"])
    #expect(file.sweeps.map(\.layers) == [[0, 2], [0, 1, 2]])
    #expect(file.sweeps.map(\.shape) == [[2, 3], [3, 11]])
  }

  @Test func onePositionMayBeChosenFromEitherEnd() throws {
    let last = try patch(shared.path, "--hooks", "z", "--pos", "-1").sweeps[0]
    let tenth = try patch(shared.path, "--hooks", "z", "--pos", "10").sweeps[0]
    #expect(last.effect == tenth.effect)
    #expect(last.position == -1)
    let each = try patch(shared.path, "--hooks", "z", "--by", "head-pos").sweeps[0]
    for layer in 0..<3 {
      for head in 0..<3 {
        let one = tenth.effect[layer * 3 + head] ?? .nan
        let other = each.effect[(layer * 11 + 10) * 3 + head] ?? .nan
        #expect(abs(one - other) < 1e-5)
      }
    }
  }

  @Test func rawWeightsGiveTheSameEffects() throws {
    let raw = try patch(try capture("--weights", "raw"), "--hooks", "resid_pre,z,mlp_out")
    #expect(raw.cache.weightProcessing == "raw")
    let folded = try patch(shared.path, "--hooks", "resid_pre,z,mlp_out")
    #expect(differences(raw, folded) < 1e-3)
    #expect(abs((raw.baselines.clean ?? 0) - (folded.baselines.clean ?? 9)) < 1e-3)
  }

  @Test func refactoredHeadsGiveTheSameEffects() throws {
    let refactored = try patch(try capture("--refactor"), "--hooks", "resid_pre,pattern")
    #expect(refactored.cache.weightProcessing == "transformerlens+refactor")
    #expect(differences(refactored, try patch(shared.path, "--hooks", "resid_pre,pattern")) < 1e-3)
  }

  @Test(arguments: [("f16", 0.02), ("bf16", 0.1)])
  func narrowCachesGiveCloseEffects(type: String, tolerance: Double) throws {
    let narrow = try patch(try capture("--dtype", type), "--hooks", "resid_pre,z")
    let whole = try patch(shared.path, "--hooks", "resid_pre,z")
    let difference = differences(narrow, whole)
    #expect(difference < tolerance && difference > 0)
  }

  @Test func aCacheOfFewHooksIsEnoughForTheirSweep() throws {
    let few = try patch(
      try capture("--hooks", "resid_pre,ln_final.hook_normalized"), "--hooks", "resid_pre")
    #expect(differences(few, try patch(shared.path, "--hooks", "resid_pre")) < 1e-4)
  }

  @Test func aMovedModelIsNamedByTheUser() throws {
    try FileManager.default.copyItem(atPath: shared.model, toPath: folder.path("here"))
    try Program.capture.succeed(
      "--model", folder.path("here"), "--prompts", shared.prompts, "--out", folder.path("cache"))
    try FileManager.default.moveItem(atPath: folder.path("here"), toPath: folder.path("there"))
    try Program.analyze.refuse(
      "patch", "--cache", folder.path("cache"), "--hooks", "z", status: 66,
      saying: ["there is no model \(folder.path("here"))", "--model"])
    try Program.analyze.succeed(
      "patch", "--cache", folder.path("cache"), "--hooks", "z", "--model", folder.path("there"))
  }

  @Test func pairsOfDifferentLengthsShareATable() throws {
    let file = try patch(shared.mixed, "--hooks", "resid_pre", "--skip-unaligned")
    #expect(file.pairs.map(\.id) == ["short", "long"])
    #expect(file.pairs.map(\.index) == [0, 1])
    let sweep = file.sweeps[0]
    #expect(sweep.shape == [3, 9])
    #expect(sweep.pairs == (0..<27).map { $0 % 9 < 5 ? 2 : 1 })
    #expect(
      file.warnings.suffix(2) == [
        "left out: 1 pair of unequal length",
        "left out: 2 rows without a corrupted prompt, an answer and a wrong answer",
      ])
    let out = folder.path("out")
    try Program.analyze.succeed(
      "patch", "--cache", shared.mixed, "--hooks", "resid_pre", "--skip-unaligned", "--out", out)
    let csv = try String(contentsOfFile: "\(out)/cells.csv", encoding: .utf8)
    #expect(csv.split(separator: "\n").count - 1 == sweep.pairs.reduce(0, +))
    // From the end, every pair has the position.
    let last = try patch(shared.mixed, "--hooks", "z", "--pos", "-1", "--skip-unaligned")
    #expect(last.sweeps[0].pairs == Array(repeating: 2, count: 9))
  }

  @Test func theReportIsPlainTextUnlessOnATerminal() throws {
    let answer = try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "resid_pre,z", "--top", "3")
    let lines = answer.lines
    #expect(lines[0].hasPrefix("logit-diff of 4 pairs, denoise  (\(shared.model), weights transf"))
    #expect(lines[1].hasPrefix("clean "))
    #expect(lines[1].contains("effect = (patched - corrupted) / (clean - corrupted)"))
    #expect(lines.contains("resid_pre  layer × pos"))
    #expect(lines.contains("z  layer × head, all positions"))
    #expect(lines.count { $0.hasPrefix("top cells ") } == 2)
    #expect(lines.count { $0.hasPrefix("L0 ") && !$0.contains("pos") && !$0.contains("H") } == 2)
    #expect(lines.last?.hasPrefix("Denoising shows what is sufficient") == true)
    #expect(!answer.output.contains("\u{1B}"))
    #expect(answer.errors.contains("patching 168/168 cells  100 %"))

    let short = try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "z", "--top", "0", "--quiet", "--direction",
      "noise")
    #expect(!short.output.contains("top cells"))
    #expect(short.lines.last?.hasPrefix("Noising shows what the answer depends on") == true)
    #expect(short.errors == "")
  }
}
