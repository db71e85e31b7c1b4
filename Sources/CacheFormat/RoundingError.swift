/// How far what a reader gets is from what was captured.
struct RoundingError {
  var worst: Float = 0
  var squares: Double = 0

  /// Differences of values that are no numbers do not count; a finite value that became infinite is
  /// as far off as can be said.
  init(of read: UnsafeBufferPointer<Float>, from captured: UnsafeBufferPointer<Float>) {
    for (a, b) in zip(read, captured) {
      let difference = abs(a - b)
      if difference.isFinite {
        worst = max(worst, difference)
        squares += Double(difference) * Double(difference)
      } else if b.isFinite {
        worst = .greatestFiniteMagnitude
      }
    }
  }
}
