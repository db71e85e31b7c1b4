import CacheFormat
import TestSupport
import Testing

/// Statistics of values and of caches.
@Suite struct StatisticsTests {
  private func near(_ a: Double?, _ b: Double, within tolerance: Double = 1e-12) -> Bool {
    a.map { abs($0 - b) <= tolerance * max(1, abs(b)) } ?? false
  }

  @Test func momentsAreOfFiniteValues() {
    let statistics = ValueStatistics(
      of: [1, 2, 3, -.infinity, .nan, 4, .infinity, 0, -0.0, .nan], rowLength: 5)
    #expect(statistics.count == 10 && statistics.finite == 6)
    #expect(statistics.nan == 2 && statistics.masked == 0 && statistics.zeros == 2)
    #expect(statistics.positiveInfinity == 1 && statistics.negativeInfinity == 1)
    #expect(near(statistics.mean, 10.0 / 6))
    #expect(near(statistics.rms, (30.0 / 6).squareRoot()))
    #expect(near(statistics.standardDeviation, (30.0 / 6 - 100.0 / 36).squareRoot()))
    #expect(near(statistics.norm, (14.0.squareRoot() + 4) / 2))
    #expect(statistics.minimum == 0 && statistics.maximum == 4)
  }

  @Test func nothingFiniteHasNoMoments() {
    for values in [[], [Float.nan], [-.infinity]] {
      let statistics = ValueStatistics(of: values, rowLength: 1)
      #expect(statistics.count == values.count && statistics.finite == 0)
      #expect(statistics.mean == nil && statistics.standardDeviation == nil)
      #expect(statistics.rms == nil && statistics.norm == nil)
      #expect(statistics.minimum == nil && statistics.maximum == nil)
    }
    #expect(ValueStatistics(of: [], rowLength: 0) == ValueStatistics())
  }

  /// The mean of squares less the square of the mean would have no digit left here.
  @Test func aLargeMeanTakesNothingFromASmallSpread() {
    let values = (0..<100_000).map { Float(16_777_200 + $0 % 2) }
    for rowLength in [1, 10, 100_000] {
      let statistics = ValueStatistics(of: values, rowLength: rowLength)
      #expect(near(statistics.mean, 16_777_200.5))
      #expect(near(statistics.standardDeviation, 0.5, within: 1e-9), "rows of \(rowLength)")
    }
  }

  @Test func mergingEqualsReadingInOneGo() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let values = generator.floats(60_000, in: 3...4)
    let whole = ValueStatistics(of: values, rowLength: 100)
    var merged = ValueStatistics()
    for start in stride(from: 0, to: values.count, by: 12_000) {
      merged.merge(.init(of: Array(values[start..<start + 12_000]), rowLength: 100))
    }
    merged.merge(ValueStatistics())
    #expect(merged.count == whole.count && merged.minimum == whole.minimum, "seed \(seed)")
    #expect(near(merged.mean, whole.mean ?? 0) && near(merged.rms, whole.rms ?? 0), "seed \(seed)")
    #expect(near(merged.standardDeviation, whole.standardDeviation ?? 0), "seed \(seed)")
    #expect(near(merged.norm, whole.norm ?? 0), "seed \(seed)")
  }

  @Test func minusInfinityIsMaskedAboveTheDiagonalOnly() {
    let low = -Float.infinity
    // Two heads of three positions; the second has an infinity too many and one too few.
    let scores: [Float] = [
      1, low, low, 2, 3, low, 4, 5, 6,
      1, low, 7, low, 3, low, 4, 5, .nan,
    ]
    let statistics = ValueStatistics(of: scores, rowLength: 3, causalSide: 3)
    #expect(statistics.count == 18 && statistics.masked == 5)
    #expect(statistics.negativeInfinity == 1 && statistics.nan == 1 && statistics.nonFinite == 2)
    #expect(statistics.finite == 11 && statistics.maximum == 7)
    let rows = [1, 13, 77, 50, 9, 41].map { Double($0).squareRoot() }
    #expect(near(statistics.norm, rows.reduce(0, +) / 6))
  }

  private static let hooks = [
    HookSpec(name: "blocks.0.hook_resid_pre", shape: [.positions, .fixed(40)]),
    HookSpec(name: "blocks.0.attn.hook_attn_scores", shape: [.fixed(2), .positions, .positions]),
    HookSpec(name: "blocks.1.hook_resid_pre", shape: [.positions, .fixed(40)]),
    HookSpec(name: "blocks.1.attn.hook_attn_scores", shape: [.fixed(2), .positions, .positions]),
    HookSpec(name: "odd", shape: [.fixed(3)]),
  ]

  private func capture() -> Capture {
    var capture = Capture(
      lengths: [3, 1, 7, 2, 5], hooks: StatisticsTests.hooks, segmentBytes: 4000)
    for hook in [1, 3] {
      for (prompt, T) in [3, 1, 7, 2, 5].enumerated() {
        for index in 0..<2 * T * T where index % T > index / T % T {
          capture.arrays[hook][prompt][index] = -.infinity
        }
      }
    }
    capture.arrays[2][4][17] = .nan
    capture.arrays[3][2][0] = -.infinity
    return capture
  }

  @Test func aCacheIsReadHookByHook() throws {
    let directory = try TemporaryDirectory()
    let capture = capture()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    var steps: [Int] = []
    let found = try reader.statistics(hooks: Array(0..<5), prompts: 0..<5, threads: 2) {
      steps.append($0)
    }
    #expect(steps == [1, 2, 3, 4, 5])
    #expect(found.prompts == 5 && found.firstPrompt == 0 && found.tokens == 18)
    #expect(found.hooks.map(\.name) == StatisticsTests.hooks.map(\.name))
    #expect(found.hooks.map(\.arrays) == [5, 5, 5, 5, 5])
    for (hook, report) in found.hooks.enumerated() {
      let values = capture.arrays[hook].flatMap { $0 }
      let finite = values.filter(\.isFinite).map(Double.init)
      let mean = finite.reduce(0, +) / Double(finite.count)
      let squares = finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
      #expect(report.values.count == values.count && report.readBytes == 4 * values.count)
      #expect(near(report.values.mean, mean))
      #expect(
        near(report.values.standardDeviation, (squares / Double(finite.count)).squareRoot()))
      #expect(report.values.rms.map { near($0, rootMeanSquare(values)) } == true)
      #expect(report.rawBytes == 4 * values.count)
    }
    let norms = capture.arrays[0].flatMap { array in
      stride(from: 0, to: array.count, by: 40).map { row in
        array[row..<row + 40].reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      }
    }
    #expect(near(found.hooks[0].values.norm, norms.reduce(0, +) / 18))
    let masked = [3, 1, 7, 2, 5].reduce(0) { $0 + $1 * ($1 - 1) }
    #expect(found.hooks[1].values.masked == masked && found.hooks[1].values.nonFinite == 0)
    #expect(found.hooks[3].values.masked == masked)
    #expect(found.hooks[3].values.negativeInfinity == 1 && found.hooks[2].values.nan == 1)
  }

  @Test func theNumberOfThreadsChangesNoBit() throws {
    let directory = try TemporaryDirectory()
    try Capture(
      lengths: (0..<60).map { 1 + $0 * 7 % 11 }, hooks: StatisticsTests.hooks, segmentBytes: 9000
    ).write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    let one = try reader.statistics(hooks: Array(0..<5), prompts: 0..<60, threads: 1)
    for threads in [2, 3, 7] {
      let many = try reader.statistics(hooks: Array(0..<5), prompts: 0..<60, threads: threads)
      #expect(many.hooks.map(\.values) == one.hooks.map(\.values), "\(threads) threads")
      #expect(many.kinds.map(\.values) == one.kinds.map(\.values), "\(threads) threads")
    }
  }

  @Test func hooksOfAKindAreAddedUp() throws {
    let directory = try TemporaryDirectory()
    let capture = capture()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    let found = try reader.statistics(hooks: [0, 2, 4], prompts: 1..<4, threads: 1)
    #expect(found.kinds.map(\.name) == ["blocks.*.hook_resid_pre", "odd"])
    #expect(found.kinds.map(\.hooks) == [2, 1] && found.kinds.map(\.arrays) == [6, 3])
    #expect(found.firstPrompt == 1 && found.prompts == 3 && found.tokens == 10)
    let values = [0, 2].flatMap { capture.arrays[$0][1..<4].flatMap { $0 } }
    #expect(found.kinds[0].values.count == values.count)
    #expect(near(found.kinds[0].values.rms, rootMeanSquare(values)))
    // Bytes on disk are those of the whole cache.
    #expect(found.kinds[0].rawBytes == 2 * 4 * 40 * 18)
    #expect(found.kinds[0].encodings.values.reduce(0, +) == 10)
  }

  @Test func emptyArraysOfEnormousRowsAreNoTrap() throws {
    let directory = try TemporaryDirectory()
    let huge = Dimension.fixed(1 << 40)
    let hooks = [
      HookSpec(name: "before", shape: [.fixed(0), .positions, huge, huge]),
      HookSpec(name: "after", shape: [.positions, .fixed(0), huge, huge]),
    ]
    try Capture(lengths: [3, 2], hooks: hooks).write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    let found = try reader.statistics(hooks: [0, 1], prompts: 0..<2, threads: 1)
    #expect(found.hooks.map(\.values) == [ValueStatistics(), ValueStatistics()])
    for hook in 0..<2 {
      let array = try reader.array(hook: hook, prompt: 0)
      #expect(array.values.isEmpty && array.selecting(position: 1)?.values == [])
      #expect(ValueStatistics(of: array.values, rowLength: array.rowLength).count == 0)
    }
    #expect(try reader.difference(to: reader, threads: 1).isEmpty)
  }

  @Test func noPromptsHaveNoStatistics() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture()
    _ = try CacheWriter(
      directory: directory.path("cache"), plan: capture.plan, prompts: capture.prompts,
      pairs: capture.pairs, fileSystem: UnsyncedFileSystem())
    let reader = try CacheReader(directory: directory.path("cache"))
    let found = try reader.statistics(hooks: [0], prompts: 0..<0, threads: 2)
    #expect(found.hooks[0].arrays == 0 && found.hooks[0].readRate == nil && found.tokens == 0)
    #expect(found.hooks[0].values.mean == nil)
  }

  @Test func aDamagedArrayStopsTheReading() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(Capture(), in: directory.path("cache"))
    var segment = try contents(forger.segmentPath)
    segment[forger.offset(hook: 1, prompt: 2, in: segment) + 64] ^= 1
    try overwrite(forger.segmentPath, segment)
    let reader = try CacheReader(directory: forger.directory)
    let error = #expect(throws: CacheError.self) {
      try reader.statistics(hooks: [0, 1], prompts: 0..<3, threads: 2)
    }
    #expect(error?.description.contains("prompt 2, blocks.0.ln1.hook_scale") == true)
    #expect(throws: CacheError.self) {
      try reader.statistics(hooks: [0], prompts: 0..<4, threads: 1)
    }
    #expect(try reader.statistics(hooks: [0], prompts: 0..<3, threads: 1).hooks[0].arrays == 3)
  }
}
