import CacheFormat
import Foundation
import TestSupport
import Testing

/// `--capture` of `analyze patch` and `ablate`, and what may be done with such a cache.
@Suite struct PatchedRunsTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func ablated(_ arguments: String...) throws -> String {
    let path = folder.path("ablated")
    let answer = try Program.analyze.run(
      ["ablate", "--cache", shared.path, "--hooks", "attn_out1", "--by", "all", "--quiet"]
        + arguments + ["--capture", path])
    try #require(answer.status == 0, "\(answer)")
    #expect(answer.sentence.hasPrefix("wrote ") && answer.sentence.contains("runs to \(path)"))
    return path
  }

  private func refuse(_ arguments: [String], status: Int32, saying words: [String]) throws {
    let answer = try Program.analyze.run(arguments)
    #expect(answer.status == status && answer.output == "", "\(answer)")
    for word in words { #expect(answer.errors.contains(word), "no “\(word)” in: \(answer)") }
  }

  /// The cache says what was done to its runs wherever it is read.
  @Test func theCacheSaysWhatWasDone() throws {
    let path = try ablated("--source", "zero")
    let what = "clean runs, attn_out L1 all positions from zero"
    let summary = try Program.cachedump.succeed(path)
    #expect(summary.output.contains("patched      \(what)"))
    #expect(try Program.cachedump.succeed("verify", path).status == 0)
    let reading = try Program.analyze.succeed("lens", "--cache", path, "--quiet")
    #expect(reading.lines[1] == "runs: \(what)")
    let json = try Program.analyze.succeed("lens", "--cache", path, "--json").output
    let object = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
    #expect((object?["cache"] as? [String: Any])?["patched"] as? String == what)
    // A difference names both caches and is zero before the layer.
    let less = try Program.analyze.succeed(
      "lens", "--cache", path, "--minus", shared.path, "--quiet", "--out", folder.path("out"))
    #expect(less.lines[0].contains(", less that in \(shared.path)"))
    #expect(try #require(less.lines.first { $0.hasPrefix("1_pre") }).contains("+0.0000"))
    #expect(try #require(less.lines.first { $0.hasPrefix("1_mid") }).contains(".0000  ") == false)
    let picture = try Element(
      xml: String(
        contentsOfFile: folder.path("out") + "/lens-logit-diff-both.svg", encoding: .utf8))
    #expect(picture.all("circle").count == 2 * TinyModel.layers + 1)
  }

  /// Rows without the place that was patched have no run, and are left out of both.
  @Test func aDifferenceIsOfTheRowsThatHaveRuns() throws {
    let cells = try folder.write("cells.csv", "hook,layer,pos\nresid_pre,1,S\n")
    let path = folder.path("some")
    try Program.analyze.succeed(
      "ablate", "--cache", shared.mixed, "--cells", cells, "--source", "zero", "--metric", "logit",
      "--capture", path, "--quiet")
    let answer = try Program.analyze.succeed(
      "lens", "--cache", path, "--minus", shared.mixed, "--metric", "logit", "--quiet")
    #expect(
      answer.output.contains("prompts of \(shared.mixed) that \(path) does not hold"), "\(answer)")
    #expect(try #require(answer.lines.first { $0.hasPrefix("1_mid") }).contains("+0.0000") == false)
    #expect(try #require(answer.lines.first { $0.hasPrefix("1_pre") }).contains("+0.0000"))
  }

  /// Whatever runs the model needs runs as the model makes them.
  @Test func nothingRunsTheModelOnPatchedRuns() throws {
    let path = try ablated()
    for command in [
      ["patch", "--hooks", "z"], ["ablate", "--hooks", "z"], ["path", "--to", "logits"], ["audit"],
      ["report", "--out", folder.path("report")],
    ] {
      try refuse(
        [command[0], "--cache", path] + command.dropFirst(), status: 78,
        saying: ["are patched", "clean runs, attn_out L1", path])
    }
    #expect(!exists(folder.path("report")))
  }

  @Test func whatCannotBeCaptured() throws {
    let sweep = ["patch", "--cache", shared.path, "--hooks"]
    let out = ["--capture", folder.path("patched")]
    for hooks in [["z"], ["attn_out0,mlp_out0", "--by", "all"], ["resid_pre0"]] {
      try refuse(sweep + hooks + out, status: 64, saying: ["one cell"])
    }
    #expect(!exists(folder.path("patched")))
    let there = try ablated()
    try refuse(
      sweep + ["mlp_out0", "--by", "all", "--capture", there], status: 73,
      saying: [there, "not empty"])
    // Rows of other prompts.
    try refuse(
      ["lens", "--cache", there, "--minus", shared.mixed], status: 65, saying: ["runs of all rows"])
    for options in [
      ["lens", "--prompt", "0"], ["attention", "--heads", "0.0", "--prompt", "0"],
    ] {
      try refuse(
        options + ["--cache", there, "--minus", shared.path], status: 64, saying: ["--minus"])
    }
  }
}
