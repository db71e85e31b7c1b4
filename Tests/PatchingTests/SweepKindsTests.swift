import CacheFormat
import Glibc
import Model
import TestSupport
import Testing

@testable import Patching

/// Roles, lists, subspaces, noise, templates and ablation, held against naive full passes.
@Suite struct SweepKindsTests {
  let reference: ReferencePairs
  let runs: CachedRuns
  let task: AnswerTask
  let seed = UInt64.random(in: 0...UInt64.max)

  init() throws {
    (reference, runs) = try PatchEngineTests.everyHook.get()
    var pairs = reference.task.pairs
    for number in pairs.indices {
      let length = runs.prompts[pairs[number].clean].tokens.count
      pairs[number].roles = ["END": length - 1..<length, "subject": 2..<5, "name": 3..<4]
      pairs[number].template = "odd"
    }
    pairs[1].roles["name"] = nil
    task = AnswerTask(pairs: pairs)
  }

  private func result(
    _ sweep: Sweep, _ direction: Direction = .denoise, _ source: PatchSource = .otherRun
  ) throws -> SweepResult {
    let engine = runs.engine()
    try engine.require([sweep])
    let result = try engine.run(
      sweep, task, direction: direction, source: source, prompts: runs.prompts,
      baselines: try engine.baselines(task, prompts: runs.prompts))[0]
    let check = try engine.check(
      [result], task, prompts: runs.prompts, count: 40, seed: seed)
    #expect(check.isWithinTolerance, "seed \(seed)")
    return result
  }

  private func cached(_ hook: HookPoint, _ prompt: Int) throws -> [Float] {
    try runs.cache.read(hook: try #require(runs.cache.hookIndex(hook.name)), prompt: prompt)
  }

  /// A sample of cells against `naive`, with the other run's values unless others are given.
  private func compare(
    _ result: SweepResult, _ naive: NaivePatching, count: Int = 12,
    patches: (Cell) -> [Patch], values: ((HookPoint, Int) throws -> [Float])? = nil
  ) throws {
    var generator = SeededGenerator(seed: seed)
    for number in result.cells.indices.shuffled(using: &generator).prefix(count) {
      for pair in task.pairs.indices {
        guard let found = result.patched[number][pair] else { continue }
        let expected = try naive.logitDifference(
          pair: pair, patches(result.cells[number]), values: values ?? cached)
        #expect(
          abs(found - expected) < 5e-5, "\(result.cells[number]), pair \(pair), seed \(seed)")
      }
    }
  }

  private func naive(_ direction: Direction) -> NaivePatching {
    NaivePatching(runs: runs, task: task, direction: direction)
  }

  @Test(arguments: PatchEngineTests.directions, [HookKind.residPre, .z, .pattern, .mlpOut, .embed])
  func rolesAreThePositionsOfEachPair(direction: Direction, kind: HookKind) throws {
    let layers = kind.isInBlock ? [0, 1, 2] : []
    let roles = ["subject", "name", "END"]
    let result = try result(
      try Sweep(kind, layers: layers, by: .role, roles: roles), direction)
    #expect(result.shape == (kind.isInBlock ? [3, 3] : [3]))
    for (number, cell) in result.cells.enumerated() where cell.role == "name" {
      #expect(result.pairs(of: number) == [0, 2], "pair 1 has no such role")
    }
    try compare(result, naive(direction)) { cell in
      [Patch(HookPoint(kind, layer: cell.layer), place: cell.place)]
    }
    if kind.hasHeadAxis {
      let heads = try self.result(
        try Sweep(kind, layers: layers, by: .headRole, roles: roles), direction)
      #expect(heads.shape == [3, 3, runs.model.config.heads])
      try compare(heads, naive(direction)) { cell in
        [Patch(HookPoint(kind, layer: cell.layer), head: cell.head, place: cell.place)]
      }
    }
    // The role of one position is that position.
    let byPosition = try self.result(
      try Sweep(kind, layers: layers, by: .all, at: .index(-1)), direction)
    let byRole = try self.result(
      try Sweep(kind, layers: layers, by: .all, at: .role("END")), direction)
    #expect(byRole.patched == byPosition.patched)
  }

  @Test(arguments: PatchEngineTests.directions)
  func cellsOfAListArePatchedTogether(direction: Direction) throws {
    let list = [
      ListedCell(
        name: "heads of two layers",
        patches: [
          Patch(HookPoint(.z, layer: 2), head: 1), Patch(HookPoint(.z, layer: 0), head: 0),
          Patch(HookPoint(.z, layer: 2), head: 2, place: .index(-1)),
        ]),
      ListedCell(
        name: "all over a block",
        patches: [
          Patch(HookPoint(.mlpPost, layer: 1), place: .index(5), neuron: 3),
          Patch(HookPoint(.k, layer: 1), head: 1), Patch(HookPoint(.q, layer: 1), place: .index(4)),
          Patch(HookPoint(.pattern, layer: 1), head: 0, place: .index(5), key: 2),
          Patch(HookPoint(.attnOut, layer: 1), place: .role("END")),
        ]),
      ListedCell(
        name: "ends",
        patches: [
          Patch(HookPoint(.embed), place: .role("subject")),
          Patch(HookPoint(.finalNormalized), place: .index(0)),
          Patch(HookPoint(.residPost, layer: 2), place: .role("END")),
        ]),
      ListedCell(
        name: "stream twice",
        patches: [
          Patch(HookPoint(.residMid, layer: 1), place: .index(4)),
          Patch(HookPoint(.residPre, layer: 0), place: .index(2)),
        ]),
      ListedCell(
        name: "nowhere", patches: [Patch(HookPoint(.z, layer: 0), place: .index(1000))]),
    ]
    let result = try result(try Sweep(name: "cells", list: list), direction)
    #expect(result.shape == [5] && result.pairs(of: 4).isEmpty && result.pairs(of: 0).count == 3)
    try compare(result, naive(direction)) { list[$0.number ?? 0].patches }
    #expect(
      result.sweep.hookName(of: result.cells[0]) == "blocks.2.attn.hook_z+blocks.0.attn.hook_z")
  }

  /// Where a pass leaves the MLP out for rows whose mlp_out is another's, with whatever else is patched.
  @Test(arguments: PatchEngineTests.directions)
  func patchedOutputsOfMLPsNeedNoMLP(direction: Direction) throws {
    let out = HookPoint(.mlpOut, layer: 1)
    let list = [
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out, place: .index(4))],
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out, place: .index(5))],
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out)],
      [Patch(HookPoint(.mlpPost, layer: 1), place: .index(4)), Patch(out, place: .index(4))],
      [Patch(HookPoint(.attnOut, layer: 1)), Patch(out, place: .index(4), neuron: 2)],
      [
        Patch(HookPoint(.mlpOut, layer: 0), place: .index(4)), Patch(out, place: .index(4)),
        Patch(out, place: .index(5)), Patch(HookPoint(.mlpOut, layer: 2), place: .role("END")),
      ],
      [Patch(HookPoint(.z, layer: 2), head: 1), Patch(HookPoint(.mlpOut, layer: 2))],
    ].map { ListedCell(name: "", patches: $0) }
    let sweep = try result(try Sweep(name: "cells", list: list), direction)
    try compare(sweep, naive(direction)) { list[$0.number ?? 0].patches }
    // Of the first two, whose rows are the same, one leaves a row out.
    let operations = try list.prefix(2).map {
      try result(try Sweep(name: "cells", list: [$0]), direction).operations
    }
    let config = runs.model.config
    // Of other pairs the stream at position 4 is the same in both runs.
    let changed = task.pairs.count {
      runs.prompts[$0.clean].tokens[4] != runs.prompts[$0.corrupted].tokens[4]
    }
    let ofMLP = Double(4 * config.width * config.mlpWidth * changed)
    #expect(changed > 0 && operations[1] - operations[0] == ofMLP)
    let windows = try result(try Sweep(.mlpOut, layers: [0, 1, 2], window: 2), direction)
    try compare(windows, naive(direction)) { cell in
      let layer = cell.layer ?? 0
      return (max(0, layer - 1)...layer).map {
        Patch(HookPoint(.mlpOut, layer: $0), place: cell.place)
      }
    }
  }

  /// The later one of two patches of the same place holds, as in a whole pass.
  @Test(arguments: PatchEngineTests.directions)
  func resultsCanBePatchedTwice(direction: Direction) throws {
    let result = HookPoint(.result, layer: 1)
    let list = [
      [Patch(result), Patch(result)], [Patch(result, head: 1), Patch(result, head: 1)],
      [Patch(result, place: .role("END")), Patch(result, head: 1)],
      [Patch(result, head: 0, place: .index(4)), Patch(result, head: 2, place: .index(5))],
      [Patch(HookPoint(.z, layer: 1), head: 0), Patch(result, head: 2)],
    ].map { ListedCell(name: "", patches: $0) }
    let sweep = try self.result(try Sweep(name: "cells", list: list), direction)
    try compare(sweep, naive(direction)) { list[$0.number ?? 0].patches }
    #expect(
      sweep.patched[1]
        == (try self.result(
          try Sweep(name: "cells", list: [ListedCell(name: "", patches: [list[1].patches[0]])]),
          direction)).patched[0])
  }

  @Test func headInputsGoAlone() throws {
    let layer = 1
    func list(_ kinds: [(HookKind, Int)]) throws(PatchingError) -> Sweep {
      try Sweep(
        name: "cells",
        list: [
          ListedCell(
            name: "", patches: kinds.map { Patch(HookPoint($0.0, layer: $0.1), place: .index(-1)) })
        ])
    }
    for own in [HookKind.attnIn, .qInput, .kInput, .vInput] {
      for other in [HookKind.ln1Scale, .ln1Normalized] + (own == .attnIn ? [.qInput, .vInput] : [])
      {
        for kinds in [[(own, layer), (other, layer)], [(other, layer), (own, layer)]] {
          #expect(throws: PatchingError.self, "\(kinds)") { try list(kinds) }
        }
        _ = try list([(own, layer), (other, layer + 1)])
      }
    }
    for kinds in [
      [(HookKind.qInput, layer), (.kInput, layer), (.vInput, layer)],
      [(.residPre, layer), (.attnIn, layer)], [(.vInput, layer), (.z, layer), (.ln1Scale, 2)],
    ] {
      let sweep = try list(kinds)
      try compare(try result(sweep), naive(.denoise)) { sweep.list[$0.number ?? 0].patches }
    }
  }

  @Test func aWindowOfAnySizeIsAllLayers() throws {
    let all = try result(try Sweep(.mlpOut, layers: [1], window: 7))
    for window in [8, 1 << 40, .max] {
      #expect(try result(try Sweep(.mlpOut, layers: [1], window: window)).patched == all.patched)
    }
  }

  @Test func aListOfSingleCellsIsTheirSweep() throws {
    for kind in [HookKind.z, .pattern, .v] {
      let sweep = try result(try Sweep(kind, layers: [0, 2], by: .head, at: .index(4)))
      let list = sweep.cells.map { cell in
        ListedCell(
          name: "",
          patches: [
            Patch(HookPoint(kind, layer: cell.layer), head: cell.head, place: cell.place)
          ])
      }
      #expect(try result(try Sweep(name: "cells", list: list)).patched == sweep.patched)
    }
  }

  private func random(_ count: Int, _ generator: inout SeededGenerator) -> [Float] {
    (0..<count).map { _ in Float.random(in: -1...1, using: &generator) }
  }

  @Test(
    arguments: [HookKind.residPre, .mlpPost, .attnOut, .z, .q, .finalNormalized, .ln2Normalized])
  func subspacesChangeTheirComponentAlone(kind: HookKind) throws {
    var generator = SeededGenerator(seed: seed)
    let width = runs.model.config.valueCount(of: kind, positions: 1)
    let rows = [random(width, &generator), random(width, &generator)]
    let layers = kind.isInBlock ? [0, 1, 2] : []
    var naive = naive(.denoise)
    naive.span = rows.map { $0.map(Double.init) }
    let whole = try result(
      try Sweep(
        kind, layers: layers, by: .position, subspaces: [try Subspace(rows: rows)]))
    try compare(whole, naive) { [Patch(HookPoint(kind, layer: $0.layer), place: $0.place)] }
    let single = try result(
      try Sweep(
        kind, layers: layers, by: .direction,
        subspaces: try rows.map { try Subspace(rows: [$0]) }))
    #expect(single.shape.last == 2)
    for direction in 0..<2 {
      naive.span = [rows[direction].map(Double.init)]
      let own = single.cells.indices.filter { single.cells[$0].direction == direction }
      for number in own {
        for pair in 0..<3 {
          let expected = try naive.logitDifference(
            pair: pair, [Patch(HookPoint(kind, layer: single.cells[number].layer))], values: cached)
          let found = single.patched[number][pair] ?? .nan
          #expect(abs(found - expected) < 5e-5, "direction \(direction), seed \(seed)")
        }
      }
    }
  }

  @Test func aSubspaceOfAHeadAndOfAWindow() throws {
    var generator = SeededGenerator(seed: seed)
    let config = runs.model.config
    let rows = [random(config.headWidth, &generator)]
    var naive = naive(.noise)
    naive.span = rows.map { $0.map(Double.init) }
    let heads = try result(
      try Sweep(.z, layers: [0, 1, 2], by: .head, subspaces: [try Subspace(rows: rows)]), .noise)
    try compare(heads, naive) { [Patch(HookPoint(.z, layer: $0.layer), head: $0.head)] }
    // In a window the second layer's row is not the receiving run's any more.
    let wide = [random(config.width, &generator)]
    naive.span = wide.map { $0.map(Double.init) }
    let windows = try result(
      try Sweep(
        .mlpOut, layers: [1, 2], by: .position, window: 2, subspaces: [try Subspace(rows: wide)]),
      .noise)
    try compare(windows, naive) { cell in
      [(cell.layer ?? 0) - 1, cell.layer ?? 0].map {
        Patch(HookPoint(.mlpOut, layer: $0), place: cell.place)
      }
    }
  }

  /// All directions together are the whole row, within rounding.
  @Test func theWholeSpaceIsTheWholeRow() throws {
    let width = runs.model.config.width
    let identity = (0..<width).map { row in (0..<width).map { $0 == row ? Float(1) : 0 } }
    let part = try result(
      try Sweep(
        .residMid, layers: [1], by: .position, subspaces: [try Subspace(rows: identity)]))
    let whole = try result(try Sweep(.residMid, layers: [1], by: .position))
    for (a, b) in zip(part.patched.joined(), whole.patched.joined()) {
      #expect(abs((a ?? 0) - (b ?? 0)) < 5e-5)
    }
  }

  @Test func rowsThatSpanNothingAreRefused() throws {
    for rows in [[], [[]], [[0, 0]], [[.nan, 1]], [[1, 2], [2, 4]], [[1, 2], [1]]] as [[[Float]]] {
      #expect(throws: PatchingError.self) { try Subspace(rows: rows) }
    }
    let subspace = try Subspace(rows: [[3, 0, 4]])
    #expect(subspace.dimension == 1 && subspace.basis == [0.6, 0, 0.8])
    let sweep = try Sweep(.residPre, layers: [0], subspaces: [subspace])
    #expect(throws: PatchingError.self) { try runs.engine().require([sweep]) }
    #expect(throws: PatchingError.noSubspaces(.pattern)) {
      try Sweep(.pattern, layers: [0], subspaces: [subspace])
    }
    #expect(throws: PatchingError.noDirections) {
      try Sweep(.residPre, layers: [0], by: .direction)
    }
    #expect(throws: PatchingError.noRoles) { try Sweep(.residPre, layers: [0], by: .role) }
    #expect(throws: PatchingError.noRoles) { try Sweep(.z, layers: [0], by: .headRole) }
  }

  @Test func listsThatDoNotFitAreRefused() throws {
    let config = runs.model.config
    for patch in [
      Patch(HookPoint(.z, layer: 0), head: config.heads), Patch(HookPoint(.z, layer: 0), head: -1),
      Patch(HookPoint(.z, layer: config.layers)), Patch(HookPoint(.pattern, layer: 0), key: -1),
      Patch(HookPoint(.mlpPost, layer: 0), neuron: config.mlpWidth),
    ] {
      let sweep = try Sweep(name: "cells", list: [ListedCell(name: "x", patches: [patch])])
      #expect(throws: PatchingError.self, "\(patch)") { try runs.engine().require([sweep]) }
    }
    for patch in [
      Patch(HookPoint(.unembed)), Patch(HookPoint(.residPre, layer: 0), head: 0),
      Patch(HookPoint(.z, layer: 0), neuron: 0), Patch(HookPoint(.z, layer: 0), key: 0),
    ] {
      #expect(throws: PatchingError.self, "\(patch)") {
        try Sweep(name: "cells", list: [ListedCell(name: "x", patches: [patch])])
      }
    }
  }

  @Test(arguments: [HookKind.embed, .residMid, .z, .pattern, .attnScores, .mlpPre, .ln1Scale])
  func noiseIsAddedToWhatIsThere(kind: HookKind) throws {
    let layers = kind.isInBlock ? [0, 1, 2] : []
    let sweep = try Sweep(kind, layers: layers, by: kind.hasHeadAxis ? .head : .position)
    let source = PatchSource.noise(scale: 0.5, seed: seed)
    let result = try result(sweep, .ablate, source)
    // The noise itself, by hook and prompt, for what it is said to be.
    let hooks = layers.isEmpty ? [HookPoint(kind)] : layers.map { HookPoint(kind, layer: $0) }
    let prompts = Set(task.pairs.map(\.clean)).sorted()
    let noise = try NoiseActivations(
      of: hooks, cache: runs.cache, config: runs.model.config,
      prompts: prompts.map { ($0, runs.prompts[$0].tokens.count) }, scale: 0.5, seed: seed,
      threads: 1)
    var naive = naive(.ablate)
    naive.adds = true
    // Ablation's naive source is the corrupted run, and the noise the clean one's.
    let clean = Dictionary(
      task.pairs.map { ($0.corrupted, $0.clean) }, uniquingKeysWith: { first, _ in first })
    try compare(result, naive, count: 6) {
      [Patch(HookPoint(kind, layer: $0.layer), head: $0.head, place: $0.place)]
    } values: { hook, prompt in
      let own = try #require(clean[prompt])
      let array = noise.array(hook, prompt: own, length: runs.prompts[own].tokens.count)
      return Array(UnsafeBufferPointer(start: array.pointer, count: array.count))
    }
    for (number, cell) in result.cells.enumerated() {
      let effect = try #require(result.ratioOfMeans(cell: number))
      let pairs = result.pairs(of: number)
      let mean = pairs.reduce(0.0) {
        $0 + Double(result.patched[number][$1] ?? .nan) - Double(result.baselines[$1].clean)
      }
      #expect(abs(effect - mean / Double(pairs.count)) < 1e-6, "\(cell)")
    }
  }

  @Test func noiseHasTheDeviationThatItIsSaidToHave() throws {
    let hook = HookPoint(.residPre, layer: 1)
    let prompts = Set(task.pairs.map(\.clean)).sorted()
    let lengths = prompts.map { ($0, runs.prompts[$0].tokens.count) }
    func noise(_ scale: Float, _ seed: UInt64) throws -> [Float] {
      let noise = try NoiseActivations(
        of: [hook], cache: runs.cache, config: runs.model.config, prompts: lengths, scale: scale,
        seed: seed, threads: 1)
      return lengths.flatMap { prompt, length in
        let array = noise.array(hook, prompt: prompt, length: length)
        return Array(UnsafeBufferPointer(start: array.pointer, count: array.count))
      }
    }
    let all = try prompts.flatMap { try cached(hook, $0) }.map(Double.init)
    let mean = all.reduce(0, +) / Double(all.count)
    let deviation = (all.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(all.count))
      .squareRoot()
    let values = try noise(3, 7).map(Double.init)
    let size = (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
    // Four standard errors of a deviation of so many normal values.
    #expect(abs(size / (3 * deviation) - 1) < 4 / (2 * Double(values.count)).squareRoot())
    let average = values.reduce(0, +) / Double(values.count)
    #expect(abs(average) < 4 * 3 * deviation / Double(values.count).squareRoot())
    #expect(try noise(3, 7).map(\.bitPattern) == values.map { Float($0).bitPattern })
    #expect(try noise(3, 8) != noise(3, 7))
    #expect(try noise(0, 7).allSatisfy { $0 == 0 })
  }

  @Test func meansByTemplateAreThoseOfItsRows() throws {
    // Pairs 0 and 1 under one template, pair 2 alone; lengths are kept apart besides.
    var pairs = task.pairs
    pairs[2].template = "other"
    let engine = runs.engine()
    let task = AnswerTask(pairs: pairs)
    let sweep = try Sweep(.z, layers: [1], by: .head)
    let result = try engine.run(
      sweep, task, direction: .ablate, source: .mean(.byTemplate, over: .corrupted),
      prompts: runs.prompts, baselines: try engine.baselines(task, prompts: runs.prompts))[0]
    let naive = NaivePatching(runs: runs, task: task, direction: .ablate)
    for (number, cell) in result.cells.enumerated() {
      for pair in 0..<3 {
        let length = runs.prompts[pairs[pair].corrupted].tokens.count
        let others = pairs.filter {
          $0.template == pairs[pair].template
            && runs.prompts[$0.corrupted].tokens.count == length
        }
        let expected = try naive.logitDifference(
          pair: pair, [Patch(HookPoint(.z, layer: 1), head: cell.head)]
        ) { hook, _ in
          let arrays = try others.map { try cached(hook, $0.corrupted) }
          return arrays[0].indices.map { i in
            Float(arrays.reduce(0.0) { $0 + Double($1[i]) } / Double(arrays.count))
          }
        }
        #expect(abs((result.patched[number][pair] ?? .nan) - expected) < 5e-5)
      }
    }
    pairs[0].template = nil
    #expect(throws: PatchingError.noTemplate) {
      try engine.run(
        sweep, AnswerTask(pairs: pairs), direction: .ablate,
        source: .mean(.byTemplate, over: .clean), prompts: runs.prompts,
        baselines: result.baselines.map { [$0] })
    }
  }

  /// A prompt by itself: the corrupted prompt is the clean one.
  @Test func ablationNeedsNoOtherRun() throws {
    let alone = AnswerTask(
      pairs: task.pairs.map {
        PatchingPair(
          clean: $0.clean, corrupted: $0.clean, answer: $0.answer, wrongAnswer: $0.wrongAnswer)
      })
    let engine = runs.engine()
    for source in [PatchSource.zero, .mean(.everywhere, over: .clean)] {
      let sweep = try Sweep(.z, layers: [0, 1, 2], by: .head)
      let found = try engine.run(
        sweep, alone, direction: .ablate, source: source, prompts: runs.prompts,
        baselines: try engine.baselines(alone, prompts: runs.prompts))[0]
      let paired = try result(sweep, .ablate, source)
      #expect(found.patched == paired.patched)
      #expect(found.cells.indices.contains { abs(found.ratioOfMeans(cell: $0) ?? 0) > 1e-3 })
    }
  }

  /// The count for one whole pass: every row of every product, of which the last block's queries, output
  /// and MLP are those of the last position.
  @Test func operationsAreCounted() throws {
    let config = runs.model.config
    let (D, M) = (config.width, config.mlpWidth)
    let (inner, heads) = (config.heads * config.headWidth, config.heads)
    let one = AnswerTask(pairs: [task.pairs[2]])
    let engine = runs.engine()
    let result = try engine.run(
      try Sweep(.embed, layers: [], by: .all), one, direction: .denoise, source: .zero,
      prompts: runs.prompts, baselines: try engine.baselines(one, prompts: runs.prompts))[0]
    let T = runs.prompts[one.pairs[0].clean].tokens.count
    func products(_ rows: Int, _ inner: Int, _ columns: Int) -> Int { 2 * rows * inner * columns }
    let attended = (1...T).reduce(0, +)
    var count = 0
    for layer in 0..<config.layers {
      let isLast = layer == config.layers - 1
      let after = isLast ? 1 : T
      count += products(isLast ? 1 : T, D, inner) + 2 * products(T, D, inner)
      count += 2 * 2 * (isLast ? T : attended) * config.headWidth * heads
      count += products(after, inner, D) + products(after, D, M) + products(after, M, D)
    }
    #expect(result.operations == Double(count))
  }
}
