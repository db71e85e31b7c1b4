import FileIO
import Glibc
import Model
import TestSupport
import Testing

@testable import Patching

@Suite struct UnfinishedSweepsTests {
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private let runs = [
    CellValues(cell: 3, pair: 0, values: [1.5, -0.0], isUnchanged: false),
    CellValues(cell: 0, pair: 7, values: [.nan, .infinity], isUnchanged: true),
    CellValues(cell: 70_000, pair: 9_999, values: [.leastNonzeroMagnitude, 3], isUnchanged: false),
  ]

  private func open(_ identity: String = "sweeps of a test") throws -> UnfinishedSweeps {
    try UnfinishedSweeps(in: folder.path, identity: identity, metrics: 2)
  }

  private func bits(_ runs: [CellValues]) -> [[UInt32]] {
    runs.map { run in
      [UInt32(run.cell), UInt32(run.pair), run.isUnchanged ? 1 : 0] + run.values.map(\.bitPattern)
    }
  }

  @Test func whatIsWrittenIsKnownAgain() throws {
    let first = try open()
    #expect(first.known(ofSweep: 0).isEmpty)
    try first.note(Array(runs[..<2]), ofSweep: 0)
    try first.write()
    try first.note([runs[2]], ofSweep: 4)
    try first.write()

    let second = try open()
    #expect(bits(second.known(ofSweep: 0)) == bits(Array(runs[..<2])))
    #expect(bits(second.known(ofSweep: 4)) == bits([runs[2]]))
    #expect(second.known(ofSweep: 1).isEmpty)
    try second.note([runs[0]], ofSweep: 4)
    try second.write()
    let third = try open()
    #expect(
      bits(third.known(ofSweep: 4)) == bits([runs[2], runs[0]]), "parts do not replace parts")
    // What a command killed in the midst of a write leaves.
    try replaceFile(folder.path + "/unfinished/part-3.new", with: [1, 2, 3])
    #expect(bits(try open().known(ofSweep: 4)) == bits([runs[2], runs[0]]))
    third.remove()
    #expect(try SystemCalls().list(folder.path).isEmpty)
  }

  @Test func otherSweepsAreRefused() throws {
    let first = try open()
    try first.note(runs, ofSweep: 0)
    try first.write()
    #expect(throws: PatchingError.otherSweeps(directory: folder.path + "/unfinished")) {
      try open("other sweeps")
    }
    #expect(bits(try open().known(ofSweep: 0)) == bits(runs))
  }

  /// A damaged part is computed again, never believed.
  @Test func everyFlippedBitAndEveryLengthIsSeen() throws {
    let first = try open()
    try first.note(runs, ofSweep: 0)
    try first.write()
    let path = folder.path + "/unfinished/part-0"
    let whole = try readFile(path, limit: 1 << 20)
    for bit in 0..<whole.count * 8 {
      var damaged = whole
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      try replaceFile(path, with: damaged)
      #expect(try open().known(ofSweep: 0).isEmpty, "bit \(bit)")
    }
    for length in 0..<whole.count {
      try replaceFile(path, with: Array(whole.prefix(length)))
      #expect(try open().known(ofSweep: 0).isEmpty, "\(length) bytes")
    }
    try replaceFile(path, with: whole + [0, 0, 0, 0])
    #expect(try open().known(ofSweep: 0).isEmpty)
  }

  @Test func knownRunsAreNotComputedAgainAndChangeNothing() throws {
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let engine = runs.engine()
    let baselines = try engine.baselines(reference.task, prompts: runs.prompts)
    let sweep = try Sweep(.z, layers: [0, 1, 2], by: .headPosition)
    func run(known: [CellValues]) throws -> (result: SweepResult, computed: [CellValues]) {
      var computed: [CellValues] = []
      let result = try engine.run(
        sweep, reference.task, direction: .denoise, prompts: runs.prompts, baselines: baselines,
        known: known, note: { computed += $0 })[0]
      return (result, computed)
    }
    let (whole, all) = try run(known: [])
    #expect(all.count == whole.cellCount)
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    for count in [1, all.count / 2, all.count] {
      let known = Array(all.shuffled(using: &generator).prefix(count))
      let (result, computed) = try run(known: known + known.prefix(3))
      #expect(result.patched == whole.patched, "seed \(seed)")
      #expect(result.unchanged == whole.unchanged, "seed \(seed)")
      #expect(computed.count == all.count - count, "seed \(seed)")
    }
    // What is said to be known is taken as it is: the cell is really left out.
    let other = CellValues(
      cell: all[0].cell, pair: all[0].pair, values: [1234], isUnchanged: false)
    #expect(try run(known: [other]).result.patched[other.cell][other.pair] == 1234)
    // What no cell has is left alone.
    let foreign = CellValues(cell: 1 << 40, pair: 0, values: [0], isUnchanged: false)
    #expect(try run(known: [foreign]).result.patched == whole.patched)
  }

  /// The digest of the weights may come late, but nothing is kept or returned before it.
  @Test(arguments: [1, 2, 5]) func nothingIsNotedOfAModelThatIsNotTheCaches(rowsPerPass: Int) throws
  {
    struct OtherWeights: Error {}
    let reference = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, reference.tokens)
    let engine = PatchEngine(
      cache: runs.cache, model: model, threads: 2, rowsPerPass: rowsPerPass,
      confirm: { throw OtherWeights() })
    let baselines = try engine.baselines(reference.task, prompts: runs.prompts)
    let known = try runs.engine().run(
      try Sweep(.residPre, layers: [1]), reference.task, direction: .denoise, prompts: runs.prompts,
      baselines: baselines)[0]
    let all = known.cells.indices.flatMap { cell in
      reference.task.pairs.indices.compactMap { pair in
        known.patched[cell][pair].map {
          CellValues(cell: cell, pair: pair, values: [$0], isUnchanged: false)
        }
      }
    }
    // Also where nothing is left to compute.
    for known in [[], all] {
      #expect(throws: OtherWeights.self) {
        try engine.run(
          try Sweep(.residPre, layers: [1]), reference.task, direction: .denoise,
          prompts: runs.prompts, baselines: baselines, known: known,
          note: { _ in Issue.record("noted") }, progress: { _ in Issue.record("counted") })
      }
    }
  }
}
