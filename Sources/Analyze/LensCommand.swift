import ArgumentParser
import CacheFormat
import Model
import Patching
import Reading
import Terminal

struct LensCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lens",
    abstract: "Logit lens: what the model would answer if it ended after each half block.",
    discussion: """
      The residual stream goes through the final LayerNorm, taken anew of each stream, and the \
      unembedding. The last row, final_post, is the model's own answer. --prompt shows the tokens with \
      the largest logits of one prompt instead of means over all. Nothing is run: all comes from the \
      cache.
      """)

  @OptionGroup var options: ReadingOptions

  @OptionGroup var comparison: ComparisonOption

  @OptionGroup var own: ModelOption

  @Option(
    name: .customLong("run"),
    help: "Which prompts are read: clean or corrupted; clean unless given.")
  var which: ReadRun?

  @Option(
    name: .long, parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Positions or roles, separated by commas; `all` for every position, `roles` for every role. A \
      negative number counts from the end.
      """, valueName: "places"))
  var pos: [String] = ["-1"]

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      What is read, several separated by commas: \
      \(AnswerMetric.allCases.map(\.rawValue).joined(separator: ", ")); \
      \(AnswerMetric.logitDiff.rawValue) unless given.
      """, valueName: "names"))
  var metric: [String] = []

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Show the largest logits of this prompt, by its number in the cache.", valueName: "number"))
  var prompt: Int?

  @Option(name: .long, help: "How many tokens --prompt shows of each row; 5 unless given.")
  var top: Int?

  func validate() throws {
    guard 1...1000 ~= top ?? 1 else { throw ValidationError("--top takes 1 to 1000.") }
    guard top == nil || prompt != nil else {
      throw ValidationError("--top is about the tokens of one prompt; give --prompt.")
    }
    guard prompt == nil || comparison.minus == nil else {
      throw ValidationError("--minus takes the means over prompts; leave out --prompt.")
    }
    guard prompt == nil || (metric.isEmpty && which == nil) else {
      throw ValidationError("--prompt shows tokens of one prompt; leave out --metric and --run.")
    }
    _ = try metrics()
    _ = try PlaceName.parse(pos, option: "--pos")
  }

  func run() throws {
    if let prompt {
      try LensTokens(options: options, model: own.model, places: pos, count: top ?? 5).show(prompt)
      return
    }
    try comparison.show(options, model: own.model) { try report(on: $0) }
  }

  /// - Throws: `ValidationError` for a name that is none.
  private func metrics() throws -> [AnswerMetric] {
    try answerMetrics(metric.isEmpty ? [AnswerMetric.logitDiff.rawValue] : metric)
  }

  /// Reads the prompts of a cache that has been opened.
  ///
  /// - Parameter command: the command line, as the result records it.
  func report(
    on opened: OpenedCache, command: [String] = CommandLine.arguments
  ) throws -> ReadingReport {
    let metrics = try metrics()
    let selection = try ReadingSelection(
      opened, run: which ?? .clean, answer: metrics.contains(where: \.readsAnswer),
      wrongAnswer: metrics.contains(where: \.readsWrongAnswer))
    let places = try selection.places(try PlaceName.parse(pos, option: "--pos"))
    let model = try opened.unconfirmed(preparing: .unembedding)
    try selection.rows.checkTokens(vocabulary: model.gpt2.config.vocabulary)
    let lens = try LogitLens(selection.reader, model: model.gpt2, places: places)
    try options.makeOut(for: "lens.json")
    let prompts = selection.read
    var progress = options.progress("reading", prompts.count)
    let tables = try lens.tables(
      of: prompts, metrics: metrics, keepsValues: comparison.keepsValues(options),
      threads: options.work.threads
    ) { progress.update(done: $0) }
    try model.confirm()
    let names = metrics.map(\.rawValue).joined(separator: ", ")
    let tokens = selection.tokens(at: places)
    return ReadingReport(
      command: command, analysis: "lens", selection: selection, threads: options.work.threads,
      prompts: prompts,
      formula: "logit lens: \(names)",
      parts: tables.map { table in
        .init(
          table: table, name: "lens-\(table.quantity)",
          title: "\(table.quantity)  layer × \(placeText(places))", tokens: tokens)
      })
  }
}

/// The places of a table's columns in words.
func placeText(_ places: [Place]) -> String {
  guard let place = places.first, places.count == 1 else {
    let roles = places.contains { if case .role = $0 { true } else { false } }
    return roles ? "role" : "pos"
  }
  switch place {
  case .index(-1): return "last position"
  case .index(let position): return "position \(position)"
  case .role(let role): return role
  }
}
