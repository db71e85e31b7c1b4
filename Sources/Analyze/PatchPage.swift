import CacheFormat
import FoundationEssentials
import Model
import Patching
import Terminal

/// All figures of a report on one page that needs nothing else: no network, and no script for all
/// pairs together. The script shows one figure at a time, the values under the pointer, and pairs by
/// themselves.
struct PatchPage {
  private let all: PatchFigures
  /// Texts of the pairs' answers.
  private let answers: [Int32: String]
  private let attention: AttentionSection
  private var report: PatchReport { all.report }
  private var charts: PatchCharts { PatchCharts(figures: all) }

  /// The most effects and tokens of single pairs that a page carries.
  static let mostPairValues = 200_000

  init(_ figures: PatchFigures, answers: [Int32: String]) {
    all = figures
    self.answers = answers
    attention = AttentionSection(figures)
  }

  func html() throws -> String {
    let data = data()
    let body = """
      \(header)<main>
      \(controls(data))\(sections(data))\(attention.html)</main>
      \(footer(data))<div id="tip" role="status" hidden></div>
      <script type="application/json" id="data">\(try embedded(data))</script>
      <script>
      \(PageAssets.script)</script>

      """
    return pageDocument(title: pageTitle, style: PageAssets.style, body: body, hasScript: true)
  }

  private var pageTitle: String {
    let what =
      report.direction == .ablate
      ? "Ablation" : "Activation patching, \(report.direction.rawValue)"
    return "\(what): \(report.metrics.joined(separator: ", "))"
  }

  // The parts.

  private var header: String {
    let plan = report.cache.plan
    let facts = [
      plan.model.name, counted(report.selection.pairs.count, "pair"), report.direction.rawValue,
      "weights \(plan.weights)", "\(Linear.arithmetic) kernels",
    ]
    var text = "<header>\n<h1>\(escaped(pageTitle))</h1>\n"
    text += "<p class=\"facts\">\(facts.map { "<span>\(escaped($0))</span>" }.joined())</p>\n"
    if !report.warnings.isEmpty {
      let items = report.warnings.map { "<li>\(escaped($0))</li>\n" }.joined()
      text += "<aside class=\"warnings\" aria-label=\"Warnings\"><ul>\n\(items)</ul></aside>\n"
    }
    return text + "</header>\n"
  }

  private func controls(_ data: Content) -> String {
    let sweeps = report.results.compactMap(\.first).map { result in
      let axes = result.sweep.axisNames.joined(separator: " × ")
      return result.sweep.name + (axes.isEmpty ? "" : "  \(axes)")
    }
    return "<form id=\"controls\" class=\"controls\" hidden>\n" + chooser("sweep", "Sweep", sweeps)
      + chooser("metric", "Metric", report.metrics)
      + "<label>Pairs <select id=\"pair\"><option value=\"\">"
      + "all \(data.pairs.count), ratio of means</option></select></label>\n"
      + "<span id=\"steps\"><button type=\"button\" id=\"previous\" aria-label=\"Previous pair\">"
      + "‹</button><button type=\"button\" id=\"next\" aria-label=\"Next pair\">›</button></span>\n"
      + "</form>\n"
  }

  private func sections(_ data: Content) -> String {
    let labels = data.pairs.flatMap { $0.tokens?.texts ?? [] }
    return all.figures.indices.map { section($0, labels: labels) }.joined() + charts.branches()
  }

  /// - Parameter labels: the texts of every pair's tokens.
  private func section(_ number: Int, labels: [String]) -> String {
    let figure = all.figures[number]
    let title = all.title(of: figure)
    let formula = report.formula.split(separator: ",", maxSplits: 1).map { escaped(String($0)) }
    let baselines = report.baselines[figure.metric]
    var runs = report.runs(baselines)
    if runs.count == 2 { runs.append(("gap", runs[0].1 - runs[1].1)) }
    func tile(_ name: String, _ value: Double) -> String {
      "<div><dt>\(name)</dt><dd class=\"\(name)\">\(signed(value, 4))</dd></div>\n"
    }
    var notes = report.notes(onSweep: figure.sweep).map { "<li>\(escaped($0))</li>\n" }
    if figure.grid.tokens != nil, let note = all.tokenNote {
      notes.append("<li class=\"mean\">\(escaped(note))</li>\n")
    }
    let noteLines = notes.joined()
    return """
      <section data-figure="\(number)" aria-labelledby="h\(number)">
      <h2 id="h\(number)">\(escaped(title[0])) <span>\
      \(escaped(title.dropFirst().joined(separator: ", ")))<span class="mean">, \
      \(counted(report.selection.pairs.count, "pair"))</span></span></h2>
      <dl class="baselines">
      \(runs.map(tile).joined())\
      <div class="formula"><dt>effect</dt><dd>\(formula[0])<span class="mean">,\
      \(formula.dropFirst().joined())</span></dd></div>
      </dl>
      <div class="prompts" hidden></div>
      <figure>
      <div class="scroll">
      \(all.svg(of: figure, labels: labels).element(id: "f\(number)"))</div>
      </figure>
      \(noteLines.isEmpty ? "" : "<ul class=\"notes\">\n\(noteLines)</ul>\n")\
      \(all.table(of: figure))\(charts.html(of: figure, id: "c\(number)"))</section>

      """
  }

  private func footer(_ data: Content) -> String {
    let plan = report.cache.plan
    let facts = [
      ("command", report.command.map(shellWord).joined(separator: " ")),
      ("tool", "\(toolVersion), \(Linear.arithmetic) kernels"),
      ("cache", "\(report.cache.directory), captured with \(plan.kernel) kernels"),
      ("cache plan", report.cache.planDigest), ("weights", plan.model.weightsDigest),
      ("tokenizer", plan.model.tokenizerDigest), ("prompt file", plan.promptFileDigest),
    ]
    var lines = [report.caution, PatchReport.statisticsNote]
    if data.sweeps.contains(where: { $0.own == nil }) {
      lines.append(
        "Single pairs are left out of sweeps of more than \(grouped(PatchPage.mostPairValues)) "
          + "values in all; they stand in cells.csv.")
    }
    let words = lines.map { "<p>\(escaped($0))</p>\n" }.joined()
    return "<footer>\n\(words)\(pageFacts(facts))</footer>\n"
  }

  // What the script reads.

  private struct Content: Encodable {
    let strongFrom: Double
    let smallestScale: Double
    let top: Int
    let tokens: [String]
    let sweeps: [Sweep]
    let pairs: [Pair]
    let attention: AttentionSection.Content?
  }

  /// Of a figure.
  private struct Sweep: Encodable {
    let sweep, metric: Int
    /// The sweep's axes and their lengths; cells run through them, the last one fastest.
    let axes: [String]
    let shape: [Int]
    let columns: Int
    /// The names of the layers that were swept.
    let layers: [String]
    /// The positions that are patched, where the sweep has no axis of them; else empty.
    let place: String
    /// The names of the places on axes that have names.
    let labels: [String: [String]]
    let effect, patched, error, q: [Double?]
    let count: [Int]
    /// The effects on each pair by itself, or nil if they are too many.
    let own: [[Double?]]?
  }

  private struct Pair: Encodable {
    let name: String
    /// By metric, clean and corrupted.
    let baselines: [[Double?]]
    /// nil for all if no sweep has effects on single pairs.
    let clean, corrupted, answer, wrong: String?
    let tokens: TokenLabels?
  }

  private func data() -> Content {
    let selection = report.selection
    var budget = PatchPage.mostPairValues
    budget -= selection.pairs.reduce(0) { $0 + all.prompts[$1.clean].tokens.count }
    var sweeps: [Sweep] = []
    for figure in all.figures {
      let count = figure.result.cells.count * selection.pairs.count
      let fits = count <= budget
      if fits { budget -= count }
      sweeps.append(sweep(figure, withPairs: fits))
    }
    let hasPairs = sweeps.contains { $0.own != nil }
    let pairs = selection.pairs.enumerated().map { number, pair in
      Pair(
        name: all.pairName(number),
        baselines: report.baselines.map {
          [finite(Double($0[number].clean)), finite(Double($0[number].corrupted))]
        },
        clean: hasPairs ? printable(all.prompts[pair.clean].text) : nil,
        corrupted: hasPairs && report.direction != .ablate
          ? printable(all.prompts[pair.corrupted].text) : nil,
        answer: hasPairs ? text(of: pair.answer) : nil,
        wrong: hasPairs ? text(of: pair.wrongAnswer) : nil,
        tokens: hasPairs ? TokenLabels(pair, prompts: all.prompts) : nil)
    }
    return Content(
      strongFrom: Palette.strongFrom, smallestScale: EffectGrid.smallestScale, top: all.top,
      tokens: all.tokens.texts, sweeps: sweeps, pairs: hasPairs ? pairs : [],
      attention: attention.data)
  }

  private func sweep(_ figure: PatchFigures.Figure, withPairs: Bool) -> Sweep {
    let result = figure.result
    let cells = result.cells.indices
    return Sweep(
      sweep: figure.sweep, metric: figure.metric,
      axes: result.sweep.axisNames, shape: result.shape, columns: figure.grid.columns.count,
      layers: result.sweep.layers.map { "L\($0)" },
      place: result.sweep.axis.hasPositions
        || result.sweep.axis == .list ? "" : result.sweep.placeText,
      labels: result.sweep.axisLabels,
      effect: figure.grid.effects.map(finite),
      patched: cells.map { finite(result.meanPatched(cell: $0)) },
      error: figure.statistics.cells.map { finite($0.standardError) },
      q: figure.statistics.q.map(finite), count: cells.map { result.pairs(of: $0).count },
      own: withPairs
        ? report.selection.pairs.indices.map { pair in
          cells.map { rounded(result.effect(cell: $0, pair: pair)) }
        } : nil)
  }

  private func text(of token: Int32?) -> String? {
    token.map { answers[$0] ?? "token \($0)" }
  }

  /// JSON has no word for NaN and infinity.
  private func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }

  /// Nine digits of what there is much of.
  private func rounded(_ value: Double?) -> Double? {
    finite(value).flatMap { Double(significant($0, 9)) }
  }

  /// The data as JSON that cannot end the element that it stands in.
  private func embedded(_ data: Content) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(data), as: UTF8.self)
    return text.split(separator: "<", omittingEmptySubsequences: false).joined(separator: "\\u003c")
  }
}
