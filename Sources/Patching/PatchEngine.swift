import CKernels
import CacheFormat
import Dispatch
import Model
import Parallel

/// Runs sweeps of activation patching from a cache.
///
/// Every cell is exact, and none is a full forward pass:
/// - the pass is entered at the patched stage with the cached residual stream (`EntryPlan`);
/// - positions before the patched one are not computed: causal attention keeps them as they are, and
///   their keys and values come from the cache;
/// - a position before the first token in which a pair differs cannot matter, and its cell is the
///   receiving run's metric without being computed;
/// - cells of many pairs and positions at one layer run as rows of one pass.
///
/// Pairs are taken in groups that fit `memoryBudget`, whatever their number. Results do not depend on
/// the number of threads.
public struct PatchEngine: Sendable {
  public let cache: CacheReader
  public let model: GPT2
  public let threads: Int
  /// Bytes of cached arrays that are held at a time, at the most, if one pair fits.
  public let memoryBudget: Int

  /// Live rows that run as one pass.
  private static let rowsPerBatch = 512

  public init(cache: CacheReader, model: GPT2, threads: Int, memoryBudget: Int = 512 << 20) {
    self.cache = cache
    self.model = model
    self.threads = max(1, threads)
    self.memoryBudget = memoryBudget
  }

  /// Checks that the cache holds the arrays that sweeps cannot do without.
  ///
  /// - Throws: `PatchingError.hooksNotCached`.
  public func requireHooks(of sweeps: [Sweep]) throws(PatchingError) {
    var needed: Set = [HookPoint(.finalNormalized)]
    for sweep in sweeps {
      let needs = Needs(sweep, layers: model.config.layers, cache: cache)
      needed.formUnion(needs.source.union(needs.receiving))
    }
    let missing = model.config.hookPoints.filter {
      needed.contains($0) && cache.hookIndex($0.name) == nil
    }
    guard missing.isEmpty else {
      throw .hooksNotCached(missing.map(\.name), directory: cache.directory)
    }
  }

  /// The metric of the clean and the corrupted run of every pair, from the cached final residual.
  ///
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`.
  public func baselines(_ task: any PatchingTask, prompts: [Prompt]) throws -> [Baseline] {
    let hook = HookPoint(.finalNormalized)
    guard let index = cache.hookIndex(hook.name) else {
      throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
    }
    return try task.pairs.map { pair in
      func metric(of prompt: Int) throws -> Float {
        let rows = try cache.read(hook: index, prompt: prompt)  // [T, D]
        let count = prompts[prompt].tokens.count * model.config.width
        guard count > 0, rows.count == count else {
          throw CacheError.wrongCount(
            hook: hook.name, prompt: prompt, expected: rows.count, given: count)
        }
        let last = count - model.config.width
        let logits = rows.withUnsafeBufferPointer { buffer in
          buffer.baseAddress.map {
            model.logits(ofNormalized: $0 + last, tokens: task.tokensRead(of: pair))
          }
        }
        return task.metric(of: pair, logits: logits ?? [])
      }
      return Baseline(clean: try metric(of: pair.clean), corrupted: try metric(of: pair.corrupted))
    }
  }

  /// Runs every cell of a sweep on every pair of a task.
  ///
  /// - Parameters:
  ///   - prompts: the prompts of the cache.
  ///   - baselines: from `baselines(_:prompts:)`.
  ///   - progress: called with the number of pairs done; one call at a time.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`.
  /// - Precondition: the two prompts of each pair have equal length.
  public func run(
    _ sweep: Sweep, _ task: any PatchingTask, direction: Direction, prompts: [Prompt],
    baselines: [Baseline], progress: (Int) -> Void = { _ in }
  ) throws -> SweepResult {
    let start = DispatchTime.now().uptimeNanoseconds
    let pairs = task.pairs
    let positions = pairs.map { prompts[$0.clean].tokens.count }
    let cells = sweep.cells(positions: positions.max() ?? 0, heads: model.config.heads)
    let needs = Needs(sweep, layers: model.config.layers, cache: cache)
    var patched = [[Float?]](
      repeating: [Float?](repeating: nil, count: pairs.count), count: cells.count)

    var next = 0
    while next < pairs.count {
      let group = nextGroup(from: next, positions: positions, needs: needs)
      let first = next
      let activations = try parallelMap(group.count, threads: threads) { offset in
        let pair = pairs[first + offset]
        let clean = (prompt: pair.clean, tokens: prompts[pair.clean].tokens)
        let corrupted = (prompt: pair.corrupted, tokens: prompts[pair.corrupted].tokens)
        return try PairActivations(
          cache: cache, config: model.config,
          source: direction == .denoise ? clean : corrupted,
          receiving: direction == .denoise ? corrupted : clean, needs: needs)
      }
      var work: [Work] = []
      for (index, activations) in zip(group, activations) {
        for (number, cell) in cells.enumerated() {
          guard let rows = activations.rows(of: cell) else { continue }
          if rows.isEmpty {
            patched[number][index] = baselines[index].receiving(direction)
          } else {
            work.append(
              Work(cell: cell, number: number, pair: index, activations: activations, rows: rows))
          }
        }
      }
      let passes = batches(of: work)
      let metrics = try parallelMap(
        passes.count, threads: threads, with: { ForwardPass(model) },
        { number, pass in try run(passes[number], sweep, task, pass) })
      for (batch, metrics) in zip(passes, metrics) {
        for (item, metric) in zip(batch, metrics) { patched[item.number][item.pair] = metric }
      }
      next = group.upperBound
      progress(next)
    }
    return SweepResult(
      sweep: sweep, direction: direction, cells: cells,
      shape: sweep.shape(positions: positions.max() ?? 0, heads: model.config.heads),
      patched: patched, baselines: baselines,
      seconds: Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9)
  }

  /// One cell of one pair, with the positions that it patches.
  private struct Work: Sendable {
    let cell: Cell
    /// The cell's number in the sweep.
    let number: Int
    let pair: Int
    let activations: PairActivations
    let rows: Range<Int>

    /// The first position that has to be computed.
    var start: Int { activations.keyValues == nil ? 0 : rows.lowerBound }
    var live: Int { activations.length - start }
  }

  /// Runs the cells of a batch, which share a hook, as one pass. Returns their metrics.
  private func run(
    _ batch: [Work], _ sweep: Sweep, _ task: any PatchingTask, _ pass: ForwardPass
  ) throws -> [Float] {
    guard let first = batch.first else { return [] }
    let width = model.config.width
    let hook = sweep.hook(of: first.cell)
    let plan = EntryPlan(hook, layers: model.config.layers)
    try pass.enter(
      batch.map {
        PassSequence(
          length: $0.activations.length, start: $0.start, prefix: $0.activations.keyValues)
      }
    ) { index, rows in
      let item = batch[index]
      let stream = item.activations.receiving(plan.stream).pointer
      rows.update(from: stream + item.start * width, count: item.live * width)
      guard let patchedRow = plan.patchedRow else { return }
      let first = item.rows.lowerBound * width
      let count = item.rows.count * width
      let target = rows + (first - item.start * width)
      let source = item.activations.source(hook).pointer + first
      switch patchedRow {
      case .source: target.update(from: source, count: count)
      case .sourcePlus(let other):
        pb_add(item.activations.receiving(other).pointer + first, source, target, count)
      }
    }
    let hooks =
      plan.patchedRow == nil
      ? PassHooks(editing: [hook]) { activation in
        for (index, item) in batch.enumerated() {
          patch(activation.sequence(index), sweep.kind, item, item.activations.source(hook))
        }
      } : .none
    try pass.run(from: plan.entry, hooks: hooks)
    return batch.enumerated().map { index, item in
      let pair = task.pairs[item.pair]
      let logits = pass.lastLogits(sequence: index, tokens: task.tokensRead(of: pair))
      return task.metric(of: pair, logits: logits)
    }
  }

  /// Puts the source run's values in the place of a cell's.
  ///
  /// - Parameters:
  ///   - values: the live rows of the running pass, [live, …] or [H, live, T].
  ///   - source: the same hook of the source run, all T positions.
  private func patch(
    _ values: UnsafeMutableBufferPointer<Float>, _ kind: HookKind, _ item: Work, _ source: Matrix
  ) {
    guard let base = values.baseAddress else { return }
    let config = model.config
    let length = item.activations.length
    func copy(from sourceIndex: Int, to index: Int, _ count: Int) {
      (base + index).update(from: source.pointer + sourceIndex, count: count)
    }
    let heads = item.cell.head.map { $0..<($0 + 1) } ?? 0..<config.heads
    for position in item.rows {
      let row = position - item.start
      if kind == .pattern || kind == .attnScores {
        for head in heads {
          copy(
            from: (head * length + position) * length, to: (head * item.live + row) * length, length
          )
        }
      } else {
        let unit = config.valueCount(of: kind, positions: 1)
        let part = item.cell.head == nil ? unit : unit / config.heads
        let offset = (item.cell.head ?? 0) * part
        copy(from: position * unit + offset, to: row * unit + offset, part)
      }
    }
  }

  /// Cells of the same layer, in runs of about `rowsPerBatch` rows; the longest passes come first.
  private func batches(of work: [Work]) -> [[Work]] {
    let byLayer = Dictionary(grouping: work) { $0.cell.layer ?? 0 }
    return byLayer.keys.sorted().flatMap { layer in
      var batches: [[Work]] = [[]]
      var rows = 0
      for item in byLayer[layer] ?? [] {
        if rows > 0, rows + item.live > PatchEngine.rowsPerBatch {
          batches.append([])
          rows = 0
        }
        batches[batches.count - 1].append(item)
        rows += item.live
      }
      return batches
    }
  }

  /// As many pairs as fit the memory budget, at least one.
  private func nextGroup(from first: Int, positions: [Int], needs: Needs) -> Range<Int> {
    var end = first
    var bytes = 0
    while end < positions.count {
      bytes += needs.bytes(positions: positions[end], config: model.config)
      if end > first, bytes > memoryBudget { break }
      end += 1
    }
    return first..<end
  }
}

extension PairActivations {
  /// The positions that a cell patches and that can matter: empty if none can, nil if the prompt
  /// has no such position.
  func rows(of cell: Cell) -> Range<Int>? {
    guard let position = cell.position else { return firstDifference..<length }
    let index = position < 0 ? length + position : position
    guard index >= 0, index < length else { return nil }
    return index < firstDifference ? index..<index : index..<(index + 1)
  }
}
