import CacheFormat
import FileIO
import Model
import Patching
import Terminal

/// What a study is about: its rows, what the model makes of them unpatched, and one of them to look at.
struct StudyTask {
  /// The metrics of the unpatched runs.
  struct Baselines {
    /// The pairs, or where there are none the rows by themselves.
    let selection: TaskSelection
    let hasCorrupted: Bool
    /// The study's own metric first.
    let metrics: [AnswerMetric]
    /// By metric and pair.
    let values: [[Baseline]]

    subscript(_ metric: AnswerMetric) -> [Baseline]? {
      metrics.firstIndex(of: metric).map { values[$0] }
    }
  }

  /// All rows that were captured.
  let rows: TaskSelection
  /// Those that can be patched.
  let pairs: Part<TaskSelection>
  let baselines: Part<Baselines>
  /// How positions are swept, and why so.
  let axis: SweepAxis
  let axisReason: String
  /// The row that is shown, and its number in the prompt file.
  let example: PatchingPair
  let exampleNumber: Int

  /// Prompts of up to so many tokens are preferred as the example.
  private static let shortLength = 64

  /// - Throws: `PatchingError.noPairs` if nothing was captured; `.unaligned` as `analyze patch`.
  init(_ options: ReportOptions, _ opened: OpenedCache) throws {
    let prompts = opened.prompts
    func select(_ needs: TaskNeeds, skipUnaligned: Bool = true) throws -> TaskSelection {
      try TaskSelection(
        opened.rows, prompts: prompts, committed: opened.reader.committedPrompts, needs: needs,
        skipUnaligned: skipUnaligned)
    }
    let (model, metric) = (try opened.model(), options.metric)
    rows = try select(TaskNeeds(corrupted: false, answer: false, wrongAnswer: false))
    try rows.checkTokens(vocabulary: model.config.vocabulary)
    let pairs = try part {
      try select(
        TaskNeeds([metric], options.direction.direction, .otherRun),
        skipUnaligned: options.skipUnaligned)
    }
    self.pairs = pairs
    let engine = try opened.engine()
    baselines = try part {
      let selection =
        try pairs.value
        ?? select(
          TaskNeeds(
            corrupted: false, answer: metric.readsAnswer, wrongAnswer: metric.readsWrongAnswer))
      let wanted = [metric] + [.logitDiff, .probability, .rank].filter { $0 != metric }
      let metrics = wanted.filter { metric in
        selection.pairs.allSatisfy {
          ($0.answer != nil || !metric.readsAnswer)
            && ($0.wrongAnswer != nil || !metric.readsWrongAnswer)
        }
      }
      return Baselines(
        selection: selection, hasCorrupted: pairs.value != nil, metrics: metrics,
        values: try engine.baselines(
          AnswerTask(pairs: selection.pairs, metrics: metrics), prompts: prompts))
    }
    (axis, axisReason) = StudyTask.axis(of: pairs.value ?? rows, prompts)
    let shown = pairs.value ?? rows
    let number = StudyTask.example(of: shown, baselines.value?.values.first, prompts)
    (example, exampleNumber) = (shown.pairs[number], shown.numbers[number])
  }

  var hasAnswers: Bool { rows.pairs.contains { $0.answer != nil } }
  var hasWrongAnswers: Bool {
    rows.pairs.contains { $0.answer != nil && $0.wrongAnswer != nil }
  }
  var haveTemplates: Bool { rows.pairs.allSatisfy { $0.template != nil } }

  /// Templates with the number of their rows, in the order of the file.
  var templates: [(name: String, count: Int)] {
    var counts: [String: Int] = [:]
    var order: [String] = []
    for name in rows.pairs.compactMap(\.template) {
      if counts[name] == nil { order.append(name) }
      counts[name, default: 0] += 1
    }
    return order.map { ($0, counts[$0] ?? 0) }
  }

  /// Positions where they mean the same in every pair, and else roles, if there are any.
  private static func axis(of selection: TaskSelection, _ prompts: [Prompt]) -> (
    SweepAxis, String
  ) {
    let pairs = selection.pairs
    let isUneven = Set(pairs.map { prompts[$0.clean].tokens.count }).count > 1
    let areElsewhere = Set(pairs.map(\.roles)).count > 1
    guard isUneven || areElsewhere else {
      return (
        .position,
        "All prompts have equally many tokens, and roles where there are any stand at the "
          + "same positions: the sweeps go position by position."
      )
    }
    let why =
      isUneven
      ? "Prompts differ in length" : "Roles stand at different positions in different prompts"
    guard pairs.contains(where: { $0.roles.count > 1 }) else {
      return (
        .position,
        "\(why), and the prompt file names no roles: the sweeps go position by position, and a position "
          + "need not mean the same in every pair."
      )
    }
    return (
      .role,
      "\(why): the sweeps go by the roles that the prompt file names, wherever they stand."
    )
  }

  /// The first pair with a gap of at least half the mean gap, of those with short prompts if there are any.
  private static func example(
    of selection: TaskSelection, _ baselines: [Baseline]?, _ prompts: [Prompt]
  ) -> Int {
    let all = Array(selection.pairs.indices)
    let short = all.filter {
      prompts[selection.pairs[$0].clean].tokens.count <= shortLength
    }
    let candidates = short.isEmpty ? all : short
    let gaps = baselines.map { $0.map { abs($0.gap) } } ?? []
    let mean = gaps.reduce(0, +) / Double(max(1, gaps.count))
    return candidates.first { gaps.indices.contains($0) && gaps[$0] >= mean / 2 }
      ?? candidates.first ?? 0
  }

  /// Writes `baselines.csv` into a directory that is made, a row a pair and metric.
  ///
  /// - Throws: `FileError`.
  func writeBaselines(to directory: String) throws {
    guard let baselines = baselines.value else { return }
    try ResultsDirectory.make(directory, for: "baselines.csv")
    var text = "pair,id,metric,clean,corrupted\n"
    for (metric, values) in zip(baselines.metrics, baselines.values) {
      for (number, value) in values.enumerated() {
        let pair = baselines.selection.pairs[number]
        text +=
          "\(baselines.selection.numbers[number]),\(csvText(pair.id ?? "")),\(metric.rawValue),"
          + "\(value.clean),\(baselines.hasCorrupted ? "\(value.corrupted)" : "")\n"
      }
    }
    try replaceFile(directory + "/baselines.csv", with: Array(text.utf8))
  }
}
