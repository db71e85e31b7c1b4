import Model
import TestSupport
import Testing

@testable import Patching

/// Runs that begin alike are one run until they part.
@Suite struct PatchedPassForksTests {
  private static let kinds: [HookKind] = [
    .residPre, .qInput, .q, .k, .v, .attnScores, .pattern, .z, .attnOut, .residMid, .mlpIn,
    .ln2Normalized, .mlpPost, .mlpOut, .residPost,
  ]

  /// The odd fixture with its blocks again and again, so many that runs part before the last one again and again.
  private static func deepModel() throws -> GPT2 {
    let directory = ReferenceArrays.path("odd")
    var config = try ModelConfig(directory: directory)
    var weights = try Weights(directory: directory, processing: .raw)
    let layers = weights.layers
    config.layers = 7
    weights.layers = (0..<config.layers).map { layers[$0 % layers.count] }
    return GPT2(config: config, weights: weights, processing: .raw, weightsDigest: "")
  }

  /// Lists of patches of which many have their first ones in common, as whole passes have them.
  @Test(arguments: 0..<6 as Range<UInt64>)
  func everyRunIsThatOfAWholePass(seed: UInt64) throws {
    var random = SplitMix64(state: seed)
    let pairs = try ReferencePairs("odd")
    let model = try PatchedPassForksTests.deepModel()
    let runs = try CachedRuns(model, pairs.tokens) {
      $0.kind.isDefault || PatchedPassForksTests.kinds.contains($0.kind)
    }
    let layers = model.config.layers
    func patch(_ layer: Int) -> Patch {
      let kind = PatchedPassForksTests.kinds.randomElement(using: &random) ?? .z
      let head = kind.hasHeadAxis && Bool.random(using: &random) ? 1 : nil
      let place =
        Bool.random(using: &random) ? nil : Place.index(Int.random(in: -2..<3, using: &random))
      return Patch(HookPoint(kind, layer: layer), head: head, place: place)
    }
    var cells: [ListedCell] = []
    for group in 0..<4 {
      let trunk = (0..<layers).map { patch($0) }
      for length in 1...layers {
        let branch =
          Bool.random(using: &random) && length < layers
          ? [patch(Int.random(in: length..<layers, using: &random))] : []
        let patches = trunk.prefix(length) + branch
        cells.append(ListedCell(name: "\(group) \(length)", patches: Array(patches)))
      }
    }
    let sweep = try Sweep(name: "list", list: cells.shuffled(using: &random))
    for direction in PatchEngineTests.directions {
      let result = try runs.run(sweep, pairs.task, direction)
      let check = try runs.engine().check(
        [result], pairs.task, prompts: runs.prompts, count: .max, seed: 0)
      #expect(check.largestDifference == [0], "seed \(seed) \(direction)")
      // One run a pass has nothing to fork from.
      let alone = try runs.run(sweep, pairs.task, direction, rowsPerPass: 1)
      #expect(result.patched == alone.patched, "seed \(seed) \(direction)")
    }
  }

  @Test func whatIsInCommonIsComputedOnce() throws {
    let pairs = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, pairs.tokens)
    let layers = Array(0..<model.config.layers)
    // Windows that begin in front of the first block have it in common.
    let sweep = try Sweep(.mlpOut, layers: layers, window: 4)
    let together = try runs.run(sweep, pairs.task, .denoise, threads: 1)
    let alone = try runs.run(sweep, pairs.task, .denoise, threads: 1, rowsPerPass: 1)
    #expect(together.patched == alone.patched)
    #expect(together.operations < 0.9 * alone.operations)
    // Single layers have nothing in common.
    let single = try Sweep(.mlpOut, layers: layers)
    let apart = try runs.run(single, pairs.task, .denoise, threads: 1)
    let one = try runs.run(single, pairs.task, .denoise, threads: 1, rowsPerPass: 1)
    #expect(apart.operations == one.operations)
  }

  /// Windows of an output are apart in one row at first, which the block's other rows do not see.
  @Test(arguments: [HookKind.mlpOut, .attnOut]) func aBlockThatPartsRunsIsComputedOnce(
    kind: HookKind
  )
    throws
  {
    let pairs = try ReferencePairs("odd")
    let model = try PatchedPassForksTests.deepModel()
    let runs = try CachedRuns(model, pairs.tokens)
    func operations(_ windows: [Range<Int>]) throws -> Double {
      let cells = windows.map { window in
        ListedCell(
          name: "\(window)",
          patches: window.map { Patch(HookPoint(kind, layer: $0), place: .index(1)) })
      }
      return try runs.run(
        try Sweep(name: "list", list: cells), pairs.task, .denoise, threads: 1
      ).operations
    }
    let three = try operations([0..<3])
    let both = try operations([0..<3, 0..<4])
    // What is added is less than a run that begins with the outputs of the block before.
    #expect(both - three < (try operations([2..<3])))
  }

  /// All rows are computed then, from the first on.
  @Test(arguments: [HookKind.k, .q]) func runsForkWithoutCachedKeysOrQueries(missing: HookKind)
    throws
  {
    let pairs = try ReferencePairs("odd")
    let model = try PatchedPassForksTests.deepModel()
    let all = try CachedRuns(model, pairs.tokens)
    let some = try CachedRuns(model, pairs.tokens) { $0.kind.isDefault && $0.kind != missing }
    let windows = try Sweep(.mlpOut, layers: Array(0..<model.config.layers), window: 6)
    for direction in PatchEngineTests.directions {
      let expected = try all.run(windows, pairs.task, direction)
      let found = try some.run(windows, pairs.task, direction)
      #expect(found.patched == expected.patched)
      #expect(found.operations > expected.operations)
    }
  }
}
