/// The metric of a pair's two unpatched runs.
public struct Baseline: Sendable, Equatable {
  public let clean: Float
  public let corrupted: Float

  public init(clean: Float, corrupted: Float) {
    self.clean = clean
    self.corrupted = corrupted
  }

  /// The run that is patched.
  public func receiving(_ direction: Direction) -> Float {
    direction == .denoise ? corrupted : clean
  }

  /// The run whose activations are put in.
  public func source(_ direction: Direction) -> Float {
    direction == .denoise ? clean : corrupted
  }

  /// clean − corrupted: what all effects are measured by.
  public var gap: Double { Double(clean) - Double(corrupted) }
}

/// The patched metric of every cell and pair of a sweep, and the effects that follow from it.
///
/// Effects are normalised by the gap between the clean and the corrupted run. Denoising:
/// (patched − corrupted) / (clean − corrupted), 0 for no effect, 1 for full recovery. Noising:
/// (patched − clean) / (clean − corrupted), 0 for no harm, −1 for an answer as in the corrupted run
/// (TransformerLens's and ARENA's `ioi_metric`). Ablating has no other run: patched − clean, in the
/// metric's units.
public struct SweepResult: Sendable {
  /// A gap smaller than this cannot be divided by.
  public static let smallestGap = 1e-6

  public let sweep: Sweep
  public let direction: Direction
  public let source: PatchSource
  /// The metric's name.
  public let metric: String
  public let cells: [Cell]
  /// The lengths of `sweep.axisNames`; `cells` run through them, the last one fastest.
  public let shape: [Int]
  /// By cell and pair; nil where a pair has no such position.
  public let patched: [[Float?]]
  public let baselines: [Baseline]
  /// The number of patched runs whose patch put in what was there.
  public let unchanged: Int
  /// Wall time from the beginning to the last run that was computed, reading the cache included. A wait for the
  /// weights' digest counts only as far as it holds up the threads.
  public let seconds: Double
  /// Floating-point operations of the products and the attention of the runs that were computed, two a
  /// multiply-add.
  public let operations: Double

  /// The effect on one pair; 0 if the pair's gap is needed and cannot be divided by, nil if the pair has
  /// no such position.
  public func effect(cell: Int, pair: Int) -> Double? {
    guard let value = patched[cell][pair] else { return nil }
    let baseline = baselines[pair]
    let change = Double(value) - Double(baseline.receiving(direction))
    if direction == .ablate { return change }
    guard abs(baseline.gap) >= SweepResult.smallestGap else { return 0 }
    return change / baseline.gap
  }

  /// The pairs that have a cell's position.
  public func pairs(of cell: Int) -> [Int] {
    patched[cell].indices.filter { patched[cell][$0] != nil }
  }

  /// The number of patched runs: cells of every pair that has their positions.
  public var cellCount: Int { cells.indices.reduce(0) { $0 + pairs(of: $1).count } }

  /// The number of patched runs whose metric is not a finite number, though that of the unpatched run is.
  public var nonFiniteCount: Int {
    patched.reduce(0) { count, values in
      count
        + zip(values, baselines).count { value, baseline in
          value?.isFinite == false && baseline.receiving(direction).isFinite
        }
    }
  }

  /// The mean metric of the patched runs; nil if no pair has such a position.
  public func meanPatched(cell: Int) -> Double? {
    mean(pairs(of: cell).map { Double(patched[cell][$0] ?? 0) })
  }

  /// The ratio of means: metrics are averaged over the pairs, and then normalised. nil if no pair
  /// has the position, or the mean gap cannot be divided by.
  public func ratioOfMeans(cell: Int) -> Double? {
    let pairs = pairs(of: cell)
    guard let patched = meanPatched(cell: cell),
      let receiving = mean(pairs.map { Double(baselines[$0].receiving(direction)) })
    else { return nil }
    if direction == .ablate { return patched - receiving }
    guard let gap = mean(pairs.map { baselines[$0].gap }), abs(gap) >= SweepResult.smallestGap
    else { return nil }
    return (patched - receiving) / gap
  }

  /// The mean of the pairs' own effects.
  public func meanOfRatios(cell: Int) -> Double? {
    mean(pairs(of: cell).compactMap { effect(cell: cell, pair: $0) })
  }

  private func mean(_ values: [Double]) -> Double? {
    values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }
}

/// The metrics of one patched run.
public struct CellValues: Sendable, Equatable {
  /// The cell's number in its sweep.
  public let cell: Int
  /// The pair's number in its task.
  public let pair: Int
  /// By metric.
  public let values: [Float]
  /// Whether the patch put in what was there.
  public let isUnchanged: Bool

  public init(cell: Int, pair: Int, values: [Float], isUnchanged: Bool) {
    self.cell = cell
    self.pair = pair
    self.values = values
    self.isUnchanged = isUnchanged
  }
}
