import Model
import TestSupport
import Testing

@testable import Patching

@Suite struct SweepResultTests {
  func result(_ direction: Direction, _ patched: [[Float?]], _ baselines: [Baseline]) throws
    -> SweepResult
  {
    let sweep = try Sweep(.residPre, layers: [0], by: .all)
    return SweepResult(
      sweep: sweep, direction: direction, source: .otherRun, metric: "logit-diff",
      cells: sweep.cells(
        positions: 1, config: try ModelConfig(directory: ReferenceArrays.path("odd"))), shape: [1],
      patched: patched,
      baselines: baselines, unchanged: 0, seconds: 0, operations: 0)
  }

  @Test func effectsAreThoseOfTheDefinition() throws {
    // Gaps 4 and 2; denoising recovers 3 of 4 and 1 of 2.
    let baselines = [Baseline(clean: 3, corrupted: -1), Baseline(clean: 1, corrupted: -1)]
    let denoise = try result(.denoise, [[2, 0]], baselines)
    #expect(denoise.effect(cell: 0, pair: 0) == 0.75)
    #expect(denoise.effect(cell: 0, pair: 1) == 0.5)
    #expect(denoise.meanOfRatios(cell: 0) == 0.625)
    #expect(denoise.ratioOfMeans(cell: 0) == 4.0 / 6.0)
    #expect(denoise.meanPatched(cell: 0) == 1)
    let noise = try result(.noise, [[2, 0]], baselines)
    #expect(noise.effect(cell: 0, pair: 0) == -0.25)
    #expect(noise.effect(cell: 0, pair: 1) == -0.5)
    #expect(noise.meanOfRatios(cell: 0) == -0.375)
    #expect(noise.ratioOfMeans(cell: 0) == -2.0 / 6.0)
  }

  @Test func aPairWithoutAGapCountsAsNoEffect() throws {
    let same = try result(
      .denoise, [[2, 3]], [Baseline(clean: 1, corrupted: 1), Baseline(clean: 3, corrupted: 1)])
    #expect(same.effect(cell: 0, pair: 0) == 0)
    #expect(same.meanOfRatios(cell: 0) == 0.5)
  }

  @Test func pairsWithoutThePositionAreLeftOutOfTheMeans() throws {
    let sparse = try result(
      .denoise, [[nil, 2]], [Baseline(clean: 9, corrupted: 1), Baseline(clean: 3, corrupted: 1)])
    #expect(sparse.pairs(of: 0) == [1])
    #expect(sparse.effect(cell: 0, pair: 0) == nil)
    #expect(sparse.ratioOfMeans(cell: 0) == 0.5)
    #expect(
      try result(.denoise, [[nil]], [Baseline(clean: 1, corrupted: 0)]).meanPatched(cell: 0) == nil)
  }
}
