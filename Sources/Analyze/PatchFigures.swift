import CacheFormat
import FileIO
import Model
import Patching
import Terminal

/// The sweeps of a report as pictures: an SVG file each, and all of them on one page.
struct PatchFigures {
  /// One sweep and metric.
  struct Figure {
    /// The number of the sweep, and of the metric, in the report.
    let sweep: Int
    let metric: Int
    let result: SweepResult
    let statistics: SweepStatistics
    let grid: EffectGrid

    /// The cells with the largest effects, that of the largest first; none without effect.
    func largest(_ count: Int) -> [Int] { rankedCells(grid.effects, count: count) }
  }

  let report: PatchReport
  let prompts: [Prompt]
  let figures: [Figure]
  /// How many cells tables of the largest ones have.
  let top: Int
  /// Of all pairs together.
  let tokens: TokenLabels

  init(_ report: PatchReport, prompts: [Prompt], top: Int) {
    self.report = report
    self.prompts = prompts
    self.top = top
    let tokens = TokenLabels(report.selection.pairs, prompts: prompts)
    self.tokens = tokens
    figures = report.results.enumerated().flatMap { sweep, results in
      results.enumerated().map { metric, result in
        Figure(
          sweep: sweep, metric: metric, result: result,
          statistics: report.statistics[sweep][metric],
          grid: EffectGrid(result, tokens: tokens))
      }
    }
  }

  /// Writes `patch.html` and an SVG a sweep and metric into a directory that is there, each file
  /// whole or not at all.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    for figure in figures {
      let svg = svg(of: figure).file(heading: heading(of: figure))
      try replaceFile("\(directory)/\(fileName(of: figure))", with: Array(svg.utf8))
    }
    try replaceFile(directory + "/patch.html", with: Array(try PatchPage(self).html().utf8))
  }

  /// Such as `resid_pre.svg`.
  func fileName(of figure: Figure) -> String { report.fileName(of: figure.result) + ".svg" }

  /// The hook, what is swept, the metric and the direction.
  func title(of figure: Figure) -> [String] {
    [figure.result.sweep.name] + report.titleParts(of: figure.result)
      + [figure.result.metric, report.direction.rawValue]
  }

  /// - Parameter labels: texts that may stand above the columns in place of the tokens.
  func svg(of figure: Figure, labels: [String] = []) -> HeatmapSVG {
    let grid = figure.grid
    var description = "A heatmap of \(counted(grid.effects.count, "effect")): "
    description +=
      "\(counted(grid.rows.count, "row")), \(counted(grid.columns.count, "column")). "
    description +=
      figure.largest(3).map { "\(grid.names[$0]): \(signed(grid.effects[$0] ?? .nan, 4))" }
      .joined(separator: "; ")
    description += ". Cache plan \(report.cache.planDigest)."
    let pairs = counted(report.selection.pairs.count, "pair")
    return HeatmapSVG(
      grid, title: (title(of: figure) + [pairs]).joined(separator: ", "),
      description: description, labels: labels)
  }

  /// The number of a pair in the prompt file, and its name if it has one.
  func pairName(_ number: Int) -> String {
    let selection = report.selection
    return "\(selection.numbers[number])"
      + (selection.pairs[number].id.map { "  \(printable(visible($0)))" } ?? "")
  }

  private func heading(of figure: Figure) -> [String] {
    let baselines = report.baselines[figure.metric]
    var lines = [
      title(of: figure).joined(separator: ", "),
      "\(counted(baselines.count, "pair")), "
        + "\(report.cache.plan.model.name), weights \(report.cache.plan.weights)",
      report.runs(baselines).map { "\($0) \(signed($1, 4))" }.joined(separator: "   "),
      "effect = \(report.formula)",
    ]
    if figure.grid.tokens != nil, let note = tokenNote { lines.append(note) }
    return lines
  }

  /// What the writing of the tokens means.
  var tokenNote: String? {
    guard !tokens.texts.isEmpty else {
      return "Pairs have different lengths: positions have no common tokens."
    }
    var notes: [String] = []
    if tokens.differs.contains(true) { notes.append("bold: clean and corrupted prompt differ") }
    if tokens.varies.contains(true) {
      notes.append("italic: the first pair's token, others have another")
    }
    return notes.isEmpty ? nil : "Tokens " + notes.joined(separator: "; ")
  }
}
