import Foundation
import Model
import TestSupport
import Testing

@testable import Patching

/// Sweeps, lists of cells and ablations of random models, cell by cell, as TransformerLens has them.
@Suite struct SweepReferenceTests {
  private let reference: ReferencePairs
  private let arrays: ReferenceArrays
  private let runs: CachedRuns
  private let task: AnswerTask
  private var config: ModelConfig { runs.model.config }

  private init(_ folder: String) throws {
    let reference = try ReferencePairs(folder)
    let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let arrays = try ReferenceArrays(
      path: fixtures.appendingPathComponent("Fixtures/sweeps-\(folder).safetensors").path)
    // One more prompt of each length, for means.
    let more = try (0..<3).map { try arrays.tokens("more\($0)") }
    let pairs = (0..<3).map {
      PatchingPair(
        clean: reference.tokens.count + $0, corrupted: 2 * $0 + 1, answer: 0, wrongAnswer: 1)
    }
    self.reference = reference
    self.arrays = arrays
    task = AnswerTask(pairs: reference.task.pairs + pairs)
    runs = try CachedRuns(
      try GPT2(directory: ReferenceArrays.path(folder)), reference.tokens + more)
  }

  private func result(
    _ sweep: Sweep, _ direction: Direction, _ source: PatchSource = .otherRun
  ) throws -> SweepResult {
    let engine = runs.engine()
    return try engine.run(
      sweep, task, direction: direction, source: source, prompts: runs.prompts,
      baselines: try engine.baselines(task, prompts: runs.prompts))[0]
  }

  /// All cells that a pair has, in order, against an array of the file.
  private func expect(_ result: SweepResult, pair: Int, equals name: String) throws {
    let found = result.cells.indices.compactMap { result.patched[$0][pair] }
    let expected = try arrays.floats("pair\(pair)/\(name)")
    try #require(found.count == expected.count, "\(name), pair \(pair)")
    #expect(largestDifference(found, expected) < 1e-4, "\(name), pair \(pair)")
  }

  @Test(arguments: ["tiny", "odd"], PatchEngineTests.directions)
  static func sweepsEqualTransformerLens(folder: String, direction: Direction) throws {
    let tests = try SweepReferenceTests(folder)
    let layers = Array(0..<tests.config.layers)
    for (name, kind, axis) in [
      ("q_by_pos", HookKind.q, SweepAxis.headPosition), ("k_by_pos", .k, .headPosition),
      ("v_by_pos", .v, .headPosition), ("pattern_by_dst", .pattern, .headPosition),
      ("pattern_by_dst_src", .pattern, .headEdge),
    ] {
      let result = try tests.result(try Sweep(kind, layers: layers, by: axis), direction)
      for pair in 0..<3 {
        try tests.expect(result, pair: pair, equals: "\(direction.rawValue)/\(name)")
      }
    }
    let neurons = try tests.result(
      try Sweep(.mlpPost, layers: layers, by: .neuron, at: .index(-1)), direction)
    for pair in 0..<3 {
      try tests.expect(neurons, pair: pair, equals: "\(direction.rawValue)/neurons")
    }
  }

  /// Over pairs of several lengths, and one of a prompt and itself: it counts, with an effect of 0.
  @Test(arguments: ["tiny", "odd"], PatchEngineTests.directions)
  static func effectsEqualTransformerLens(folder: String, direction: Direction) throws {
    let tests = try SweepReferenceTests(folder)
    var pairs = tests.reference.task.pairs
    var same = pairs[0]
    same.corrupted = same.clean
    pairs.append(same)
    for (name, kind, axis) in [
      ("z", HookKind.z, SweepAxis.head), ("attn_out", .attnOut, .position),
      ("v_by_pos", .v, .headPosition),
    ] {
      let sweep = try Sweep(kind, layers: Array(0..<tests.config.layers), by: axis)
      let result = try tests.runs.run(sweep, AnswerTask(pairs: pairs), direction)
      func expect(_ effect: (Int) -> Double?, equals form: String) throws {
        let key = "effects/\(direction.rawValue)/\(name)/\(form)"
        let (shape, expected) = (try tests.arrays.shape(key), try tests.arrays.floats(key))
        #expect(result.shape == shape, "\(key)")
        let found = result.cells.indices.map { Float(effect($0) ?? .nan) }
        #expect(largestDifference(found, expected) < 1e-4, "\(key)")
      }
      try expect(result.ratioOfMeans(cell:), equals: "ratio-of-means")
      try expect(result.meanOfRatios(cell:), equals: "mean-of-ratios")
    }
  }

  /// The groups of tools/patchbay_compare/ablations.py, for a pair of `T` tokens.
  private func list(_ T: Int) -> [ListedCell] {
    let (last, end) = (config.layers - 1, Place.index(T - 1))
    let groups: [[Patch]] = [
      [Patch(HookPoint(.z, layer: 0), head: 0)],
      [
        Patch(HookPoint(.z, layer: 0), head: 1),
        Patch(HookPoint(.z, layer: last), head: config.heads - 1, place: end),
      ],
      [
        Patch(HookPoint(.residPre, layer: 1), place: .index(T - 2)),
        Patch(HookPoint(.mlpOut, layer: last), place: end),
      ],
      [
        Patch(HookPoint(.residPre, layer: 1), place: .index(T / 2)),
        Patch(HookPoint(.residPre, layer: last), place: end),
      ],
      [
        Patch(HookPoint(.attnOut, layer: 0)), Patch(HookPoint(.mlpOut, layer: 0)),
        Patch(HookPoint(.z, layer: 1), head: 0),
      ],
      [
        Patch(HookPoint(.q, layer: last), head: 0), Patch(HookPoint(.k, layer: last), head: 0),
        Patch(HookPoint(.v, layer: last), head: 1),
      ],
      [Patch(HookPoint(.residPost, layer: last), place: end)],
    ]
    return groups.enumerated().map { ListedCell(name: "group\($0)", patches: $1) }
  }

  @Test(arguments: ["tiny", "odd"], PatchEngineTests.directions)
  static func cellsOfAListEqualRunWithHooks(folder: String, direction: Direction) throws {
    let tests = try SweepReferenceTests(folder)
    for pair in 0..<3 {
      let list = tests.list(tests.reference.tokens[2 * pair].count)
      let result = try tests.result(try Sweep(name: "cells", list: list), direction)
      try tests.expect(result, pair: pair, equals: "\(direction.rawValue)/cells")
    }
  }

  @Test(arguments: ["tiny", "odd"])
  static func ablationsEqualRunWithHooks(folder: String) throws {
    let tests = try SweepReferenceTests(folder)
    let layers = Array(0..<tests.config.layers)
    for (name, source) in [
      ("zero", PatchSource.zero), ("mean", .mean(.everywhere, over: .clean)),
      ("mean-pos", .mean(.byPosition, over: .clean)),
    ] {
      for (hook, sweep) in [
        ("z", try Sweep(.z, layers: layers, by: .head)),
        ("z_at_end", try Sweep(.z, layers: layers, by: .head, at: .index(-1))),
        ("mlp_out", try Sweep(.mlpOut, layers: layers, by: .position)),
      ] {
        let result = try tests.result(sweep, .noise, source)
        for pair in 0..<3 { try tests.expect(result, pair: pair, equals: "\(name)/\(hook)") }
      }
    }
  }
}
