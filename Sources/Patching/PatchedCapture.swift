import CacheFormat
import Model
import Parallel

/// Runs a cell's patched passes as a whole and writes what their hooks hold as a cache of its own, so
/// that whatever reads a cache reads them too: TransformerLens's `run_with_cache` under hooks.
///
/// The new cache has the hooks of the one that the runs come from, and a prompt for each pair: that of
/// the run that is patched. A patched array follows from no other one: every array that is to be derived
/// is compared with what its recipe gives, and stored where it differs. Rounded ones, which always
/// differ, are all stored.
public struct PatchedCapture: Sendable {
  private let engine: PatchEngine
  private let sweep: Sweep
  public let cell: Cell
  private let direction: Direction
  private let source: PatchSource
  private let prompts: [Prompt]

  /// - Parameters:
  ///   - sweeps: one of one cell.
  ///   - prompts: those of the engine's cache.
  /// - Throws: `PatchingError.notOneCell` if there are several cells, or paths.
  public init(
    _ sweeps: [Sweep], engine: PatchEngine, direction: Direction, source: PatchSource,
    prompts: [Prompt]
  ) throws(PatchingError) {
    // Cells at every position are several, however long the prompts are.
    let cells = sweeps.flatMap { $0.cells(positions: 2, config: engine.model.config) }
    guard cells.count == 1, sweeps.count == 1, sweeps[0].path == nil else { throw .notOneCell }
    (sweep, cell, self.engine) = (sweeps[0], cells[0], engine)
    (self.direction, self.source, self.prompts) = (direction, source, prompts)
  }

  /// A pair and the row of the prompt file that it was made from.
  public typealias Entry = (pair: PatchingPair, row: PromptPair)

  /// Runs the pairs that have the cell's place, and writes them.
  ///
  /// - Parameters:
  ///   - directory: empty or not there.
  ///   - patched: what the new plan says of the runs.
  ///   - tool: the writing program.
  ///   - progress: called with the number of runs done.
  /// - Returns: how many runs were written.
  /// - Throws: `CacheError`, `PassError`, `PatchingError`.
  /// - Precondition: `engine.require` accepts the sweep, and no pair has noise.
  public func write(
    _ entries: [Entry], to directory: String, patched: PatchedRuns, tool: String,
    progress: (Int) -> Void = { _ in }
  ) throws -> Int {
    let pairs = entries.map(\.pair)
    let values = try engine.sourceValues(source, sweep, pairs, direction, prompts: prompts)
    var runs: [(pair: PatchingPair, sites: [Site])] = []
    var rows: [PromptPair] = []
    for (pair, row) in entries {
      guard let sites = engine.sites(sweep, cell, engine.alignment(of: pair, false, prompts))
      else { continue }
      var row = row
      (row.clean, row.corrupted) = (runs.count, nil)
      rows.append(row)
      runs.append((pair, sites))
    }
    let writer = try CacheWriter(
      directory: directory, plan: plan(patched, tool: tool),
      prompts: runs.map { prompts[receiving($0.pair)] }, pairs: rows)
    let (all, ranges) = (runs, writer.segmentRanges)
    var done = 0
    try parallelForEach(
      ranges.count, threads: engine.threads, with: { ForwardPass(engine.model) },
      { number, pass in
        let segment = try writer.openSegment(number)
        try run(Array(all[ranges[number]]), values, in: pass, into: segment)
        return try segment.seal()
      },
      then: { sealed in
        try writer.commit(sealed)
        done += sealed.prompts.count
        progress(done)
      })
    try writer.finish()
    return runs.count
  }

  private func plan(_ patched: PatchedRuns, tool: String) -> CachePlan {
    var plan = engine.cache.plan
    plan.tool = tool
    plan.kernel = Linear.arithmetic
    plan.proofs = .all
    if plan.elementType != .f32 {
      for hook in plan.hooks.indices { plan.hooks[hook].recipe = nil }
    }
    plan.patched = patched
    return plan
  }

  private func receiving(_ pair: PatchingPair) -> Int {
    direction == .denoise ? pair.corrupted : pair.clean
  }

  /// Runs the prompts of a segment as one batch.
  private func run(
    _ runs: [(pair: PatchingPair, sites: [Site])], _ values: SourceValues, in pass: ForwardPass,
    into segment: SegmentWriter
  ) throws {
    let config = engine.model.config
    let edits: [[HookPoint: [Edit]]] = try runs.map { run in
      let arrays = PairRuns(
        run.pair, direction, cache: engine.cache, config: config, prompts: prompts)
      return Dictionary(
        grouping: try run.sites.map { try values.edit($0, arrays) }, by: \.hook)
    }
    var columns: [HookPoint: Int] = [:]
    for (column, hook) in engine.cache.plan.hooks.enumerated() {
      if let point = HookPoint(name: hook.name) { columns[point] = column }
    }
    let visited = Set(columns.keys).union(edits.flatMap(\.keys))
    let tokens = runs.map { prompts[receiving($0.pair)].tokens }
    let hooks = PassHooks(editing: visited) { activation in
      for (index, edits) in edits.enumerated() {
        guard let base = activation.sequence(index).baseAddress else { continue }
        for edit in edits[activation.hook] ?? [] {
          edit.apply(toWhole: base, length: tokens[index].count, config: config)
        }
      }
      guard let column = columns[activation.hook] else { return }
      for (index, prompt) in segment.prompts.enumerated() {
        try segment.append(hook: column, prompt: prompt, values: activation.pieces(of: index))
      }
    }
    try pass.run(tokens: tokens, hooks: hooks)
  }
}

extension CacheReader {
  /// Checks that a cache holds what the model itself computes.
  ///
  /// - Throws: `PatchingError.runsArePatched`.
  public func requireOwnRuns() throws(PatchingError) {
    if let patched = plan.patched { throw .runsArePatched(patched.what, directory: directory) }
  }
}
