import Patching

extension TaskSelection {
  /// What is to be known of pairs whose effects mean little, and of what was left out.
  ///
  /// - Parameters:
  ///   - baselines: by pair.
  ///   - metric: the name of the one that they are of.
  func warnings(of baselines: [Baseline], metric: String, _ direction: Direction) -> [String] {
    var lines: [String] = []
    func add(_ pairs: [Int], _ what: String) {
      guard !pairs.isEmpty else { return }
      let names = pairs.prefix(5).map(name(of:)).joined(separator: ", ")
      let more = pairs.count > 5 ? ", …" : ""
      lines.append(
        "warning: \(pairs.count) of \(baselines.count) pairs \(what) (pair \(names)\(more))")
    }
    if direction == .ablate {
      add(
        baselines.indices.filter { !baselines[$0].clean.isFinite },
        "have a metric that is not a finite number")
      return lines + leftOut
    }
    let gaps = baselines.map { abs($0.gap) }
    let meanGap = gaps.reduce(0, +) / Double(max(1, gaps.count))
    add(
      baselines.indices.filter { !baselines[$0].gap.isFinite },
      "have a metric that is not a finite number")
    add(
      baselines.indices.filter { gaps[$0] < SweepResult.smallestGap },
      "have no gap between clean and corrupted; their own effect counts as 0")
    add(
      baselines.indices.filter { gaps[$0] >= SweepResult.smallestGap && gaps[$0] < meanGap / 10 },
      "have a gap of less than a tenth of the mean")
    if metric == AnswerMetric.logitDiff.name {
      add(
        baselines.indices.filter { baselines[$0].clean * baselines[$0].corrupted > 0 },
        "give the same answer clean and corrupted")
    }
    return lines + leftOut
  }
}
