import Model
import Patching
import Reading
import Terminal

/// What patches do, from whole positions to paths between heads.
extension ReportPage {
  private var effect: String {
    switch study.options.direction {
    case .denoise:
      "An activation of the clean run is put into the corrupted one: 0 is no effect, and 1 brings the clean "
        + "answer back. "
    case .noise:
      "An activation of the corrupted run is put into the clean one: 0 is no harm, and -1 gives the answer of "
        + "the corrupted run. "
    }
  }

  var streamSection: Section {
    Section(
      id: "patching", title: "Patching", note: "by \(task.axis == .role ? "role" : "position")",
      body: pageText(
        effect
          + "resid_pre shows where in the sentence the answer stands at each layer; attn_out and "
          + "mlp_out show which branch has moved or made it. " + task.axisReason)
        + sweeps(study.stream))
  }

  var headSection: Section {
    Section(
      id: "heads", title: "Heads", note: "all positions",
      body: pageText(
        effect
          + "z is all that a head writes; q, k and v are what it attends from, to, and carries; "
          + "pattern is where it attends. Where pattern has the effect that z has, a head matters by where "
          + "it looks; where v has it, by what it finds there.")
        + sweeps(study.insides))
  }

  private func sweeps(_ part: Part<Study.Sweeps>) -> String {
    switch part {
    case .failure(let reason): return leftOut(reason)
    case .success(let sweeps):
      return pageParts(figures(of: sweeps.report))
        + pageNotes(sweeps.missing + [sweeps.report.caution])
        + pageCommands([sweeps.report.command])
    }
  }

  /// A picture and a table of the largest effects for each sweep.
  private func figures(of report: PatchReport) -> [String] {
    let figures = PatchFigures(report, prompts: study.opened.prompts, top: study.options.top)
    return figures.figures.map { figure in
      let title = figures.title(of: figure)
      let svg = figures.svg(of: figure).element(id: "map-\(report.fileName(of: figure.result))")
      var notes = report.notes(onSweep: figure.sweep)
      if figure.grid.tokens != nil, let note = figures.tokenNote { notes.append(note) }
      return pageTitle(title[0], title.dropFirst().joined(separator: ", ")) + pageFigure(svg)
        + figures.table(of: figure) + pageNotes(notes)
    }
  }

  var pathSection: Section {
    var body = pageText(
      effect
        + "Here only what a head says to the logits directly counts, through MLPs but no other head. "
        + "For the heads that are found so, paths to their queries show who tells them where to look, and "
        + "paths to their values who puts there what they carry.")
    body += pageTitle("Heads to the logits")
    var commands: [[String]] = []
    func add(_ parts: [Part<PatchReport>]) {
      let reports = parts.compactMap(\.value)
      // What stops the queries stops the values.
      if case .failure(let reason)? = parts.first { body += leftOut(reason) }
      body += pageParts(reports.flatMap(figures))
      commands += reports.map(\.command)
    }
    add([study.toLogits])
    if study.toLogits.value != nil {
      let names = study.receivers.map(\.description).joined(separator: ", ")
      body += pageTitle("Heads to the queries and values of the heads found")
      if !names.isEmpty {
        body += pageText(
          "Receivers, together: \(names). Of the heads behind layer 0 these are those whose clear effect on the "
            + "logits has the sign of the largest one and at least a fifth of its size, "
            + "\(study.options.top) at the most.")
      }
      add([study.toQueries, study.toValues])
    }
    return Section(id: "paths", title: "Paths", body: body + pageCommands(commands))
  }

  var circuitSection: Section {
    let id = "circuit"
    let title = "Circuit"
    switch study.circuit {
    case nil:
      return Section(
        id: id, title: title,
        body: pageText(
          "No circuit was given. Write the heads that you hold responsible into a file, with a line such as "
            + "class,layer,head,pos above them, and give it with --circuit FILE: this part then tests whether "
            + "they are faithful, complete and minimal."))
    case .failure(let reason): return Section(id: id, title: title, body: leftOut(reason))
    case .success(let report):
      return Section(id: id, title: title, note: shown(report.path), body: body(of: report))
    }
  }

  private func body(of report: CircuitReport) -> String {
    let result = report.result
    var text = pageText(
      "F is the mean \(result.metric) of the clean prompts: F(M) of the model, F(C) of the circuit alone, in "
        + "which every other head's z is \(report.sourceText). A faithful circuit has F(C) near F(M); a "
        + "complete one stays near the model without any set K of its heads, on the line of the picture; in "
        + "a minimal one every head has a score that is not near 0.")
    text += pageTiles([
      ("F(M)", signed(result.fModel, 4)), ("F(C)", signed(result.fCircuit, 4)),
      ("unfaithfulness |F(M) - F(C)|", fixed(result.unfaithfulness, 4)),
      ("F(C) / F(M)", result.share.map { fixed($0, 4) } ?? "undefined"),
    ])
    let minimality = pageTable(
      "Minimality: |F(C\\(K+v)) - F(C\\K)| / |F(M)|",
      ["v", "class", "at", "F(C\\K)", "F(C\\(K+v))", "score", "± s.e.", "K"],
      result.minimality.map { test in
        [
          test.head, shown(test.class),
          test.pos.isEmpty ? "all positions" : test.pos.map(shown).joined(separator: " "),
          signed(test.circuitWithoutK, 4), signed(test.circuitWithoutKAndV, 4),
          error(test.score), error(test.standardError), test.k.joined(separator: " "),
        ]
      })
    let completeness = foldedTable(
      "Completeness: |F(C\\K) - F(M\\K)|", ["K", "heads", "F(M\\K)", "F(C\\K)", "difference"],
      result.completeness.map { test in
        [
          shown(test.name), test.k.joined(separator: " "), signed(test.modelWithoutK, 4),
          signed(test.circuitWithoutK, 4), fixed(test.difference, 4),
        ]
      })
    text += minimality
    text += pageParts([
      pageFigure(report.completenessPicture.element(id: "completeness")), completeness,
    ])
    return text + pageCommands([result.command])
  }

  var glanceSection: Section {
    let (lists, heads) = (study.lists, study.config.heads)
    let tops = lists.map { $0.top(study.options.top) }
    let found = Set(tops.joined())
    let lead = lists.first { $0.name == "z" } ?? lists.first { $0.name == "attribution" }
    let ranked = found.sorted {
      (-abs(lead?.values[$0] ?? 0), $0) < (-abs(lead?.values[$1] ?? 0), $1)
    }
    let columns = lists.indices.filter { lists[$0].isColumn }
    let rows = ranked.map { head in
      ["\(head / heads).\(head % heads)"]
        + columns.map { lists[$0].text(of: head) }
        + [
          lists.indices.filter { tops[$0].contains(head) }.map { lists[$0].name }
            .joined(separator: ", ")
        ]
    }
    let text = pageText(
      "Every head that is among the \(study.options.top) largest of some part above, of either sign; numbers "
        + "that are so are bold. Of attributions only those count that are at least two standard errors from "
        + "0, and of patches those with q up to \(significant(HeadList.largestQ)), if there are more than "
        + "\(HeadList.tooFewPairs) pairs. Attribution is in units of logits, z and paths are effects of "
        + "patches, the three patterns shares of attention, and copying is the share of answers that a head's "
        + "OV matrix puts among its \(study.scores.copying?.top ?? 5) largest logits.")
    let table =
      rows.isEmpty
      ? "<p>No part has any head.</p>\n"
      : pageTable(
        "Heads at a glance", ["head"] + columns.map { lists[$0].name } + ["among the largest in"],
        rows
      ) { row, column in
        column > 0 && column <= columns.count
          && tops[columns[column - 1]].contains(ranked[row])
      }
    return Section(
      id: "glance", title: "Heads at a glance",
      body: text + "<div class=\"glance\">\n\(table)</div>\n"
        + pageCommands([study.scores.command]))
  }
}
