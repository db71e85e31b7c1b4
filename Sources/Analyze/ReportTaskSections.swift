import CacheFormat
import Model
import Patching
import Terminal

/// What is asked of the model, and what it answers.
extension ReportPage {
  var taskSection: Section {
    let model = plan.model
    let lengths = task.rows.pairs.map { study.opened.prompts[$0.clean].tokens.count }
    let (shortest, longest) = (lengths.min() ?? 0, lengths.max() ?? 0)
    var body = pageTiles([
      ("rows", grouped(task.rows.pairs.count)),
      ("pairs to patch", grouped(task.pairs.value?.pairs.count ?? 0)),
      ("tokens a prompt", shortest == longest ? "\(shortest)" : "\(shortest) to \(longest)"),
      ("templates", grouped(task.templates.count)),
    ])
    if case .failure(let reason) = task.pairs {
      body += pageText("There are no pairs, and nothing is patched. " + reason.reason)
    }
    body += pageText(
      "A pair is a clean prompt, a corrupted one that asks for another answer, and the two answers. "
        + "Patches take activations from one run to the other, and \(metric) at the last position says "
        + "how far the answer follows.")
    body += example
    if task.templates.count > 1 {
      body += foldedTable(
        "Templates", ["template", "rows"], task.templates.map { [shown($0.name), "\($0.count)"] },
        beyond: 4)
    }
    body += pageFacts([
      ("prompt file", "\(plan.promptFileName), sha256 \(plan.promptFileDigest)"),
      (
        "model",
        "\(model.name): \(counted(model.layers, "layer")), \(counted(model.heads, "head")) of "
          + "\(model.headWidth), width \(grouped(model.width)), MLP \(grouped(model.mlpWidth)), "
          + "vocabulary \(grouped(model.vocabulary))"
      ),
      ("weights", "processed as \(plan.weights), sha256 \(model.weightsDigest)"),
      ("tokenizer", "sha256 \(model.tokenizerDigest)"),
      (
        "cache",
        "\(study.opened.reader.directory), plan \(study.opened.reader.planDigest), "
          + "\(plan.elementType.rawValue), captured with \(plan.kernel) kernels"
      ),
    ])
    body += pageCommands([["cachedump", study.opened.reader.directory]])
    return Section(id: "task", title: "The task", note: plan.promptFileName, body: body)
  }

  /// One pair with its tokens and roles.
  private var example: String {
    let pair = task.example
    let prompts = study.opened.prompts
    let clean = prompts[pair.clean]
    let hasCorrupted = task.pairs.value != nil
    let corrupted = hasCorrupted ? prompts[pair.corrupted] : clean
    let texts = study.opened.tokenTexts(of: [pair.answer, pair.wrongAnswer].compactMap { $0 })
    func answer(_ token: Int32?) -> String? { token.map { texts[$0] ?? "token \($0)" } }
    let answers = [(answer(pair.answer), "right"), (answer(pair.wrongAnswer), "wrong")]
      .compactMap { text, word in text.map { "\($0) (\(word))" } }
    let name = "Pair \(task.exampleNumber)" + (pair.id.map { " " + shown($0) } ?? "")
    var text = pageTitle(name) + tokens(clean, of: pair, other: corrupted, "clean")
    if hasCorrupted { text += tokens(corrupted, of: pair, other: clean, "corrupted") }
    if !answers.isEmpty {
      text += "<p class=\"answers\">answers <b>\(escaped(answers.joined(separator: ", ")))</b>"
      text += pair.template.map { ", template \(escaped(shown($0)))" } ?? ""
      text += "</p>\n"
    }
    return text
  }

  private func tokens(_ prompt: Prompt, of pair: PatchingPair, other: Prompt, _ name: String)
    -> String
  {
    let items = prompt.pieces.enumerated().map { position, piece in
      let roles = pair.roles.filter { $0.value.contains(position) }.keys.sorted()
      let differs =
        other.tokens.indices.contains(position)
        && other.tokens[position] != prompt.tokens[position]
      let classes = ["token"] + (roles.isEmpty ? [] : ["role"]) + (differs ? ["other"] : [])
      return "<span class=\"\(classes.joined(separator: " "))\">"
        + "<bdi>\(escaped(tokenText(piece)))</bdi>"
        + "<small>\(roles.isEmpty ? "\(position)" : escaped(roles.map(shown).joined(separator: " ")))</small>"
        + "</span>\n"
    }
    return "<p class=\"name\">\(name)</p>\n<div class=\"tokens\">\n\(items.joined())</div>\n"
  }

  var baselineSection: Section {
    let title = "Baselines"
    switch task.baselines {
    case .failure(let reason):
      return Section(id: "baselines", title: title, body: leftOut(reason))
    case .success(let baselines):
      return Section(
        id: "baselines", title: title,
        note: "\(metric) of \(counted(baselines.selection.pairs.count, "row")), unpatched",
        body: body(of: baselines))
    }
  }

  private func body(of baselines: StudyTask.Baselines) -> String {
    let first = baselines.values[0]
    let runs =
      [("clean", \Baseline.clean)]
      + (baselines.hasCorrupted ? [("corrupted", \Baseline.corrupted)] : [])
    var text = pageText(
      baselines.hasCorrupted
        ? "The model should give the right answer to clean prompts and the wrong one to corrupted ones. "
          + "All effects below are measured by the gap between the two runs; pairs without a gap say "
          + "little, and are named at the top of the page."
        : "What the model answers to the prompts as they are.")
    let values = runs.map { run in first.map { Double($0[keyPath: run.1]) } }
    var picture = ""
    if let histogram = Histogram(values) {
      picture = pageFigure(
        BarsSVG(
          bars: histogram.edges.enumerated().map { bin, edge in
            .init(
              label: significant(edge == 0 ? 0 : edge, 4),
              values: histogram.counts.map { Double($0[bin]) })
          }, series: runs.map(\.0),
          x: "\(metric), from … on, in steps of \(significant(histogram.width, 3))",
          y: "rows", isHistogram: true, title: "Distribution of \(metric) over the rows"
        ).element(id: "baselines-bars"))
    }
    let columns = runs.map { run in column(of: baselines, run.1) }
    let names = columns[0].map(\.name)
    text += pageParts([
      picture,
      pageTable(
        "Unpatched runs", [""] + runs.map(\.0),
        names.indices.map { row in [names[row]] + columns.map { $0[row].value } }),
    ])
    let metrics = baselines.metrics.map(\.rawValue).joined(separator: ",")
    let lens = ["analyze", "lens"] + StudyWork.cacheOptions(study.options) + ["--metric", metrics]
    text += pageNotes([
      "Right is the answer of the clean prompt, in both runs, and the model's own the token of rank 0. The means are the row final_post of the lens, and each row's own numbers stand in "
        + "baselines/baselines.csv."
    ])
    return text + pageCommands(runs.map { lens + ($0.0 == "clean" ? [] : ["--run", "corrupted"]) })
  }

  /// What is said of the clean or of the corrupted runs.
  private func column(
    of baselines: StudyTask.Baselines, _ run: KeyPath<Baseline, Float>
  ) -> [(name: String, value: String)] {
    func values(_ metric: AnswerMetric) -> [Double]? {
      baselines[metric].map { $0.map { Double($0[keyPath: run]) } }
    }
    func share(_ values: [Double], _ isCounted: (Double) -> Bool) -> String {
      let count = values.count(where: isCounted)
      return "\(fixed(100 * Double(count) / Double(max(1, values.count)), 1)) %"
    }
    let own = values(study.options.metric) ?? []
    let statistics = CellStatistics(
      effects: own, resampling: Resampling(resamples: 0, permutations: 0))
    var rows = [
      ("mean \(metric)", number(statistics.mean)),
      ("± s.e.", error(statistics.standardError)), ("median", number(statistics.median)),
      ("smallest", number(own.min())), ("largest", number(own.max())),
    ]
    if let differences = values(.logitDiff) {
      rows.append(("right beats wrong", share(differences) { $0 > 0 }))
    }
    if let ranks = values(.rank) {
      rows.append(("right is the model's own", share(ranks) { $0 == 0 }))
      let median = CellStatistics(
        effects: ranks, resampling: Resampling(resamples: 0, permutations: 0)
      ).median
      rows.append(("median rank of right", median.map { significant($0) } ?? ""))
    }
    if let probabilities = values(.probability) {
      let mean = probabilities.reduce(0, +) / Double(max(1, probabilities.count))
      rows.append(("mean probability of right", fixed(mean, 4)))
    }
    return rows
  }
}
