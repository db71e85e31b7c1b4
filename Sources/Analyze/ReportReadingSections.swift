import CacheFormat
import Model
import Patching
import Reading
import Terminal

/// What the cache says without running the model.
extension ReportPage {
  var attributionSection: Section {
    var body = pageText(
      "The logit lens reads the residual stream after every half block as if the model ended there. Direct "
        + "logit attribution splits the last stream into what each part has written to it, and reads each "
        + "part alone: what stands here acts directly, not through later layers.")
    body += lens
    switch study.layers {
    case .failure(let reason): body += leftOut(reason)
    case .success(let report): body += layers(report)
    }
    switch study.heads {
    case .failure(let reason): body += leftOut(reason)
    case .success(let report): body += heads(report)
    }
    let reports = [study.lens, study.layers, study.heads].compactMap(\.value)
    body += pageCommands(reports.map(\.command))
    return Section(
      id: "attribution", title: "Attribution", note: "clean prompts, last position", body: body)
  }

  private var lens: String {
    switch study.lens {
    case .failure(let reason): return leftOut(reason)
    case .success(let report):
      let tables = report.parts.map(\.table)
      guard let table = tables.first else { return "" }
      let rows = table.rows.indices.map { row in
        meanRow(of: table, row)
          + tables.dropFirst().map { other in
            other.mean(row: row, column: 0).map { significant($0, 5) } ?? ""
          }
      }
      return pageTitle("Logit lens: \(table.quantity) after each half block")
        + pageParts([
          pageFigure(bars(of: table, x: "stream").element(id: "lens-bars")),
          foldedTable(
            "Logit lens",
            ["stream", "mean \(table.quantity)", "± s.e."]
              + tables.dropFirst().map { "mean \($0.quantity)" }, rows),
        ]) + pageNotes(report.warnings)
    }
  }

  /// A row's name, mean and standard error.
  private func meanRow(of table: ReadingTable, _ row: Int) -> [String] {
    let cell = row * table.columns.count
    return [table.rows[row], number(table.means[cell]), error(table.standardErrors[cell])]
  }

  private func bars(of table: ReadingTable, x: String) -> BarsSVG {
    BarsSVG(
      bars: table.rows.indices.map { row in
        let cell = row * table.columns.count
        return .init(
          label: table.rows[row], values: [table.means[cell]], error: table.standardErrors[cell])
      }, series: [table.quantity], x: x, y: table.quantity,
      title: "Mean \(table.quantity) by \(x), with standard errors")
  }

  private func layers(_ report: ReadingReport) -> String {
    let tables = report.parts.map(\.table)
    guard let table = tables.first else { return "" }
    let rows = tables.flatMap { table in table.rows.indices.map { meanRow(of: table, $0) } }
    return pageTitle("By layer: what embeddings, attention and MLPs add")
      + pageParts([
        pageFigure(bars(of: table, x: "part").element(id: "layers-bars")),
        foldedTable("By layer", ["part", "mean \(table.quantity)", "± s.e."], rows),
      ])
      + pageNotes(
        [
          "The parts and the constant, which the biases of ln_final and of the unembedding add, are the "
            + "\(table.quantity)."
        ] + report.warnings)
  }

  private func heads(_ report: ReadingReport) -> String {
    guard let part = report.parts.first, let heads = part.heads else { return "" }
    let table = part.table
    let grid = report.headGrid(of: part, column: 0, heads: heads)
    let rows =
      rankedCells(grid.effects, count: study.options.top)
      + (table.rows.lastIndex(of: "remainder").map { [$0] } ?? [])
    return pageTitle("By head")
      + pageParts([
        pageFigure(
          report.heatmap(grid, title: "\(table.quantity) by head").element(id: "heads-map")),
        pageTable(
          "The largest", ["head", "mean \(table.quantity)", "± s.e."],
          rows.map { meanRow(of: table, $0) }),
      ])
  }

  var attentionSection: Section {
    var body = pageText(
      "Each row of a pattern is a query, a position that attends, and shows how its attention is shared out "
        + "among the keys, itself and the positions before it. Shown are the heads that stand out above, on "
        + "the clean prompt of pair \(task.exampleNumber).")
    switch study.patterns {
    case .failure(let reason): body += leftOut(reason)
    case .success(let patterns): body += pictures(patterns)
    }
    body += pageTitle("Detection scores of all heads")
    body += pageText(
      "The share of a head's attention that goes where a previous-token, duplicate-token or induction head "
        + "would look. Many heads rest on the first token where they find nothing, so that shares may be "
        + "small; compare heads with each other.")
    switch study.detection {
    case .failure(let reason): body += leftOut(reason)
    case .success(let report): body += detection(report)
    }
    body += pageCommands(
      [study.patterns.value?.show.command, study.detection.value?.command].compactMap { $0 })
    return Section(id: "attention", title: "Attention", body: body)
  }

  private func pictures(_ patterns: StudyPatterns) -> String {
    let tokens = patterns.prompt.pieces.map(tokenText)
    let figures = zip(patterns.show.heads, patterns.patterns).map { head, pattern in
      let picture = patterns.show.picture(pattern, of: head, patterns.prompt)
      let index = head.layer * study.config.heads + head.head
      let facts = study.lists.filter(\.isLead).map { "\($0.name) \($0.text(of: index))" }
      return pageTitle("L\(head.layer) H\(head.head)", facts.joined(separator: ", "))
        + pageFigure(
          picture.element(),
          caption: AttentionWeights(pattern, positions: tokens.count).lastRow(tokens: tokens))
    }
    return pageParts(figures)
  }

  private func detection(_ report: ReadingReport) -> String {
    guard let part = report.parts.first, let heads = part.heads else { return "" }
    let table = part.table
    var ranked: [[String]] = []
    var figures: [String] = []
    for (column, name) in table.columns.enumerated() {
      var grid = report.headGrid(of: part, column: column, heads: heads)
      grid.quantity = "share"
      let short = HeadList.shortName(ofPattern: name)
      figures.append(
        pageTitle(short)
          + pageFigure(
            report.heatmap(grid, title: "\(short), detection scores")
              .element(id: "detection-\(column)")))
      ranked.append(
        rankedCells(grid.effects, count: study.options.top).map {
          "\(table.rows[$0])  \(fixed(grid.effects[$0] ?? .nan, 4))"
        })
    }
    let rows = (0..<(ranked.map(\.count).max() ?? 0)).map { rank in
      ["\(rank + 1)"] + ranked.map { $0.indices.contains(rank) ? $0[rank] : "" }
    }
    return pageParts(figures)
      + pageTable(
        "The largest", [""] + table.columns.map(HeadList.shortName(ofPattern:)), rows)
      + pageNotes(report.warnings + report.notes)
  }
}
