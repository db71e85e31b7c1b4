import CacheFormat
import Glibc
import Model
import TestSupport
import Testing

@testable import Patching

@Suite struct PatchEngineTests {
  /// Between two runs.
  static let directions = [Direction.denoise, .noise]

  /// The sweeps of the reference files, by the names they have there.
  static let referenceSweeps: [(String, HookKind, SweepAxis)] = [
    ("resid_pre", .residPre, .position), ("resid_mid", .residMid, .position),
    ("resid_post", .residPost, .position), ("attn_out", .attnOut, .position),
    ("mlp_out", .mlpOut, .position), ("z", .z, .head), ("q", .q, .head), ("k", .k, .head),
    ("v", .v, .head), ("pattern", .pattern, .head), ("z_by_pos", .z, .headPosition),
    ("post", .mlpPost, .all),
  ]

  @Test(
    arguments: ["tiny", "odd"], [WeightProcessing.transformerlens, WeightProcessing.raw])
  func sweepsEqualTransformerLens(folder: String, processing: WeightProcessing) throws {
    let reference = try ReferencePairs(folder)
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    let runs = try CachedRuns(model, reference.tokens)
    let baselines = try runs.engine().baselines(reference.task, prompts: runs.prompts)[0]
    for (pair, baseline) in baselines.enumerated() {
      #expect(abs(baseline.clean - (try reference.arrays.floats("pair\(pair)/clean"))[0]) < 1e-4)
      #expect(
        abs(baseline.corrupted - (try reference.arrays.floats("pair\(pair)/corrupted"))[0]) < 1e-4)
    }
    for (name, kind, axis) in PatchEngineTests.referenceSweeps {
      for direction in PatchEngineTests.directions {
        let sweep = try Sweep(kind, layers: Array(0..<model.config.layers), by: axis)
        let result = try runs.run(sweep, reference.task, direction)
        #expect(result.cells.count == result.shape.reduce(1, *))
        for pair in 0..<3 {
          let expected = try reference.arrays.floats("pair\(pair)/\(direction.rawValue)/\(name)")
          let found = result.cells.indices.compactMap { result.patched[$0][pair] }
          #expect(
            largestDifference(found, expected) < 1e-4, "\(direction) \(name), pair \(pair)")
        }
      }
    }
  }

  /// The metric of a pair with a cell patched at some hooks.
  func bruteForce(
    _ runs: CachedRuns, _ task: AnswerTask, _ pair: Int, _ hooks: [HookPoint], _ cell: Cell,
    _ direction: Direction, values: @escaping (HookPoint, Int) throws -> [Float]
  ) throws -> Float {
    try NaivePatching(runs: runs, task: task, direction: direction).logitDifference(
      pair: pair,
      hooks.map {
        Patch($0, head: cell.head, place: cell.place, key: cell.key, neuron: cell.neuron)
      }, values: values)
  }

  /// One cache of every hook for all tests that only read it.
  static let everyHook = Result {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    return (reference, try CachedRuns(model, reference.tokens, hooks: { $0.kind != .unembed }))
  }

  @Test(arguments: HookKind.allCases.filter { $0 != .unembed }, PatchEngineTests.directions)
  func everyHookEqualsBruteForce(kind: HookKind, direction: Direction) throws {
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let layers = kind.isInBlock ? [0, 2] : []
    var sweeps = [
      try Sweep(kind, layers: layers, by: .all), try Sweep(kind, layers: layers, by: .position),
      try Sweep(kind, layers: layers, by: .all, at: .index(-1)),
    ]
    if kind.hasHeadAxis {
      sweeps.append(try Sweep(kind, layers: layers, by: .head))
      sweeps.append(try Sweep(kind, layers: layers, by: .head, at: .index(3)))
      sweeps.append(try Sweep(kind, layers: layers, by: .headPosition))
    }
    for sweep in sweeps {
      let result = try runs.run(sweep, reference.task, direction)
      let sample = result.cells.indices.shuffled(using: &generator).prefix(12)
      for (number, cell) in sample.map({ ($0, result.cells[$0]) }) {
        for pair in 0..<3 {
          guard let found = result.patched[number][pair] else {
            #expect((cell.position ?? 0) >= reference.tokens[2 * pair].count)
            continue
          }
          let expected = try bruteForce(
            runs, reference.task, pair, [HookPoint(kind, layer: cell.layer)], cell, direction
          ) { hook, prompt in
            try runs.cache.read(hook: try #require(runs.cache.hookIndex(hook.name)), prompt: prompt)
          }
          #expect(abs(found - expected) < 5e-5, "\(sweep.axis) \(cell), pair \(pair), seed \(seed)")
        }
      }
    }
  }

  struct Variant: Sendable, CustomTestStringConvertible {
    let kind: HookKind
    let axis: SweepAxis
    var window = 1
    var source = PatchSource.otherRun

    var testDescription: String { "\(kind) by \(axis), window \(window), \(source)" }
  }

  static let variants = [
    Variant(kind: .pattern, axis: .headEdge), Variant(kind: .attnScores, axis: .headEdge),
    Variant(kind: .mlpPost, axis: .neuron), Variant(kind: .residMid, axis: .neuron),
    Variant(kind: .mlpOut, axis: .position, window: 2),
    Variant(kind: .attnOut, axis: .position, window: 3),
    Variant(kind: .z, axis: .head, window: 2), Variant(kind: .k, axis: .headPosition, window: 3),
    Variant(kind: .residPre, axis: .position, window: 2),
    Variant(kind: .z, axis: .head, source: .zero),
    Variant(kind: .pattern, axis: .headPosition, source: .zero),
    Variant(kind: .residPre, axis: .position, source: .zero),
    Variant(kind: .embed, axis: .position, source: .mean(.everywhere, over: .clean)),
    Variant(kind: .z, axis: .headPosition, source: .mean(.everywhere, over: .clean)),
    Variant(kind: .mlpPost, axis: .neuron, source: .mean(.everywhere, over: .clean)),
    Variant(kind: .pattern, axis: .head, source: .mean(.byPosition, over: .corrupted)),
    Variant(
      kind: .attnOut, axis: .position, window: 2, source: .mean(.byPosition, over: .corrupted)),
    Variant(kind: .ln2Scale, axis: .position, source: .mean(.everywhere, over: .clean)),
    Variant(kind: .finalNormalized, axis: .all, source: .mean(.everywhere, over: .clean)),
  ]

  @Test(arguments: variants, PatchEngineTests.directions)
  func everySourceAndWindowEqualsBruteForce(variant: Variant, direction: Direction) throws {
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let layers = variant.kind.isInBlock ? [0, 1, 2] : []
    let sweep = try Sweep(
      variant.kind, layers: layers, by: variant.axis, window: variant.window)
    let engine = runs.engine()
    let result = try engine.run(
      sweep, reference.task, direction: direction, source: variant.source, prompts: runs.prompts,
      baselines: try engine.baselines(reference.task, prompts: runs.prompts))[0]
    for number in result.cells.indices.shuffled(using: &generator).prefix(15) {
      let cell = result.cells[number]
      let first = (cell.layer ?? 0) - variant.window / 2
      let hooks =
        cell.layer == nil
        ? [HookPoint(variant.kind)]
        : (first..<first + variant.window).filter { layers.contains($0) }
          .map { HookPoint(variant.kind, layer: $0) }
      for pair in 0..<3 {
        guard let found = result.patched[number][pair] else { continue }
        let expected = try bruteForce(
          runs, reference.task, pair, hooks, cell, direction
        ) { hook, prompt in
          try naiveValues(variant.source, hook, of: prompt, reference.task, runs)
        }
        #expect(abs(found - expected) < 5e-5, "\(cell), pair \(pair), seed \(seed)")
      }
    }
    let check = try engine.check(
      [result], reference.task, prompts: runs.prompts, count: 20, seed: seed)
    #expect(check.isWithinTolerance && check.runs == min(20, result.cellCount))
  }

  private func naiveValues(
    _ source: PatchSource, _ hook: HookPoint, of prompt: Int, _ task: AnswerTask, _ runs: CachedRuns
  ) throws -> [Float] {
    let index = try #require(runs.cache.hookIndex(hook.name))
    let own = try runs.cache.read(hook: index, prompt: prompt)
    let length = runs.prompts[prompt].tokens.count
    guard case .mean(let grouping, let over) = source else {
      return source == .zero ? own.map { _ in 0 } : own
    }
    let prompts = Set(task.pairs.map { over == .clean ? $0.clean : $0.corrupted }).sorted()
    if grouping == .byPosition {
      let others = try prompts.filter { runs.prompts[$0].tokens.count == length }
        .map { try runs.cache.read(hook: index, prompt: $0) }
      return own.indices.map { i in
        Float(others.reduce(0.0) { $0 + Double($1[i]) } / Double(others.count))
      }
    }
    let unit = own.count / length
    let all = try prompts.flatMap { try runs.cache.read(hook: index, prompt: $0) }
    let rows = all.count / unit
    return own.indices.map { i in
      Float((0..<rows).reduce(0.0) { $0 + Double(all[$1 * unit + i % unit]) } / Double(rows))
    }
  }

  /// A result that is wrong in one place is found out.
  @Test func theCheckSeesAWrongCell() throws {
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    let engine = runs.engine()
    let result = try engine.run(
      try Sweep(.residPre, layers: [1]), reference.task, direction: .denoise, prompts: runs.prompts,
      baselines: try engine.baselines(reference.task, prompts: runs.prompts))[0]
    var patched = result.patched
    patched[3][0] = patched[3][0].map { $0 + 0.01 }
    let wrong = SweepResult(
      sweep: result.sweep, direction: result.direction, source: result.source,
      metric: result.metric, cells: result.cells, shape: result.shape, patched: patched,
      baselines: result.baselines, unchanged: 0, seconds: 0, operations: 0)
    let check = try engine.check(
      [wrong], reference.task, prompts: runs.prompts, count: .max, seed: 0)
    #expect(!check.isWithinTolerance)
    let value = max(1, abs(result.patched[3][0] ?? .nan))
    #expect(abs(check.largestDifference[0] - 0.01 / value) < 1e-3 / value)
    let right = try engine.check(
      [result], reference.task, prompts: runs.prompts, count: .max, seed: 0)
    #expect(right.runs == result.cellCount && right.largestDifference == [0])
  }

  /// A divergence is of second order in the change of the logits.
  @Test func smallDivergencesKeepTheirDigits() {
    var generator = SeededGenerator(seed: 11)
    let clean = generator.floats(50_257, in: -12...12)
    let noise = generator.floats(50_257, in: -1e-4...1e-4)
    let run = zip(clean, noise).map(+)
    func logProbabilities(_ logits: [Float]) -> [Double] {
      let total = log(logits.reduce(0) { $0 + exp(Double($1)) })
      return logits.map { Double($0) - total }
    }
    let plain = zip(logProbabilities(clean), logProbabilities(run)).reduce(0) {
      $0 + exp($1.0) * ($1.0 - $1.1)
    }
    let pair = PatchingPair(clean: 0, corrupted: 1, answer: nil, wrongAnswer: nil)
    let found = Double(
      AnswerMetric.klDivergence.value(
        of: pair, logits: run.span, clean: clean.span))
    #expect(plain > 1e-10 && plain < 1e-7)
    #expect(abs(found - plain) < 1e-4 * plain, "\(found), \(plain)")
    #expect(AnswerMetric.klDivergence.value(of: pair, logits: clean.span, clean: clean.span) == 0)
  }

  @Test func metricsEqualTheirDefinitions() throws {
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    let pair = reference.task.pairs[0]
    func logits(_ prompt: Int) throws -> [Double] {
      let pass = ForwardPass(runs.model)
      try pass.run(tokens: [runs.prompts[prompt].tokens])
      return pass.allLogits(sequence: 0).suffix(runs.model.config.vocabulary).map(Double.init)
    }
    func probabilities(_ logits: [Double]) -> [Double] {
      let exponentials = logits.map(exp)
      let total = exponentials.reduce(0, +)
      return exponentials.map { $0 / total }
    }
    let (clean, corrupted) = (try logits(pair.clean), try logits(pair.corrupted))
    let (p, q) = (probabilities(clean), probabilities(corrupted))
    let (right, wrong) = (Int(try #require(pair.answer)), Int(try #require(pair.wrongAnswer)))
    let expected: [AnswerMetric: (Double, Double)] = [
      .logitDiff: (clean[right] - clean[wrong], corrupted[right] - corrupted[wrong]),
      .logit: (clean[right], corrupted[right]),
      .probability: (p[right], q[right]), .logProbability: (log(p[right]), log(q[right])),
      .loss: (-log(p[right]), -log(q[right])),
      .klDivergence: (0, zip(p, q).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) }),
      .rank: (
        Double(clean.count { $0 > clean[right] }), Double(corrupted.count { $0 > corrupted[right] })
      ),
    ]
    let task = AnswerTask(pairs: reference.task.pairs, metrics: AnswerMetric.allCases)
    let engine = runs.engine()
    let baselines = try engine.baselines(task, prompts: runs.prompts)
    for (metric, baselines) in zip(AnswerMetric.allCases, baselines) {
      let (cleanValue, corruptedValue) = try #require(expected[metric])
      #expect(abs(Double(baselines[0].clean) - cleanValue) < 1e-4, "\(metric)")
      #expect(abs(Double(baselines[0].corrupted) - corruptedValue) < 1e-4, "\(metric)")
    }
    // The same through a sweep: the whole stream of the clean run makes the clean run.
    let results = try engine.run(
      try Sweep(.residMid, layers: [0], by: .all), task, direction: .denoise,
      prompts: runs.prompts, baselines: baselines)
    for (result, baselines) in zip(results, baselines) {
      #expect(abs((result.patched[0][0] ?? .nan) - baselines[0].clean) < 1e-4, "\(result.metric)")
    }
  }

  @Test func allOfTheFirstResidualRestoresTheCleanRun() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let sweep = try Sweep(.residPre, layers: [0], by: .all)
    let result = try runs.run(sweep, reference.task, .denoise)
    for pair in 0..<3 {
      #expect(abs((result.patched[0][pair] ?? .nan) - result.baselines[pair].clean) < 5e-5)
      #expect(abs((result.effect(cell: 0, pair: pair) ?? .nan) - 1) < 1e-4)
    }
    #expect(abs((result.ratioOfMeans(cell: 0) ?? .nan) - 1) < 1e-4)
  }

  @Test func positionsBeforeTheFirstDifferenceHaveNoEffectAtAll() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let firstDifferences = [3, 2, 0]
    for direction in PatchEngineTests.directions {
      let result = try runs.run(
        try Sweep(.residPre, layers: [0, 1, 2]), reference.task, direction)
      for (number, cell) in result.cells.enumerated() {
        for pair in 0..<3 where (cell.position ?? 0) < firstDifferences[pair] {
          #expect(result.patched[number][pair] == result.baselines[pair].receiving(direction))
          #expect(result.effect(cell: number, pair: pair) == 0)
        }
      }
    }
  }

  @Test(arguments: [HookKind.residPre, .z, .pattern, .mlpOut])
  func patchingARunWithItselfChangesNothing(kind: HookKind) throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let task = AnswerTask(
      pairs: [PatchingPair(clean: 0, corrupted: 0, answer: 3, wrongAnswer: 4)])
    let result = try runs.run(try Sweep(kind, layers: [0, 1, 2]), task, .denoise)
    for number in result.cells.indices {
      #expect(result.patched[number][0] == result.baselines[0].corrupted)
      #expect(result.effect(cell: number, pair: 0) == 0)
      #expect(result.ratioOfMeans(cell: number) == nil, "there is no gap to divide by")
    }
  }

  /// The same run twice in the cache, under tokens that claim to differ from position 2 on, so that
  /// the cells are really computed.
  @Test(arguments: [HookKind.residPre, .attnOut, .mlpOut, .z, .k, .pattern, .mlpPost])
  func aComputedPatchOfEqualActivationsChangesNothing(kind: HookKind) throws {
    let tokens = try ReferencePairs("odd").tokens[2]
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, [tokens, tokens])
    var prompts = runs.prompts
    prompts[0].tokens[2] = (tokens[2] + 1) % Int32(model.config.vocabulary)
    let task = AnswerTask(
      pairs: [PatchingPair(clean: 0, corrupted: 1, answer: 3, wrongAnswer: 4)])
    let baseline = try runs.engine().baselines(task, prompts: prompts)
    let result = try runs.engine().run(
      try Sweep(kind, layers: [0, 1, 2]), task, direction: .denoise, prompts: prompts,
      baselines: baseline)[0]
    for number in result.cells.indices {
      let patched = try #require(result.patched[number][0])
      #expect(abs(patched - baseline[0][0].corrupted) < 5e-5, "\(result.cells[number])")
    }
  }

  @Test func aCacheWithoutKeysAndValuesGivesTheSame() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let whole = try CachedRuns(model, reference.tokens)
    let needed: Set<HookKind> = [.residPre, .finalNormalized]
    let sparse = try CachedRuns(model, reference.tokens, hooks: { needed.contains($0.kind) })
    let sweep = try Sweep(.residPre, layers: [0, 1, 2])
    let expected = try whole.run(sweep, reference.task, .denoise)
    let found = try sparse.run(sweep, reference.task, .denoise)
    for number in expected.cells.indices {
      for pair in 0..<3 {
        switch (expected.patched[number][pair], found.patched[number][pair]) {
        case (nil, nil): break
        case (let a?, let b?): #expect(abs(a - b) < 5e-5)
        default: Issue.record("cell \(number) exists in one result only")
        }
      }
    }
    #expect(throws: PatchingError.self) {
      try sparse.run(try Sweep(.z, layers: [0]), reference.task, .denoise)
    }
  }

  /// To the last bit: no row depends on the rows beside it.
  @Test func resultsDoNotDependOnThreadsOrBatches() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    for kind in [HookKind.residPre, .attnOut, .q, .v, .pattern, .mlpPost] {
      let sweep = try Sweep(kind, layers: [0, 1, 2])
      let one = try runs.run(sweep, reference.task, .noise, threads: 1)
      #expect(try runs.run(sweep, reference.task, .noise, threads: 3).patched == one.patched)
      for rows in [1, 7, 50] {
        let small = try runs.run(sweep, reference.task, .noise, rowsPerPass: rows)
        #expect(small.patched == one.patched, "\(kind), \(rows) rows a pass")
      }
    }
  }

  /// An engine keeps its memory from sweep to sweep, also from one that ended early.
  @Test func sweepsOfOneEngineDoNotDependOnThoseBefore() throws {
    struct Stopped: Error {}
    let reference = try ReferencePairs("odd")
    let runs = try CachedRuns(try GPT2(directory: ReferenceArrays.path("odd")), reference.tokens)
    let engine = runs.engine(rowsPerPass: 20)
    let baselines = try engine.baselines(reference.task, prompts: runs.prompts)
    var sweeps = try [HookKind.z, .attnOut, .pattern, .residPre].map {
      try Sweep($0, layers: [0, 1, 2])
    }
    sweeps += [try Sweep(.mlpOut, layers: [2], by: .all)] + sweeps.reversed()
    for (number, sweep) in sweeps.enumerated() {
      #expect(throws: Stopped.self) {
        try engine.run(
          sweep, reference.task, direction: .denoise, prompts: runs.prompts, baselines: baselines,
          note: { _ in throw Stopped() })
      }
      let found = try engine.run(
        sweep, reference.task, direction: .noise, prompts: runs.prompts, baselines: baselines)
      let alone = try runs.run(sweep, reference.task, .noise)
      #expect(found[0].patched == alone.patched, "sweep \(number)")
    }
  }

  @Test func sweepsThatMakeNoSenseAreRefused() {
    #expect(throws: PatchingError.cannotPatch(.unembed)) { try Sweep(.unembed, layers: []) }
    #expect(throws: PatchingError.noHeads(.residPre)) {
      try Sweep(.residPre, layers: [0], by: .head)
    }
    #expect(throws: PatchingError.noAttendedPositions(.z)) {
      try Sweep(.z, layers: [0], by: .headEdge)
    }
    #expect(throws: PatchingError.noNeurons(.pattern)) {
      try Sweep(.pattern, layers: [0], by: .neuron)
    }
    #expect(throws: PatchingError.noWindow(.embed)) { try Sweep(.embed, layers: [], window: 2) }
    #expect(throws: PatchingError.positionGivenTwice(.position)) {
      try Sweep(.residPre, layers: [0], by: .position, at: .index(3))
    }
  }
}
