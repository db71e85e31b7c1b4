import CacheFormat
import Model
import Parallel

/// What a sweep's cells are when whole forward passes are run for them.
public struct BruteForceCheck: Sendable {
  /// The number of patched runs that were run again.
  public let runs: Int
  /// The largest difference of a metric, absolute for metrics up to 1 and relative above, by metric.
  public let largestDifference: [Float]

  /// What rounding may make of it: of the passes, and of what a cache holds with fewer bits.
  public let tolerance: Float

  public var isWithinTolerance: Bool { largestDifference.allSatisfy { $0 <= tolerance } }
}

extension PatchEngine {
  /// Runs patched cells again by brute force: both runs of the pair from their tokens, the receiving
  /// one changed at the hook, all positions, layers and logits computed, and nothing read from the
  /// cache but means.
  ///
  /// - Parameters:
  ///   - results: what `run` returned, a result a metric.
  ///   - count: how many patched runs are checked, drawn at random with `seed`; all if there are no more.
  /// - Throws: `PassError`.
  /// - Precondition: `results` is not empty, and belongs to the task and its prompts.
  public func check(
    _ results: [SweepResult], _ task: any PatchingTask, prompts: [Prompt], count: Int, seed: UInt64
  ) throws -> BruteForceCheck {
    let result = results[0]
    var all = result.cells.indices.flatMap { cell in
      result.pairs(of: cell).map { (cell: cell, pair: $0) }
    }
    if count < all.count {
      var generator = SplitMix64(state: seed)
      all.shuffle(using: &generator)
      all.removeSubrange(count...)
    }
    let chosen = Dictionary(grouping: all, by: \.pair).sorted { $0.key < $1.key }
    let reader = MetricReader(model: model, metrics: task.metrics)
    let values = try sourceValues(
      result.source, result.sweep, task.pairs, result.direction, prompts: prompts)
    let worst = try parallelMap(
      chosen.count, threads: threads, with: { ForwardPass(model) },
      { number, pass in
        let (pair, places) = chosen[number]
        let found = try bruteForce(
          task.pairs[pair], places.map { result.cells[$0.cell] }, result.sweep, result.direction,
          values, prompts: prompts, reader, pass)
        return task.metrics.indices.map { metric in
          zip(places, found).reduce(Float(0)) { worst, place in
            let ours = results[metric].patched[place.0.cell][pair] ?? .nan
            return larger(worst, difference(ours, place.1[metric]))
          }
        }
      })
    return BruteForceCheck(
      runs: all.count,
      largestDifference: task.metrics.indices.map { metric in
        worst.reduce(Float(0)) { larger($0, $1[metric]) }
      }, tolerance: cache.plan.elementType.tolerance)
  }

  /// The metrics of some cells of a pair, by cell and metric.
  private func bruteForce(
    _ pair: PatchingPair, _ cells: [Cell], _ sweep: Sweep, _ direction: Direction,
    _ values: SourceValues, prompts: [Prompt], _ reader: MetricReader, _ pass: ForwardPass
  ) throws -> [[Float]] {
    let (clean, corrupted) = (prompts[pair.clean].tokens, prompts[pair.corrupted].tokens)
    let (source, receiving) = direction == .denoise ? (clean, corrupted) : (corrupted, clean)
    let noise: (source: EmbeddingNoise?, receiving: EmbeddingNoise?) =
      direction == .denoise ? (nil, pair.noise) : (pair.noise, nil)
    let length = receiving.count
    // From the tokens too, so that nothing rests on the cache.
    var sourceArrays: [HookPoint: Matrix] = [:]
    let sourceHooks = Set(sweep.sourceHooks(config: model.config))
    try pass.run(
      tokens: [source],
      hooks: PassHooks(editing: sourceHooks.union(noise.source.hooks)) { activation in
        noise.source?.add(to: activation)
        if sourceHooks.contains(activation.hook) {
          sourceArrays[activation.hook] = copy(of: activation)
        }
      })
    let alignment = alignment(of: pair, false, prompts)
    let sites = cells.map { self.sites(sweep, $0, alignment) ?? [] }
    let heldHooks = Set(sites.joined().filter(\.isHeld).map(\.hook))
    var heldArrays: [HookPoint: Matrix] = [:]
    if !heldHooks.isEmpty {
      try pass.run(
        tokens: [receiving],
        hooks: PassHooks(editing: heldHooks.union(noise.receiving.hooks)) { activation in
          noise.receiving?.add(to: activation)
          heldArrays[activation.hook] = copy(of: activation)
        })
    }
    let cleanRow = try lastRow(clean, pass)
    /// Edits by hook, with the source's values or those that are held.
    func edits(_ sites: [Site]) -> [HookPoint: [Edit]] {
      var edits: [HookPoint: [Edit]] = [:]
      for site in sites {
        let array =
          site.isHeld
          ? heldArrays[site.hook]
          : values.array(
            site.hook, of: pair, receiving: direction == .denoise ? pair.corrupted : pair.clean,
            length: length, config: model.config) ?? sourceArrays[site.hook]
        guard let array else { preconditionFailure("no values for \(site.hook.name)") }
        edits[site.hook, default: []].append(
          Edit(
            site: site, values: array, isOfSource: false, adds: values.isAdded && !site.isHeld))
      }
      return edits
    }
    return try zip(cells, sites).map { cell, sites in
      if let path = sweep.path {
        let heads = path.senders(of: cell).flatMap { head in
          alignment.sites(
            of: [Patch(HookPoint(.z, layer: head.layer), head: head.head)]) ?? []
        }
        let run = try BruteForcePath(path, tokens: receiving, model: model, pass: pass)
        try run.patch(
          edits(heads), receivers: sites)
      } else {
        let edits = edits(sites)
        try pass.run(
          tokens: [receiving],
          hooks: PassHooks(editing: Set(edits.keys).union(noise.receiving.hooks)) { activation in
            noise.receiving?.add(to: activation)
            guard let base = activation.sequence(0).baseAddress else { return }
            for edit in edits[activation.hook] ?? [] {
              edit.apply(toWhole: base, length: length, config: model.config)
            }
          })
      }
      let row = Array(
        UnsafeBufferPointer(start: pass.lastRow(sequence: 0), count: model.config.width))
      return reader.values(of: [FinalRows(pair: pair, rows: row, clean: cleanRow)])[0][0]
    }
  }

  private func lastRow(_ tokens: [Int32], _ pass: ForwardPass) throws -> [Float] {
    try pass.run(tokens: [tokens])
    return Array(UnsafeBufferPointer(start: pass.lastRow(sequence: 0), count: model.config.width))
  }

  private func difference(_ a: Float, _ b: Float) -> Float {
    if a == b || (a.isNaN && b.isNaN) { return 0 }
    return abs(a - b) / max(1, abs(b))
  }
}

extension [BruteForceCheck] {
  /// The largest difference of all, as `largestDifference` has it.
  public var largest: Float { flatMap(\.largestDifference).reduce(0, larger) }

  /// - Throws: `PatchingError.notReproduced` if one is beyond the tolerance.
  public func requireReproduced() throws(PatchingError) {
    guard allSatisfy(\.isWithinTolerance) else { throw .notReproduced(largest: largest) }
  }
}

extension ElementType {
  /// How far metrics of runs that are made from stored values may be from those of whole passes.
  fileprivate var tolerance: Float {
    switch self {
    case .f32: 1e-4
    case .f16: 0.02
    case .bf16: 0.2
    }
  }
}

/// A NaN is larger than any number.
private func larger(_ a: Float, _ b: Float) -> Float { a.isNaN || a > b ? a : b }

/// A copy of what a hook holds in a sequence of a pass.
func copy(of activation: Activation, sequence: Int = 0) -> Matrix {
  let array = activation.sequence(sequence)
  let copy = Matrix(rows: 1, columns: array.count)
  if let base = array.baseAddress { copy.pointer.update(from: base, count: array.count) }
  return copy
}
