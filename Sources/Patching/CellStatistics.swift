/// What the pairs' own effects say about one cell. Everything is in the unit of the effects.
///
/// Without effects, and where one of them is not a finite number, every statistic is nil.
public struct CellStatistics: Sendable, Equatable {
  public struct Interval: Sendable, Equatable {
    public let lower: Double
    public let upper: Double
  }

  /// How many effects there are.
  public let count: Int
  /// x̄ = Σ x / n.
  public let mean: Double?
  /// sqrt(Σ (x − x̄)² / (n − 1)) / sqrt(n); nil for fewer than two effects.
  public let standardError: Double?
  /// The lower of the two middle effects if their number is even, as `torch.median` takes it.
  public let median: Double?
  /// The percentile bootstrap interval of `Resampling.statistic`.
  public let interval: Interval?
  /// The sign-flip p-value of the mean.
  public let p: Double?

  public init(effects: [Double], resampling: Resampling = Resampling()) {
    self = resampling.statistics(of: [effects], threads: 1)[0]
  }

  /// - Parameter resampled: interval and p-value of finite effects.
  init(effects: [Double], resampled: (interval: Interval?, p: Double?)) {
    count = effects.count
    guard CellStatistics.areDefined(effects) else {
      (mean, standardError, median, interval, p) = (nil, nil, nil, nil, nil)
      return
    }
    mean = CellStatistics.mean(of: effects)
    standardError = CellStatistics.standardError(effects)
    median = effects.sorted()[CellStatistics.middle(of: effects.count)]
    (interval, p) = resampled
  }

  /// Whether there are effects, all are numbers, and no sum of theirs is beyond what a Double holds.
  static func areDefined(_ effects: [Double]) -> Bool {
    !effects.isEmpty && effects.reduce(0, { $0 + abs($1) }).isFinite
  }

  /// By Welford's recurrence (1962, Technometrics 4(3)), which is exactly 0 for equal effects.
  private static func standardError(_ effects: [Double]) -> Double? {
    guard effects.count >= 2 else { return nil }
    var (center, squares) = (0.0, 0.0)
    for (index, effect) in effects.enumerated() {
      let distance = effect - center
      center += distance / Double(index + 1)
      squares += distance * (effect - center)
    }
    let count = Double(effects.count)
    let error = (squares / (count - 1)).squareRoot() / count.squareRoot()
    return error.isFinite ? error : nil
  }

  /// The mean as every resample takes it, in the order of the values, so that ties stay ties.
  static func mean(of values: [Double]) -> Double {
    values.reduce(0, +) / Double(values.count)
  }

  /// The place of the median among `count` sorted values.
  static func middle(of count: Int) -> Int { (count - 1) / 2 }
}
