import Foundation
import TestSupport
import Testing

/// `analyze results A B`.
@Suite struct ResultComparisonTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private struct Comparison: Decodable {
    struct Sweep: Decodable {
      let hook, metric: String
      let axes: [String]
      let common, onlyA, onlyB: Int
      let largestDifference, rootMeanSquare, correlation: Double?
      let largestCell: String?
      let cells: [Cell]
    }
    struct Cell: Decodable {
      let layer, head, pos: Int?
      let cell: String
      let effectA, effectB, difference: Double
    }
    let a, b: String
    let warnings, onlyA, onlyB: [String]
    let sweeps: [Sweep]
  }

  private func patched(_ name: String, cache: String? = nil, _ arguments: String...) throws
    -> (directory: String, file: PatchFile)
  {
    let out = folder.path(name)
    let answer = try Program.analyze.run(
      ["patch", "--cache", cache ?? shared.path, "--quiet", "--json", "--out", out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return (out, try answer.patchFile())
  }

  private func compared(_ a: String, _ b: String, _ arguments: String...) throws -> Comparison {
    let answer = try Program.analyze.run(["results", a, b, "--json"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Comparison.self, from: Data(answer.output.utf8))
  }

  private func expectClose(
    _ value: Double?, _ expected: Double, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(
      abs((value ?? .nan) - expected) <= 1e-12 * max(1, abs(expected)),
      "\(String(describing: value)) for \(expected)", sourceLocation: sourceLocation)
  }

  /// Pearson's correlation by the other formula, of means of products.
  private func correlation(_ x: [Double], _ y: [Double]) -> Double {
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    let covariance = mean(zip(x, y).map(*)) - mean(x) * mean(y)
    let variances = [x, y].map { mean($0.map { $0 * $0 }) - mean($0) * mean($0) }
    return covariance / (variances[0] * variances[1]).squareRoot()
  }

  @Test func aResultDoesNotDifferFromItsRepetition() throws {
    let a = try patched("a", "--hooks", "resid_pre,z", "--threads", "1")
    let b = try patched("b", "--hooks", "resid_pre,z", "--threads", "3")
    let comparison = try compared(a.directory, b.directory, "--top", "0")
    #expect(comparison.a == a.directory && comparison.b == b.directory)
    #expect(comparison.warnings == [] && comparison.onlyA == [] && comparison.onlyB == [])
    #expect(comparison.sweeps.map(\.common) == [33, 9])
    for sweep in comparison.sweeps {
      #expect(sweep.largestDifference == 0 && sweep.rootMeanSquare == 0)
      #expect(sweep.onlyA == 0 && sweep.onlyB == 0)
      expectClose(sweep.correlation, 1)
      #expect(sweep.cells.count == sweep.common && sweep.cells.allSatisfy { $0.difference == 0 })
    }
    let text = try Program.analyze.succeed("results", a.directory, b.directory)
    #expect(text.lines.contains { $0.hasPrefix("33 common cells, largest difference 0 at ") })
    #expect(!text.output.contains("warning"))
  }

  @Test func denoisingAndNoisingAreComparedWithAWarning() throws {
    let a = try patched("a", "--hooks", "resid_pre,z")
    let b = try patched("b", "--hooks", "resid_pre,z", "--direction", "noise")
    let comparison = try compared(a.directory, b.directory, "--top", "0")
    #expect(comparison.warnings.count == 2)
    #expect(comparison.warnings[0] == "direction: denoise in A, noise in B")
    #expect(comparison.warnings[1].hasPrefix("normalisation: (patched - corrupted)"))
    for (sweep, (one, other)) in zip(comparison.sweeps, zip(a.file.sweeps, b.file.sweeps)) {
      let x = one.effect.compactMap { $0 }
      let y = other.effect.compactMap { $0 }
      let differences = zip(x, y).map { $1 - $0 }
      #expect(x.count == one.effect.count && y.count == x.count && sweep.common == x.count)
      expectClose(sweep.correlation, correlation(x, y))
      expectClose(
        sweep.rootMeanSquare,
        (differences.map { $0 * $0 }.reduce(0, +) / Double(x.count)).squareRoot())
      let ranked = differences.enumerated().sorted {
        (-abs($0.element), $0.offset) < (-abs($1.element), $1.offset)
      }
      #expect(sweep.largestDifference == ranked.first?.element)
      #expect(sweep.cells.map(\.difference) == ranked.map(\.element))
      #expect(sweep.cells.map(\.effectA) == ranked.map { x[$0.offset] })
      #expect(sweep.cells.map(\.effectB) == ranked.map { y[$0.offset] })
      let inner = one.shape[1]
      #expect(sweep.cells.map(\.layer) == ranked.map { $0.offset / inner })
      #expect(sweep.cells.map { $0.head ?? $0.pos } == ranked.map { $0.offset % inner })
      #expect(sweep.largestCell == sweep.cells[0].cell)
    }
    let text = try Program.analyze.succeed("results", a.directory, b.directory)
    #expect(text.lines.contains("warning: direction: denoise in A, noise in B"))

    let csv = try Program.analyze.succeed(
      "results", a.directory, b.directory, "--csv", "--top", "0", "--hooks", "z")
    #expect(
      csv.lines[0] == "hook,layer,head,pos,src,neuron,cell,effect_a,effect_b,difference,metric")
    let numbers = csv.lines.dropFirst().map { line in
      line.split(separator: ",", omittingEmptySubsequences: false)[7...9].map { Double($0) }
    }
    #expect(
      numbers == comparison.sweeps[1].cells.map { [$0.effectA, $0.effectB, $0.difference] })
  }

  @Test func whatOneResultAloneHasIsSaid() throws {
    let a = try patched("a", "--hooks", "resid_pre1,z0,z2", "--metric", "logit-diff,kl")
    let b = try patched(
      "b", cache: shared.mixed, "--hooks", "resid_pre,z", "--by", "pos", "--skip-unaligned",
      "--source", "zero")
    let comparison = try compared(a.directory, b.directory, "--top", "0")
    // z has heads in A and positions in B.
    #expect(
      comparison.onlyA == [
        "resid_pre  layer 1 × pos 11, kl", "z  layer 2 × head 3, all positions, logit-diff",
        "z  layer 2 × head 3, all positions, kl",
      ])
    #expect(comparison.onlyB == ["z  layer 3 × pos 9, source zero, logit-diff"])
    for words in [
      "metrics: logit-diff, kl in A, logit-diff in B", "cache plan: ", "pairs: 4 in A, 2",
    ] {
      #expect(comparison.warnings.contains { $0.hasPrefix(words) }, "\(words)")
    }
    #expect(comparison.warnings.contains("resid_pre, source: other in A, zero in B"))
    #expect(!comparison.warnings.contains { $0.hasPrefix("weights digest") })
    #expect(comparison.sweeps.count == 1)
    let sweep = comparison.sweeps[0]
    #expect(sweep.common == 9 && sweep.onlyA == 2 && sweep.onlyB == 18)
    let (one, other) = (a.file.sweeps[0].effect, b.file.sweeps[0].effect)
    for cell in sweep.cells {
      let pos = try #require(cell.pos)
      #expect(cell.layer == 1)
      #expect(cell.effectA == one[pos] && cell.effectB == other[9 + pos])
    }
    let none = try Program.analyze.succeed("results", a.directory, b.directory, "--metric", "kl")
    #expect(none.output.contains("no sweep is in both results"))
  }

  @Test func differentNoiseAndMeansAreSaid() throws {
    let noise = try patched("noise", "--hooks", "z", "--source", "noise", "--seed", "5")
    let other = try patched(
      "other", "--hooks", "z", "--source", "noise", "--seed", "5", "--noise-scale", "1")
    let mean = try patched("mean", "--hooks", "z", "--source", "mean")
    let corrupted = try patched(
      "corrupted", "--hooks", "z", "--source", "mean", "--mean-over", "corrupted")
    #expect(
      try compared(noise.directory, other.directory).warnings == [
        "z, noise: scale 3.0, seed 5 in A, scale 1.0, seed 5 in B"
      ])
    #expect(
      try compared(mean.directory, corrupted.directory).warnings == [
        "z, mean over: clean in A, corrupted in B"
      ])
    #expect(try compared(noise.directory, noise.directory).warnings.isEmpty)
    #expect(
      try compared(noise.directory, mean.directory).warnings == [
        "z, source: noise in A, mean in B"
      ])
  }

  @Test func otherWeightsAndAFirstTokenMoreAreSaid() throws {
    func patchedAnew(_ name: String, _ options: String...) throws -> String {
      let cache = folder.path("cache-" + name)
      let answer = try Program.capture.run(
        ["--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--quiet"] + options)
      try #require(answer.status == 0, "\(answer)")
      return try patched(name, cache: cache, "--hooks", "z").directory
    }
    let ours = try patched("ours", "--hooks", "z").directory
    let raw = try compared(ours, try patchedAnew("raw", "--weights", "raw")).warnings
    #expect(raw.contains("weights: transformerlens in A, raw in B"), "\(raw)")
    #expect(!raw.contains { $0.hasPrefix("BOS") || $0.hasPrefix("weights digest") }, "\(raw)")
    let bare = try compared(try patchedAnew("bare", "--no-bos"), ours).warnings
    #expect(bare.contains("BOS prepended: no in A, yes in B"), "\(bare)")
    #expect(!bare.contains { $0.hasPrefix("weights") }, "\(bare)")
  }

  @Test func filtersHoldForComparisonsToo() throws {
    let a = try patched("a", "--hooks", "resid_pre,z")
    let b = try patched("b", "--hooks", "resid_pre,z", "--source", "mean", "--direction", "noise")
    let sweep = try #require(
      try compared(a.directory, b.directory, "--hooks", "resid_pre", "--layer", "1-2", "--top", "0")
        .sweeps.first)
    #expect(sweep.common == 22 && sweep.cells.allSatisfy { $0.layer != 0 })
    let (one, other) = (a.file.sweeps[0].effect, b.file.sweeps[0].effect)
    let large = try compared(
      a.directory, b.directory, "--hooks", "resid_pre", "--min-effect", "0.2", "--sort", "cell",
      "--top", "0")
    let expected = one.indices.filter {
      max(abs(one[$0] ?? 0), abs(other[$0] ?? 0)) >= 0.2
    }
    #expect(large.sweeps.map(\.common) == [expected.count])
    #expect(large.sweeps[0].cells.map { ($0.layer ?? 9) * 11 + ($0.pos ?? 99) } == expected)
    #expect(!expected.isEmpty && expected.count < 33)
    let first = try compared(a.directory, b.directory, "--hooks", "z", "--top", "2")
    #expect(first.sweeps.map(\.cells.count) == [2] && first.sweeps[0].common == 9)
  }

  @Test func pathsByBothDefinitionsAreComparable() throws {
    for paths in ["direct", "through-mlps"] {
      try Program.analyze.succeed(
        "path", "--cache", shared.path, "--to", "logits", "--paths", paths, "--direction", "noise",
        "--out", folder.path(paths), "--quiet")
    }
    try Program.analyze.succeed(
      "path", "--cache", shared.path, "--receivers", "2.1", "--input", "q", "--paths", "direct",
      "--direction", "noise", "--out", folder.path("q"), "--quiet")
    let comparison = try compared(folder.path("direct"), folder.path("through-mlps"), "--top", "0")
    #expect(comparison.warnings.contains { $0.contains("paths: direct in A, through-mlps in B") })
    #expect(comparison.sweeps.map(\.common) == [9] && comparison.onlyA.isEmpty)
    #expect((comparison.sweeps[0].largestDifference ?? 0) != 0)
    #expect(comparison.sweeps[0].cells.count == 9)
    #expect(try compared(folder.path("direct"), folder.path("q")).sweeps.isEmpty)
  }
}
