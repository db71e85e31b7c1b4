import CacheFormat
import Model
import Patching
import Terminal

/// A study as one page that needs nothing else: no network, no script, no other file. It says nothing of
/// the time at which it was made, so that the same study gives the same page.
struct ReportPage {
  let study: Study
  let command: [String]

  /// A part of the page.
  struct Section {
    /// What links lead to.
    let id: String
    let title: String
    /// In a few words, behind the title.
    var note = ""
    /// Markup.
    let body: String
  }

  var task: StudyTask { study.task }
  var plan: CachePlan { study.opened.reader.plan }
  var metric: String { study.options.metric.rawValue }

  func html() -> String {
    let sections = [
      taskSection, baselineSection, attributionSection, streamSection, headSection,
      attentionSection, pathSection, circuitSection, glanceSection,
    ]
    let body = """
      \(header)\(contents(sections))<main>
      \(sections.enumerated().map { markup(of: $1, number: $0 + 1) }.joined())</main>
      \(footer)
      """
    return pageDocument(
      title: title, style: PageAssets.style + ReportAssets.style, body: body, hasScript: false)
  }

  private var title: String {
    study.options.title ?? "A study of \(plan.promptFileName)"
  }

  private var header: String {
    let facts = [
      plan.model.name, counted(task.rows.pairs.count, "row"),
      "\(metric), \(study.options.direction.rawValue)",
      "weights \(plan.weights)", "\(Linear.arithmetic) kernels",
    ]
    var text = "<header>\n<h1>\(escaped(title))</h1>\n"
    text += "<p class=\"facts\">\(facts.map { "<span>\(escaped($0))</span>" }.joined())</p>\n"
    if !warnings.isEmpty {
      let items = warnings.map { "<li>\(escaped($0))</li>\n" }.joined()
      text += "<aside class=\"warnings\" aria-label=\"Warnings\"><ul>\n\(items)</ul></aside>\n"
    }
    return text + "</header>\n"
  }

  /// Of the pairs; those that only some parts have stand there.
  private var warnings: [String] {
    guard let baselines = task.baselines.value, let first = baselines.values.first else {
      return task.rows.leftOut
    }
    return baselines.selection.warnings(
      of: first, metric: metric,
      baselines.hasCorrupted ? study.options.direction.direction : .ablate)
  }

  private func contents(_ sections: [Section]) -> String {
    let items = sections.map { "<li><a href=\"#\($0.id)\">\(escaped($0.title))</a></li>\n" }
    return "<nav aria-label=\"Contents\"><ol>\n\(items.joined())</ol></nav>\n"
  }

  private func markup(of section: Section, number: Int) -> String {
    let note = section.note.isEmpty ? "" : " <span>\(escaped(section.note))</span>"
    return """
      <section id="\(section.id)" aria-labelledby="\(section.id)-title">
      <h2 id="\(section.id)-title">\(number)  \(escaped(section.title))\(note)</h2>
      \(section.body)</section>

      """
  }

  private var footer: String {
    let facts = [
      ("command", command.map(shellWord).joined(separator: " ")),
      ("tool", "\(toolVersion), \(Linear.arithmetic) kernels"),
      ("cache", "\(study.opened.reader.directory), captured with \(plan.kernel) kernels"),
      ("cache plan", study.opened.reader.planDigest),
    ]
    let folders = study.folders.map { $0 + "/" }.joined(separator: ", ")
    let hasEffects = study.stream.value != nil || study.insides.value != nil
    let note = hasEffects ? "<p>\(escaped(PatchReport.statisticsNote))</p>\n" : ""
    return
      "<footer>\n\(note)<p>The numbers of every picture stand beside this page, in \(folders).</p>\n"
      + pageFacts(facts) + "</footer>\n"
  }

  /// Why a part is not there.
  func leftOut(_ reason: LeftOut) -> String {
    "<p class=\"leftout\">Left out. \(escaped(reason.reason))</p>\n"
  }

  /// A mean and the standard error of it.
  func number(_ value: Double?, _ digits: Int = 4) -> String {
    value.map { signed($0, digits) } ?? ""
  }

  func error(_ value: Double?) -> String { value.map { fixed($0, 4) } ?? "" }
}
