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
      let what = "Logit lens: \(table.quantity) after each half block"
      return "<h3>\(escaped(what))</h3>\n"
        + pageFigure(
          bars(of: table, x: "stream, accumulated", title: what).element(id: "lens-bars"))
        + foldedTable(
          "Logit lens", ["stream", "mean \(table.quantity)", "± s.e."]
            + tables.dropFirst().map { "mean \($0.quantity)" },
          table.rows.indices.map { row in
            [
              table.rows[row], number(table.mean(row: row, column: 0)),
              error(table.standardErrors[row * table.columns.count]),
            ]
              + tables.dropFirst().map { other in
                other.mean(row: row, column: 0).map { significant($0, 5) } ?? ""
              }
          }) + pageNotes(report.warnings)
    }
  }

  private func bars(of table: ReadingTable, x: String, title: String) -> BarsSVG {
    BarsSVG(
      bars: table.rows.indices.map { row in
        let cell = row * table.columns.count
        return .init(
          label: table.rows[row], values: [table.means[cell]], error: table.standardErrors[cell])
      }, series: [table.quantity], x: x, y: table.quantity, title: title)
  }

  private func layers(_ report: ReadingReport) -> String {
    let tables = report.parts.map(\.table)
    guard let table = tables.first else { return "" }
    let what = "Attribution by layer: what embeddings, attention and MLPs add"
    func rows(_ table: ReadingTable) -> [[String]] {
      table.rows.indices.map { row in
        let cell = row * table.columns.count
        return [table.rows[row], number(table.means[cell]), error(table.standardErrors[cell])]
      }
    }
    let sums = tables.dropFirst().flatMap(rows)
    return "<h3>\(escaped(what))</h3>\n"
      + pageFigure(bars(of: table, x: "part", title: what).element(id: "layers-bars"))
      + foldedTable(
        "By layer", ["part", "mean \(table.quantity)", "± s.e."], rows(table) + sums)
      + pageNotes(["The parts and the constant, the biases of ln_final and of the unembedding, add up."])
  }

  private func heads(_ report: ReadingReport) -> String {
    guard let part = report.parts.first, let heads = part.heads else { return "" }
    let table = part.table
    let what = "Attribution by head"
    let grid = report.headGrid(of: part, column: 0, heads: heads)
    let ranked = rankedCells(grid.effects, count: study.options.top)
    let rest = table.rows.lastIndex(of: "remainder").map { [$0] } ?? []
    return "<h3>\(what)</h3>\n"
      + pageFigure(
        report.heatmap(grid, title: "\(what), \(table.quantity)").element(id: "heads-map"),
        after: pageTable(
          "The largest", ["head", "mean \(table.quantity)", "± s.e."],
          (ranked + rest).map { row in
            [
              table.rows[row], number(table.means[row]), error(table.standardErrors[row]),
            ]
          }))
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
    body += "<h3>Detection scores of all heads</h3>\n"
    body += pageText(
      "The share of a head's attention that goes where a previous-token, duplicate-token or induction head "
        + "would look; the first token takes what heads have no use for, so that shares are often small.")
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
      let facts = study.lists.filter(\.isLead).compactMap { list in
        list.values[index].map { "\(list.name) \(signed($0, 4))" }
      }
      return "<div class=\"part\"><h3>L\(head.layer) H\(head.head) "
        + "<span>\(escaped(facts.joined(separator: ", ")))</span></h3>\n"
        + pageFigure(
          picture.element(),
          caption: AttentionWeights(pattern, positions: tokens.count).lastRow(tokens: tokens))
        + "</div>\n"
    }
    return "<div class=\"parts\">\n\(figures.joined())</div>\n"
  }

  private func detection(_ report: ReadingReport) -> String {
    guard let part = report.parts.first, let heads = part.heads else { return "" }
    let table = part.table
    var ranked: [[String]] = []
    var figures = ""
    for (column, name) in table.columns.enumerated() {
      var grid = report.headGrid(of: part, column: column, heads: heads)
      grid.quantity = "share"
      let short = HeadList.shortName(ofPattern: name)
      figures +=
        "<div class=\"part\"><h3>\(escaped(short))</h3>\n"
        + pageFigure(
          report.heatmap(grid, title: "\(short), detection scores")
            .element(id: "detection-\(column)")) + "</div>\n"
      ranked.append(
        rankedCells(grid.effects, count: study.options.top).map {
          "\(table.rows[$0])  \(fixed(grid.effects[$0] ?? .nan, 4))"
        })
    }
    let rows = (0..<(ranked.map(\.count).max() ?? 0)).map { rank in
      ["\(rank + 1)"] + ranked.map { $0.indices.contains(rank) ? $0[rank] : "" }
    }
    return "<div class=\"parts\">\n\(figures)</div>\n"
      + pageTable(
        "The largest", [""] + table.columns.map(HeadList.shortName(ofPattern:)), rows)
      + pageNotes(report.warnings + report.notes)
  }
}
