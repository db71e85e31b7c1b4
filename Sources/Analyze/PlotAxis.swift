import Glibc

/// The range of an axis, with round numbers on it.
struct PlotAxis {
  let low, high, step: Double

  init(_ values: [Double]) {
    var (low, high) = (values.min() ?? 0, values.max() ?? 1)
    if high - low < 1e-9 * max(1, abs(high)) { (low, high) = (low - 0.5, high + 0.5) }
    let room = (high - low) / 20
    (self.low, self.high) = (low - room, high + room)
    // 1, 2 or 5 times a power of ten, at most seven steps.
    let power = pow(10, floor(log10((high - low) / 5)))
    step = [1, 2, 5, 10].map { $0 * power }.first { (high - low) / $0 <= 7 } ?? 10 * power
  }

  /// 0 at the low end, 1 at the high one.
  func share(_ value: Double) -> Double { (value - low) / (high - low) }

  var ticks: [Double] {
    let first = (low / step).rounded(.up)
    // Steps and ranges may be too small to tell apart from their ends.
    guard first.isFinite, abs(first) < 1e9 else { return [] }
    return (0..<12).map { (first + Double($0)) * step }.filter { $0 <= high }
  }
}
