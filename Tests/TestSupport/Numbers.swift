import Foundation

/// log softmax of each row of [rows, vocabulary] logits, in double precision.
public func logSoftmax(_ logits: some Collection<Float>, vocabulary: Int) -> [Double] {
  let values = logits.map(Double.init)
  return stride(from: 0, to: values.count, by: vocabulary).flatMap { first in
    let row = values[first..<first + vocabulary]
    let top = row.max() ?? 0
    let total = top + log(row.reduce(0) { $0 + exp($1 - top) })
    return row.map { $0 - total }
  }
}

/// The largest difference between two arrays, infinite where one has another infinity, another
/// length or a NaN.
public func largestDifference(_ a: [Float], _ b: [Float]) -> Double {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { largest, pair in
    if pair.0 == pair.1 { return largest }
    let difference = abs(Double(pair.0) - Double(pair.1))
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

/// The root of the mean square of the finite values.
public func rootMeanSquare(_ values: [Float]) -> Double {
  let finite = values.filter(\.isFinite).map(Double.init)
  return (finite.reduce(0) { $0 + $1 * $1 } / Double(max(1, finite.count))).squareRoot()
}

/// A small generator with a seed (Steele et al. 2014, SplitMix64).
public struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  public mutating func floats(_ count: Int, in range: ClosedRange<Float> = -2...2) -> [Float] {
    (0..<count).map { _ in Float.random(in: range, using: &self) }
  }
}
