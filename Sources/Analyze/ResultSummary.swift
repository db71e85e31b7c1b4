import Terminal

/// A result without its arrays.
struct ResultSummary: Encodable {
  struct Sweep: Encodable {
    let hook: String
    let metric: String
    let source: String
    let window: Int
    let position: Int?
    let axes: [String]
    let shape: [Int]
    let cells: Int
    /// The fewest and the most pairs that a cell has.
    let fewestPairs, mostPairs: Int
    /// The largest effect, of either sign, and its cell; nil where no cell has any effect.
    let largestEffect: Double?
    let largestCell: String?
    /// How many cells have a q-value, and how many have one of at most 0.05.
    let tested, discoveries: Int
    let seconds: Double

    init(_ sweep: PatchFile.Sweep) {
      hook = sweep.hook
      metric = sweep.metricName
      source = sweep.source
      window = sweep.window
      position = sweep.position
      axes = sweep.axes
      shape = sweep.shape
      cells = sweep.cellCount
      fewestPairs = sweep.pairs.min() ?? 0
      mostPairs = sweep.pairs.max() ?? 0
      let largest = rankedCells(sweep.effect, count: 1).first
      largestEffect = largest.flatMap { sweep.effect[$0] }
      largestCell = largest.map { sweep.cell($0).name }
      let q = sweep.difference.q.compactMap { $0 }
      tested = q.count
      discoveries = q.count { $0 <= ResultSummary.level }
      seconds = sweep.seconds
    }
  }

  /// The false discovery rate up to which a cell counts as a discovery.
  static let level = 0.05

  let directory, tool, direction, normalisation, fdr, kernel: String
  let cache: PatchFile.Identity
  let warnings: [String]
  let pairs: Int
  let metrics: [String: PatchFile.Means]
  let sweeps: [Sweep]
  /// The cells of a list, if one was asked for.
  let cells: [CellFacts]?

  init(_ file: PatchFile, directory: String, cells: [CellFacts]?) {
    self.directory = directory
    tool = file.tool
    direction = file.direction
    normalisation = file.normalisation
    fdr = file.fdr
    kernel = file.kernel
    cache = file.cache
    warnings = file.warnings
    pairs = file.pairs.count
    metrics = file.metrics
    sweeps = file.sweeps.map(Sweep.init)
    self.cells = cells
  }
}

// In words.

extension PatchFile {
  private var metricNames: [String] {
    sweeps.isEmpty ? [metric] : unique(sweeps.map(\.metricName))
  }

  func heading(_ style: Style) -> [String] {
    let names = metricNames
    var lines = [
      style.bold(
        "\(names.map(shown).joined(separator: ", ")) of \(counted(pairs.count, "pair")), "
          + shown(direction))
        + "  (weights \(shown(cache.weightProcessing)), \(shown(kernel)) kernels, \(shown(tool)))"
    ]
    for name in names {
      func mean(_ value: Double?) -> String { value.map { signed($0, 4) } ?? "none" }
      let means = metrics[name]
      lines.append(
        (names.count > 1 ? "\(shown(name)): " : "")
          + "clean \(mean(means?.clean))   corrupted \(mean(means?.corrupted))   "
          + "effect = \(shown(normalisation))")
    }
    lines.append("cache \(shown(cache.directory)), plan \(shown(String(cache.plan.prefix(12))))")
    return lines + warnings.map(shown)
  }

  /// One line a sweep and metric.
  func table() -> Table {
    let namesMetric = metricNames.count > 1
    let texts: [Table.Alignment] = namesMetric ? [.left, .left, .left] : [.left, .left]
    var table = Table(texts + [.right, .right, .right, .left, .right, .right])
    table.add(
      (namesMetric ? ["hook", "metric"] : ["hook"]) + [
        "axes", "cells", "pairs", "largest effect", "at",
        "q ≤ \(ResultSummary.level) (\(shown(fdr)))",
        "seconds",
      ])
    for entry in sweeps {
      let sweep = ResultSummary.Sweep(entry)
      let names = namesMetric ? [shown(sweep.hook), shown(sweep.metric)] : [shown(sweep.hook)]
      table.add(
        names + [
          entry.axesText, grouped(sweep.cells),
          sweep.fewestPairs == sweep.mostPairs
            ? grouped(sweep.mostPairs) : "\(sweep.fewestPairs)-\(sweep.mostPairs)",
          sweep.largestEffect.map { signed($0, 4) } ?? "none", sweep.largestCell ?? "",
          "\(grouped(sweep.discoveries)) of \(grouped(sweep.tested))",
          significant(sweep.seconds, 3),
        ])
    }
    return table
  }
}
