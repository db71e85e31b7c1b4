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
  /// - Parameter answers: texts of the pairs' answers.
  /// - Throws: `FileError`.
  func write(to directory: String, answers: [Int32: String]) throws {
    for figure in figures {
      let svg = svg(of: figure).file(heading: heading(of: figure))
      try replaceFile("\(directory)/\(fileName(of: figure))", with: Array(svg.utf8))
    }
    try replaceFile(
      directory + "/patch.html", with: Array(try PatchPage(self, answers: answers).html().utf8))
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

  /// The largest effects as a table of a page; a sentence if there are none, nothing if none are asked for.
  func table(of figure: Figure) -> String {
    guard top > 0 else { return "" }
    let cells = figure.largest(top)
    guard !cells.isEmpty else { return "<p>\(escaped(noEffect(figure.grid.effects))).</p>\n" }
    let rows = cells.map { cell in
      let numbers = [
        signed(figure.grid.effects[cell] ?? .nan, 4),
        figure.result.meanPatched(cell: cell).map { signed($0, 4) } ?? "",
        figure.statistics.cells[cell].standardError.map { fixed($0, 4) } ?? "",
        figure.statistics.q[cell].map { $0 < 0.0001 ? "<.0001" : fixed($0, 4) } ?? "",
      ]
      return
        "<tr data-cell=\"\(cell)\"><th scope=\"row\">\(escaped(shortened(figure.grid.names[cell], to: 44)))</th>"
        + numbers.map { "<td>\(escaped($0))</td>" }.joined() + "</tr>\n"
    }
    return """
      <div class="scroll"><table>
      <caption>The largest effects</caption>
      <thead><tr><th scope="col">cell</th><th scope="col">effect</th>\
      <th scope="col">patched \(escaped(figure.result.metric))</th>\
      <th scope="col">± s.e.</th><th scope="col">q</th></tr></thead>
      <tbody>
      \(rows.joined())</tbody>
      </table></div>

      """
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
