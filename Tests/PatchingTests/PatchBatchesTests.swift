import CacheFormat
import Model
import TestSupport
import Testing

@testable import Patching

/// Which cells run together.
@Suite struct PatchBatchesTests {
  private static let sweeps: [Sweep] = {
    do {
      return [
        try Sweep(.residPre, layers: [0, 1, 2]), try Sweep(.z, layers: [0, 1, 2]),
        try Sweep(.mlpOut, layers: [0, 1, 2], window: 2), try Sweep(.finalNormalized, layers: []),
      ]
    } catch {
      preconditionFailure("\(error)")
    }
  }()

  @Test(arguments: sweeps, [1, 7, 50, 512])
  func everyCellIsInOneBatch(sweep: Sweep, rowsPerPass: Int) throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let engine = runs.engine(rowsPerPass: rowsPerPass)
    let pairs = reference.task.pairs
    let longest = pairs.map { runs.prompts[$0.clean].tokens.count }.max() ?? 0
    let cells = sweep.cells(positions: longest, config: model.config)
    // One in five is known already.
    func isKnown(_ cell: Int, _ pair: Int) -> Bool { (cell + 2 * pair) % 5 == 0 }
    let batches = engine.batches(
      of: cells, sweep, pairs, .otherRun, prompts: runs.prompts, isKnown: isKnown)

    var found: [[Int]] = []
    var last: [Int: (block: Int, start: Int)] = [:]  // by pair, of the batches so far
    var lastGroup = 0..<0
    for batch in batches {
      #expect(Set(batch.parts.map(\.pair)).count == batch.parts.count, "a pair is there twice")
      #expect(batch.parts.allSatisfy { batch.group.contains($0.pair) })
      #expect(lastGroup == batch.group || lastGroup.upperBound <= batch.group.lowerBound)
      lastGroup = batch.group
      var rows: [Int] = []
      for part in batch.parts {
        let alignment = engine.alignment(of: pairs[part.pair], true, runs.prompts)
        for number in part.cells {
          found.append([part.pair, number])
          let sites = try #require(engine.sites(sweep, cells[number], alignment))
          rows.append(sites.first.map { alignment.length - $0.positions.lowerBound } ?? 0)
          guard let site = sites.first else { continue }
          let here = (
            block: Entry(site.hook).firstAttention(of: model.config.layers),
            start: sites.map(\.positions.lowerBound).min() ?? 0
          )
          #expect(
            here >= last[part.pair] ?? (0, 0),
            "a pair's cells go from block to block, and in each from position to position")
          last[part.pair] = here
        }
      }
      #expect(
        rows.reduce(0, +) <= rowsPerPass || rows.filter { $0 > 0 }.count == 1,
        "\(rows) are too many")
    }
    let expected = pairs.indices.flatMap { pair in
      let alignment = engine.alignment(of: pairs[pair], true, runs.prompts)
      return cells.indices.filter {
        !isKnown($0, pair) && engine.sites(sweep, cells[$0], alignment) != nil
      }.map { [pair, $0] }
    }
    #expect(found.sorted { $0.lexicographicallyPrecedes($1) } == expected)
  }

  /// To the last bit: passes of more rows than an MLP, and of more runs than the logits, takes at a time.
  @Test(arguments: [HookKind.mlpOut, .mlpPost])
  func largePassesGiveTheSame(kind: HookKind) throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let task = AnswerTask(
      pairs: (0..<30).map { reference.task.pairs[$0 % 3] },
      metrics: [AnswerMetric.logProbability, .klDivergence])
    let sweep = try Sweep(kind, layers: [0, 1, 2], by: .position)
    func run(rowsPerPass: Int) throws -> [[[Float?]]] {
      let engine = runs.engine(threads: 1, rowsPerPass: rowsPerPass)
      return try engine.run(
        sweep, task, direction: .noise, prompts: runs.prompts,
        baselines: try engine.baselines(task, prompts: runs.prompts)
      ).map(\.patched)
    }
    let all = try run(rowsPerPass: 100_000)
    #expect(all[0].joined().count { $0 != nil } > 400, "there are too few")
    #expect(try run(rowsPerPass: 40) == all)
  }

  /// Several threads have some batches each, but none of a few rows where there are more threads; one
  /// thread has no more than its rows ask for.
  @Test func threadsAreAllBusy() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let sweep = try Sweep(.mlpOut, layers: [0, 1, 2])
    let longest = runs.prompts.map(\.tokens.count).max() ?? 0
    let cells = sweep.cells(positions: longest, config: model.config)
    func count(threads: Int) -> Int {
      runs.engine(threads: threads).batches(
        of: cells, sweep, reference.task.pairs, .otherRun, prompts: runs.prompts,
        isKnown: { _, _ in false }
      ).count
    }
    #expect(count(threads: 1) == 1)
    #expect(count(threads: 2) >= 2)
    // Enough for each where rows are few, and not many more.
    #expect(2...16 ~= count(threads: 8))
  }

  @Test func batchesAreLargeWhereThereAreRows() {
    for (rows, threads, limit) in [
      (1344, 1, 1344), (1344, 2, 168), (1344, 16, 36), (5760, 2, 720), (5760, 16, 90), (40, 2, 20),
      (100, 2, 36), (3, 16, 1), (0, 4, 1),
    ] {
      #expect(PatchEngine.rowLimit(of: rows, threads: threads) == limit, "\(rows), \(threads)")
    }
  }
}
