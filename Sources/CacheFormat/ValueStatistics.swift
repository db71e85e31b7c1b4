import CKernels

/// Counts and moments of values that come array by array.
///
/// Moments are of the finite values, in double precision, merged piece by piece (Chan, Golub &
/// LeVeque 1983), so that a large mean takes nothing from a small spread. They depend on the arrays
/// and their order alone.
public struct ValueStatistics: Sendable, Equatable {
  /// All values.
  public private(set) var count = 0
  public private(set) var finite = 0
  public private(set) var zeros = 0
  /// Attention scores above the diagonal, which are −∞ by design.
  public private(set) var masked = 0
  public private(set) var nan = 0
  public private(set) var positiveInfinity = 0
  /// Values that are −∞ and not masked.
  public private(set) var negativeInfinity = 0
  private var runningMean = 0.0
  /// The sum of (x − mean)².
  private var deviations = 0.0
  private var squares = 0.0
  private var smallest = Float.infinity
  private var largest = -Float.infinity
  private var rows = 0
  private var rowNorms = 0.0

  public init() {}

  /// Of one array.
  ///
  /// - Parameters: as for `add`.
  public init(of values: [Float], rowLength: Int, causalSide: Int? = nil) {
    values.withUnsafeBufferPointer { add($0, rowLength: rowLength, causalSide: causalSide) }
  }

  /// Values that are neither finite nor masked.
  public var nonFinite: Int { nan + positiveInfinity + negativeInfinity }
  public var mean: Double? { finite > 0 ? runningMean : nil }
  /// With the number of values as divisor, as numpy has it.
  public var standardDeviation: Double? {
    finite > 0 ? (deviations / Double(finite)).squareRoot() : nil
  }
  /// The square root of the mean square.
  public var rms: Double? { finite > 0 ? (squares / Double(finite)).squareRoot() : nil }
  /// The mean, over rows, of the square root of the sum of squares.
  public var norm: Double? { finite > 0 ? rowNorms / Double(rows) : nil }
  public var minimum: Float? { finite > 0 ? smallest : nil }
  public var maximum: Float? { finite > 0 ? largest : nil }

  /// Takes in an array.
  ///
  /// - Parameters:
  ///   - rowLength: the number of values that belong to one position; the array's count is a
  ///     multiple of it.
  ///   - causalSide: T where the array consists of T × T attention scores.
  public mutating func add(
    _ values: UnsafeBufferPointer<Float>, rowLength: Int, causalSide: Int? = nil
  ) {
    guard rowLength > 0 else { return }
    for start in stride(from: 0, to: values.count, by: rowLength) {
      let row = UnsafeBufferPointer(
        rebasing: values[start..<min(start + rowLength, values.count)])
      let live = causalSide.map { min(start / rowLength % $0 + 1, row.count) } ?? row.count
      var sum = addPieces(of: .init(rebasing: row[..<live]))
      for index in live..<row.count {
        if row[index] == -.infinity {
          masked += 1
          count += 1
        } else {
          sum += addPieces(of: .init(rebasing: row[index..<index + 1]))
        }
      }
      rows += 1
      rowNorms += sum.squareRoot()
    }
  }

  /// Takes in values, as many at a time as stay in the first-level cache for a second look; answers
  /// the sum of their squares.
  private mutating func addPieces(of values: UnsafeBufferPointer<Float>) -> Double {
    let most = 4096
    var rowSquares = 0.0
    for start in stride(from: 0, to: values.count, by: most) {
      let piece = UnsafeBufferPointer(rebasing: values[start..<min(start + most, values.count)])
      var sums = pb_value_sums()
      pb_sum_values(piece.baseAddress, piece.count, &sums)
      count += piece.count
      zeros += sums.zeros
      nan += sums.nan
      positiveInfinity += sums.positive_infinity
      negativeInfinity += sums.negative_infinity
      smallest = min(smallest, sums.minimum)
      largest = max(largest, sums.maximum)
      squares += sums.squares
      rowSquares += sums.squares
      guard sums.finite > 0 else { continue }
      let mean = sums.sum / Double(sums.finite)
      mergeMoments(
        sums.finite, mean: mean,
        deviations: pb_squared_deviations(piece.baseAddress, piece.count, mean))
    }
    return rowSquares
  }

  private mutating func mergeMoments(_ more: Int, mean: Double, deviations: Double) {
    let total = finite + more
    let share = Double(more) / Double(total)
    let distance = mean - runningMean
    self.deviations += deviations + distance * distance * Double(finite) * share
    runningMean += distance * share
    finite = total
  }

  /// Takes in what is known of other values, as if they came after these.
  public mutating func merge(_ other: ValueStatistics) {
    if other.finite > 0 {
      mergeMoments(other.finite, mean: other.runningMean, deviations: other.deviations)
    }
    count += other.count
    zeros += other.zeros
    masked += other.masked
    nan += other.nan
    positiveInfinity += other.positiveInfinity
    negativeInfinity += other.negativeInfinity
    squares += other.squares
    smallest = min(smallest, other.smallest)
    largest = max(largest, other.largest)
    rows += other.rows
    rowNorms += other.rowNorms
  }
}

extension ValueStatistics: Encodable {
  private enum Key: String, CodingKey {
    case values, zeros, masked, nan, positiveInfinity, negativeInfinity
    case mean, standardDeviation, rms, norm, minimum, maximum
  }

  /// Moments of no finite value are null.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(count, forKey: .values)
    try container.encode(zeros, forKey: .zeros)
    try container.encode(masked, forKey: .masked)
    try container.encode(nan, forKey: .nan)
    try container.encode(positiveInfinity, forKey: .positiveInfinity)
    try container.encode(negativeInfinity, forKey: .negativeInfinity)
    try container.encode(mean, forKey: .mean)
    try container.encode(standardDeviation, forKey: .standardDeviation)
    try container.encode(rms, forKey: .rms)
    try container.encode(norm, forKey: .norm)
    try container.encode(minimum, forKey: .minimum)
    try container.encode(maximum, forKey: .maximum)
  }
}
