import CacheFormat
import Glibc
import Model
import TestSupport
import Testing

@testable import Patching

/// Roles, lists (SweepListTests.swift), subspaces, noise, templates and ablation, held against naive full passes.
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

  func result(
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

  func cached(_ hook: HookPoint, _ prompt: Int) throws -> [Float] {
    try runs.cache.read(hook: try #require(runs.cache.hookIndex(hook.name)), prompt: prompt)
  }

  /// A sample of cells against `naive`, with the other run's values unless others are given.
  func compare(
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

  func naive(_ direction: Direction) -> NaivePatching {
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

  @Test func aWindowOfAnySizeIsAllLayers() throws {
    let all = try result(try Sweep(.mlpOut, layers: [1], window: 7))
    for window in [8, 1 << 40, .max] {
      #expect(try result(try Sweep(.mlpOut, layers: [1], window: window)).patched == all.patched)
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
