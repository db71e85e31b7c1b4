import Parallel

/// How the interval and the p-value of a cell are resampled from its pairs.
///
/// Both are TransformerLens 4.3's (`PatchingResult.bootstrap_ci` and `.permutation_pvalue`), with
/// its random numbers, so that they equal what it says of the same effects in float64. Its draws
/// do not depend on the cell: cells of equally many pairs share them.
public struct Resampling: Sendable, Equatable {
  /// What the bootstrap interval is of.
  public enum Statistic: String, Sendable, CaseIterable {
    case mean, median
  }

  /// What a mean effect is expected to be if it is not 0.
  public enum Alternative: String, Sendable, CaseIterable {
    case twoSided = "two-sided"
    case greater, less
  }

  /// From this many effects on sign patterns are drawn, not enumerated.
  static let fewestSampled = 13

  public var seed: UInt64
  public var statistic: Statistic
  public var alternative: Alternative
  /// The coverage of the interval, between 0 and 1.
  public var confidence: Double
  /// How many bootstrap resamples are drawn.
  public var resamples: UInt32
  /// How many sign patterns are drawn for a p-value of more than 12 effects, which is then at least
  /// 1 / (permutations + 1).
  public var permutations: UInt32

  /// - Parameters:
  ///   - confidence: outside 0..<1 there are no intervals.
  ///   - resamples: 0 leaves the intervals out.
  ///   - permutations: 0 leaves out the p-values of more than 12 effects.
  public init(
    seed: UInt64 = 0, statistic: Statistic = .mean, alternative: Alternative = .twoSided,
    confidence: Double = 0.95, resamples: UInt32 = 1000, permutations: UInt32 = 1000
  ) {
    self.seed = seed
    self.statistic = statistic
    self.alternative = alternative
    self.confidence = confidence
    self.resamples = resamples
    self.permutations = permutations
  }

  /// The statistics of many cells, each from the effects of its pairs.
  ///
  /// Memory: 32 MB a thread, or 8 bytes a resample where that is more.
  public func statistics(of cells: [[Double]], threads: Int) -> [CellStatistics] {
    let byCount = Dictionary(
      grouping: cells.indices.filter { CellStatistics.areDefined(cells[$0]) },
      by: { cells[$0].count })
    // Cells of a block share the work of drawing.
    let evenly = cells.count / (4 * max(1, threads))
    let size = min(max(8, min(evenly, 64)), max(1, (1 << 22) / max(1, Int(resamples))))
    let blocks = byCount.sorted { $0.key < $1.key }.flatMap { count, numbers in
      stride(from: 0, to: numbers.count, by: size).map {
        (count: count, numbers: numbers[$0..<min($0 + size, numbers.count)])
      }
    }
    let results = parallelMap(blocks.count, threads: threads) { block in
      let effects = blocks[block].numbers.map { cells[$0] }
      let count = blocks[block].count
      return zip(intervals(effects, count: count), pValues(effects, count: count)).map { $0 }
    }
    var resampled = [(interval: CellStatistics.Interval?, p: Double?)](
      repeating: (nil, nil), count: cells.count)
    for (block, values) in zip(blocks, results) {
      for (number, value) in zip(block.numbers, values) { resampled[number] = value }
    }
    return zip(cells, resampled).map { CellStatistics(effects: $0, resampled: $1) }
  }

  /// Percentile intervals: quantiles (1 ∓ confidence) / 2 of the statistic of resamples with
  /// replacement (Efron 1979, "Bootstrap methods: another look at the jackknife").
  private func intervals(_ cells: [[Double]], count: Int) -> [CellStatistics.Interval?] {
    guard resamples > 0, confidence > 0, confidence < 1 else { return cells.map { _ in nil } }
    var generator = MersenneTwister(seed: seed, labels: ["bootstrap", statistic.rawValue])
    let bound = UInt32(count)
    var values = [[Double]](repeating: [], count: cells.count)
    let ranked = statistic == .median ? cells.map(RankedValues.init) : []
    Draws.forEach(rows: Int(resamples), width: count, { _, _ in generator.next(below: bound) }) {
      draws in
      for cell in cells.indices {
        switch statistic {
        case .mean: draws.appendMeans(of: cells[cell], to: &values[cell])
        case .median: draws.appendMedians(of: ranked[cell], to: &values[cell])
        }
      }
    }
    let tail = (1 - confidence) / 2
    return values.map { values in
      let sorted = values.sorted()
      let interval = CellStatistics.Interval(
        lower: quantile(tail, ofSorted: sorted), upper: quantile(1 - tail, ofSorted: sorted))
      return interval.lower.isFinite && interval.upper.isFinite ? interval : nil
    }
  }

  /// Under the hypothesis that every effect is symmetric about 0, all patterns of signs are equally
  /// likely (Fisher 1935, "The design of experiments", section 21). A p-value is the share of
  /// patterns whose mean is at least as far out as the observed one. 12 effects or fewer: of all 2ⁿ. More: of
  /// `permutations` drawn ones and the observed one (Phipson and Smyth 2010, "Permutation p-values
  /// should never be zero").
  private func pValues(_ cells: [[Double]], count: Int) -> [Double?] {
    let isExact = count < Resampling.fewestSampled
    let patterns = isExact ? 1 << count : Int(permutations)
    guard patterns > 0 else { return cells.map { _ in nil } }
    var generator = MersenneTwister(seed: seed, labels: ["permutation"])
    let flip = UInt32(count)
    // Index i stands for an effect, index n + i for its negative.
    let signed = cells.map { $0 + $0.map(-) }
    let tests = cells.map {
      SignTest(observed: CellStatistics.mean(of: $0), alternative: alternative)
    }
    var hits = [Int](repeating: 0, count: cells.count)
    var means: [Double] = []
    Draws.forEach(
      rows: patterns, width: count,
      { row, index in
        let isPositive = isExact ? row >> index & 1 == 0 : generator.next(below: 2) == 1
        return UInt32(index) + (isPositive ? 0 : flip)
      },
      { draws in
        for cell in cells.indices {
          means.removeAll(keepingCapacity: true)
          draws.appendMeans(of: signed[cell], to: &means)
          hits[cell] += means.count(where: tests[cell].isHit)
        }
      })
    return hits.map {
      isExact ? Double($0) / Double(patterns) : Double($0 + 1) / Double(patterns + 1)
    }
  }
}

/// Whether a mean is as far out as the observed one. A mean that differs from it by a relative
/// 100 ε counts as equal: sums of the same numbers differ by rounding.
private struct SignTest {
  let observed: Double
  let alternative: Resampling.Alternative

  func isHit(_ mean: Double) -> Bool {
    let tolerance = abs(observed) * (100 * Double.ulpOfOne)
    return switch alternative {
    case .twoSided: abs(mean) >= abs(observed) - tolerance
    case .greater: mean >= observed - tolerance
    case .less: mean <= observed + tolerance
    }
  }
}

/// The quantile of sorted values by linear interpolation between the two nearest ranks (Hyndman and
/// Fan 1996, "Sample quantiles in statistical packages", type 7), as `torch.quantile` computes it.
private func quantile(_ q: Double, ofSorted values: [Double]) -> Double {
  let rank = q * Double(values.count - 1)
  let below = values[Int(rank)]
  let above = values[Int(rank.rounded(.up))]
  let weight = rank - rank.rounded(.down)
  return weight < 0.5
    ? below + weight * (above - below) : above - (above - below) * (1 - weight)
}

/// Values with their places in sorted order.
private struct RankedValues {
  var sorted: [Double] = []
  /// By value, its place in `sorted`.
  var ranks: [Int]

  init(_ values: [Double]) {
    ranks = [Int](repeating: 0, count: values.count)
    for (rank, index) in values.indices.sorted(by: { values[$0] < values[$1] }).enumerated() {
      ranks[index] = rank
      sorted.append(values[index])
    }
  }
}

/// Some rows of a table of drawn indices.
private struct Draws {
  private let rows: Int
  private let width: Int
  /// [width, rows], so that all rows are summed in step, each in the order of its indices.
  private var indices: [UInt32]

  /// Draws a table of indices, row by row, and hands it on in parts that caches hold.
  ///
  /// - Parameter draw: the index at a row and a column; called in their order, columns fastest.
  static func forEach(
    rows: Int, width: Int, _ draw: (Int, Int) -> UInt32, _ use: (Draws) -> Void
  ) {
    let most = max(1, min(rows, 256, 65_536 / width))
    for first in stride(from: 0, to: rows, by: most) {
      let count = min(most, rows - first)
      var draws = Draws(
        rows: count, width: width, indices: [UInt32](repeating: 0, count: count * width))
      for row in 0..<count {
        for column in 0..<width { draws.indices[column * count + row] = draw(first + row, column) }
      }
      use(draws)
    }
  }

  /// Appends the mean of the values that each row names.
  func appendMeans(of values: [Double], to means: inout [Double]) {
    let first = means.count
    means.append(contentsOf: repeatElement(0, count: rows))
    means.withUnsafeMutableBufferPointer { means in
      let sums = UnsafeMutableBufferPointer(rebasing: means[first...])
      values.withUnsafeBufferPointer { values in
        indices.withUnsafeBufferPointer { indices in
          for column in 0..<width {
            let start = column * rows
            for row in 0..<rows { sums[row] += values[Int(indices[start + row])] }
          }
        }
      }
      for row in 0..<rows { sums[row] /= Double(width) }
    }
  }

  /// Appends the median of the values that each row names: the first value, from the smallest on,
  /// with which more than half of the row is counted.
  func appendMedians(of values: RankedValues, to medians: inout [Double]) {
    let half = CellStatistics.middle(of: width)
    var counts = [Int](repeating: 0, count: width)
    for row in 0..<rows {
      for index in counts.indices { counts[index] = 0 }
      for column in 0..<width { counts[values.ranks[Int(indices[column * rows + row])]] += 1 }
      var (rank, counted) = (0, counts[0])
      while counted <= half {
        rank += 1
        counted += counts[rank]
      }
      medians.append(values.sorted[rank])
    }
  }
}
