import CacheFormat
import Dispatch
import Model
import Parallel

/// Runs sweeps of activation patching from a cache.
///
/// Every cell is exact, and none is a full forward pass: `PatchedPass` computes only what a patch
/// changes. What cannot matter is not computed at all: positions before the first token in which a
/// pair differs, patches that put in what was there, and patches after which a run is the source run
/// itself.
///
/// Pairs are taken a few at a time, whatever their number. Results do not depend on the number of
/// threads, nor on which cells run side by side.
public struct PatchEngine: Sendable {
  public let cache: CacheReader
  public let model: GPT2
  public let threads: Int
  /// Rows that run as one pass, at most, if one cell has no more. Each takes about 40·D bytes a
  /// thread, and 4·M more where values within MLPs are swept.
  let rowsPerPass: Int
  private let confirm: @Sendable () throws -> Void
  private let spare: SparePasses

  /// - Parameter confirm: throws if the model is not the cache's. It is called before anything of a sweep is
  ///   noted or returned, not before the sweep begins: the digest of the weights can take as long.
  public init(
    cache: CacheReader, model: GPT2, threads: Int, rowsPerPass: Int = 360,
    confirm: @escaping @Sendable () throws -> Void = {}
  ) {
    self.cache = cache
    self.model = model
    self.confirm = confirm
    self.threads = max(1, threads)
    self.rowsPerPass = max(1, rowsPerPass)
    spare = SparePasses(model)
  }

  /// Checks that sweeps fit the model, and that the cache holds the arrays they cannot do without.
  ///
  /// - Throws: `PatchingError.hooksNotCached`, `.doesNotFit`, `.runsArePatched`.
  public func require(_ sweeps: [Sweep]) throws(PatchingError) {
    try cache.requireOwnRuns()
    for sweep in sweeps { try sweep.check(model.config) }
    var needed: Set = [HookPoint(.finalNormalized)]
    for sweep in sweeps {
      for hook in sweep.hooks(config: model.config) {
        // What is added to a head's input needs no cached one.
        if sweep.path?.definition != .direct { needed.insert(hook) }
        needed.formUnion(Entry(hook).streams(behind: hook, layers: model.config.layers))
      }
      if let path = sweep.path {
        needed.formUnion(path.senderHooks(layers: sweep.layers))
        needed.formUnion(
          path.streamHooks(layers: sweep.layers, layerCount: model.config.layers))
      }
    }
    let missing = model.config.hookPoints.filter {
      needed.contains($0) && cache.hookIndex($0.name) == nil
    }
    guard missing.isEmpty else {
      throw .hooksNotCached(missing.map(\.name), directory: cache.directory)
    }
  }

  /// The metrics of the clean and the corrupted run of every pair, from the cached final rows; by
  /// metric and pair. Runs with noise are computed. Whether the model is the cache's is not confirmed.
  ///
  /// - Parameter noised: gets the runs with noise, as far as they fit.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`, `PassError`.
  public func baselines(
    _ task: any PatchingTask, prompts: [Prompt], noised kept: NoisedArrays? = nil
  ) throws -> [[Baseline]] {
    let reader = MetricReader(model: model, metrics: task.metrics)
    let pairs = task.pairs
    let pairsAtATime = max(1, min(16, (pairs.count + threads - 1) / threads))
    let noised = try NoisedRuns.finalRows(
      of: pairs, prompts: prompts, model, threads: threads, kept: kept)
    let groups = (pairs.count + pairsAtATime - 1) / pairsAtATime
    let values = try parallelMap(
      groups, threads: threads, with: { MetricReader.Scratch() },
      { number, scratch in
        let some = number * pairsAtATime..<min(pairs.count, (number + 1) * pairsAtATime)
        let rows = try some.map { number in
          let clean = try finalRow(of: pairs[number].clean, prompts)
          let corrupted = try noised[number] ?? finalRow(of: pairs[number].corrupted, prompts)
          return FinalRows(pair: pairs[number], rows: clean + corrupted, clean: clean)
        }
        return reader.values(of: rows, scratch: scratch)
      }
    ).joined()
    return task.metrics.indices.map { metric in
      values.map { Baseline(clean: $0[0][metric], corrupted: $0[1][metric]) }
    }
  }

  /// The row [D] of ln_final.hook_normalized at the last position of a prompt.
  func finalRow(of prompt: Int, _ prompts: [Prompt]) throws -> [Float] {
    let hook = HookPoint(.finalNormalized)
    guard let index = cache.hookIndex(hook.name) else {
      throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
    }
    let rows = try cache.read(hook: index, prompt: prompt)  // [T, D]
    let count = prompts[prompt].tokens.count * model.config.width
    guard count > 0, rows.count == count else {
      throw CacheError.wrongCount(
        hook: hook.name, prompt: prompt, expected: rows.count, given: count)
    }
    return Array(rows.suffix(model.config.width))
  }

  /// Runs every cell of a sweep on every pair of a task. Returns a result a metric.
  ///
  /// - Parameters:
  ///   - prompts: the prompts of the cache.
  ///   - baselines: from `baselines(_:prompts:)`, by metric and pair.
  ///   - noised: what `baselines` was given.
  ///   - known: runs of this very sweep that are not to be computed again.
  ///   - note: called with runs as they are computed, in any order; one call at a time.
  ///   - progress: called with the number of cells done, over all pairs; one call at a time.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`, `PassError`, what `note` and `confirm` throw.
  /// - Precondition: the two prompts of each pair have equal length; where paths are swept, no pair has
  ///   noise.
  public func run(
    _ sweep: Sweep, _ task: any PatchingTask, direction: Direction,
    source: PatchSource = .otherRun, prompts: [Prompt], baselines: [[Baseline]],
    noised: NoisedArrays? = nil, known: [CellValues] = [],
    note: ([CellValues]) throws -> Void = { _ in },
    progress: (Int) -> Void = { _ in }
  ) throws -> [SweepResult] {
    let start = DispatchTime.now().uptimeNanoseconds
    // When the last batch was computed. The model is confirmed meanwhile, which can take longer.
    var end = start
    let pairs = task.pairs
    let longest = pairs.map { prompts[$0.clean].tokens.count }.max() ?? 0
    let cells = sweep.cells(positions: longest, config: model.config)
    let metrics = task.metrics
    var patched = metrics.map { _ in
      [[Float?]](repeating: [Float?](repeating: nil, count: pairs.count), count: cells.count)
    }
    var unchanged = 0
    var operations = 0.0
    let values = try sourceValues(source, sweep, pairs, direction, prompts: prompts)
    var isKnown = [Bool](repeating: false, count: cells.count * pairs.count)
    var done = 0
    func take(_ results: [CellValues]) {
      for result in results {
        for metric in metrics.indices {
          patched[metric][result.cell][result.pair] = result.values[metric]
        }
        if result.isUnchanged { unchanged += 1 }
      }
      done += results.count
    }
    for run in known
    where cells.indices.contains(run.cell) && pairs.indices.contains(run.pair)
      && run.values.count == metrics.count && !isKnown[run.cell * pairs.count + run.pair]
    {
      isKnown[run.cell * pairs.count + run.pair] = true
      take([run])
    }
    let noisedHooks = NoisedRuns.hooks(for: sweep, config: model.config)
    let inUse = RunsInUse()
    let batches = batches(of: cells, sweep, pairs, source, prompts: prompts) {
      isKnown[$0 * pairs.count + $1]
    }
    try parallelForEach(
      batches.count, threads: threads,
      with: { Worker(spare, NoisedRuns(model, hooks: noisedHooks, kept: noised), inUse) },
      { number, worker in
        try run(
          batches[number], cells, sweep, task, direction: direction, values, prompts: prompts,
          baselines: baselines, worker)
      },
      then: { batch in
        try confirm()
        take(batch.values)
        operations += batch.operations
        end = max(end, batch.time)
        try note(batch.values)
        progress(done)
      })
    try confirm()
    let seconds = Double(end - start) / 1e9
    return metrics.indices.map { metric in
      SweepResult(
        sweep: sweep, direction: direction, source: source, metric: metrics[metric].name,
        cells: cells,
        shape: sweep.shape(positions: longest, config: model.config),
        patched: patched[metric], baselines: baselines[metric], unchanged: unchanged,
        seconds: seconds, operations: operations)
    }
  }

  /// The number of cells that a sweep has, over all pairs.
  public func cellCount(of sweep: Sweep, _ pairs: [PatchingPair], prompts: [Prompt]) -> Int {
    let alignments = pairs.map { alignment(of: $0, false, prompts) }
    let cells = sweep.cells(positions: alignments.map(\.length).max() ?? 0, config: model.config)
    let counts = Dictionary(grouping: alignments, by: { $0 }).map { alignment, all in
      all.count * cells.count { sites(sweep, $0, alignment) != nil }
    }
    return counts.reduce(0, +)
  }

  /// Cells of a pair that run in the same pass, with what they need.
  struct CellsOfPair {
    let runs: PairRuns
    let alignment: Alignment
    let cells: [Cell]
  }

  /// Runs a batch as one pass.
  private func run(
    _ batch: Batch, _ cells: [Cell], _ sweep: Sweep, _ task: any PatchingTask,
    direction: Direction, _ values: SourceValues, prompts: [Prompt], baselines: [[Baseline]],
    _ worker: Worker
  ) throws -> (values: [CellValues], operations: Double, time: UInt64) {
    let before = worker.passes.operations
    var results: [CellValues] = []
    var items: [PatchedRun] = []
    var places: [(cell: Int, pair: Int)] = []
    func note(_ place: (cell: Int, pair: Int), _ values: [Float], isUnchanged: Bool) {
      results.append(
        CellValues(
          cell: place.cell, pair: place.pair, values: values, isUnchanged: isUnchanged))
    }
    let noised = try worker.noised.arrays(
      of: worker.hold(batch), task.pairs, prompts: prompts)
    let parts = batch.parts.map { part in
      let pair = task.pairs[part.pair]
      let runs = worker.runs(of: part.pair) {
        PairRuns(
          pair, direction, cache: cache, config: model.config, prompts: prompts,
          noised: noised[part.pair])
      }
      return CellsOfPair(
        runs: runs, alignment: alignment(of: pair, values.isOtherRun, prompts),
        cells: part.cells.map { cells[$0] })
    }
    let edits =
      try sweep.path.map { try pathEdits($0, parts, values, worker.passes.paths) }
      ?? parts.map { try self.edits(sweep, $0, values) }
    for (part, (own, edits)) in zip(batch.parts, zip(parts, edits)) {
      let baselines = baselines.map { $0[part.pair] }
      for (number, edits) in zip(part.cells, edits) {
        switch try outcome(of: edits, own.runs) {
        case .receiving:
          note((number, part.pair), baselines.map { $0.receiving(direction) }, isUnchanged: true)
        case .source:
          note((number, part.pair), baselines.map { $0.source(direction) }, isUnchanged: false)
        case .computed(let edits):
          items.append(PatchedRun(runs: own.runs, edits: edits))
          places.append((number, part.pair))
        }
      }
    }
    var finalRows = [[Float]?](repeating: nil, count: items.count)
    try worker.passes.patched.run(items) { number, row in
      finalRows[number] = Array(UnsafeBufferPointer(start: row, count: model.config.width))
    }
    let reader = MetricReader(model: model, metrics: task.metrics)
    // What does not reach the last position leaves the receiving run's metrics.
    for (place, row) in zip(places, finalRows) where row == nil {
      note(place, baselines.map { $0[place.pair].receiving(direction) }, isUnchanged: false)
    }
    let reached = Dictionary(
      grouping: places.indices.filter { finalRows[$0] != nil }, by: { places[$0].pair }
    ).sorted { $0.key < $1.key }
    let rows = try reached.map { pair, own in
      FinalRows(
        pair: task.pairs[pair], rows: own.flatMap { finalRows[$0] ?? [] },
        clean: try finalRow(of: task.pairs[pair].clean, prompts))
    }
    let read = reader.values(of: rows, scratch: worker.passes.metrics)
    for ((_, own), values) in zip(reached, read) {
      for (number, values) in zip(own, values) { note(places[number], values, isUnchanged: false) }
    }
    return (results, worker.passes.operations - before, DispatchTime.now().uptimeNanoseconds)
  }

  /// What becomes of a run that is patched.
  private enum Outcome {
    /// It stays as it is.
    case receiving
    /// It becomes the source run.
    case source
    case computed([Edit])
  }

  /// The edits of each cell of a pair.
  private func edits(
    _ sweep: Sweep, _ part: CellsOfPair, _ values: SourceValues
  ) throws -> [[Edit]] {
    try part.cells.map { cell in
      try (sites(sweep, cell, part.alignment) ?? []).map { try values.edit($0, part.runs) }
    }
  }

  private func outcome(of edits: [Edit], _ runs: PairRuns) throws -> Outcome {
    // Behind the first one that changes something, an edit that puts in what the receiving run has
    // holds that value against what the first one did.
    let changing = try edits.drop { edit in
      if edit.adds, edit.isZero { return true }
      // It is added to each head's own copy of the stream, which is not cached.
      if edit.adds, edit.hook.kind.isHeadInput { return false }
      let receiving = try runs.array(.receiving, edit.hook)
      return edit.leaves(receiving, length: runs.length, config: model.config)
    }
    guard let edit = changing.first else { return .receiving }
    let isStream = [.residPre, .residMid, .residPost].contains(edit.hook.kind)
    if changing.count == 1, edit.isOfSource, isStream, edit.site.isWholeRows {
      let receiving = try runs.array(.receiving, edit.hook)
      let others = [
        runs.firstDifference..<edit.positions.lowerBound, edit.positions.upperBound..<runs.length,
      ]
      let isSource = others.allSatisfy { rows in
        Edit(site: Site(hook: edit.hook, positions: rows), values: edit.values, isOfSource: true)
          .leaves(receiving, length: runs.length, config: model.config)
      }
      if isSource { return .source }
    }
    return .computed(Array(changing))
  }

  /// The parts of a run that a cell replaces; nil if the pair lacks one of its places.
  func sites(_ sweep: Sweep, _ cell: Cell, _ alignment: Alignment) -> [Site]? {
    alignment.sites(of: sweep.patches(of: cell, layerCount: model.config.layers))
  }

  /// - Parameter skipsEqual: whether nothing before the first token in which the prompts differ can
  ///   matter.
  func alignment(of pair: PatchingPair, _ skipsEqual: Bool, _ prompts: [Prompt]) -> Alignment {
    Alignment(
      length: prompts[pair.clean].tokens.count,
      first: skipsEqual ? pair.firstDifference(prompts) : 0, roles: pair.roles)
  }

  func sourceValues(
    _ source: PatchSource, _ sweep: Sweep, _ pairs: [PatchingPair], _ direction: Direction,
    prompts: [Prompt]
  ) throws -> SourceValues {
    let hooks = sweep.sourceHooks(config: model.config)
    switch source {
    case .otherRun: return .otherRun
    case .zero: return .zero
    case .mean(let grouping, let over):
      let members = pairs.map { pair in
        let number = over.prompt(of: pair)
        return (
          number: number, length: prompts[number].tokens.count, template: pair.template
        )
      }
      return .means(
        try MeanActivations(
          of: hooks, cache: cache, config: model.config, prompts: members, grouping: grouping,
          threads: threads))
    case .noise(let scale, let seed):
      let numbers = Set(pairs.map { direction == .denoise ? $0.corrupted : $0.clean })
      return .noise(
        try NoiseActivations(
          of: hooks, cache: cache, config: model.config,
          prompts: numbers.sorted().map { (number: $0, length: prompts[$0].tokens.count) },
          scale: scale, seed: seed, threads: threads))
    }
  }
}

extension Entry {
  /// The receiving run's arrays that a pass entered here starts from.
  fileprivate func streams(behind hook: HookPoint, layers: Int) -> [HookPoint] {
    var streams: [HookPoint] = []
    switch self {
    case .attention(let layer):
      streams = [HookPoint(.residPre, layer: layer)]
      if hook.kind == .embed || hook.kind == .posEmbed {
        streams += [HookPoint(.embed), HookPoint(.posEmbed)]
      }
    case .mlp(let layer):
      streams = [HookPoint(hook.kind == .attnOut ? .residPre : .residMid, layer: layer)]
    case .after(let layer):
      streams = [HookPoint(hook.kind == .mlpOut ? .residMid : .residPost, layer: layer)]
    case .final: return [HookPoint(.residPost, layer: layers - 1)]
    }
    let next = (hook.layer ?? 0) + 1
    return next < layers ? streams + [HookPoint(.residPre, layer: next)] : streams
  }
}
