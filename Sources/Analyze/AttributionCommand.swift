import ArgumentParser
import CacheFormat
import Model
import Patching
import Reading
import Terminal

struct AttributionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attribution",
    abstract: "Direct logit attribution: what each part of the model adds to the answer.",
    discussion: """
      Splits the residual stream into what the parts of the model have written to it, and reads each \
      part through the final LayerNorm, with the scale that the run had, and the unembedding. Rows have \
      TransformerLens's names. Together with a constant, the biases of the final LayerNorm and of the \
      unembedding, the parts are the logit difference. Nothing is run: all comes from the cache.

      --by layer: embeddings, attention and MLP of each layer; accumulated: the stream after each half \
      block; head: every head, and a remainder; neuron: every neuron, and a remainder; full: heads, \
      neurons, embeddings and biases; full-mlp: the same with whole MLPs.
      """)

  @OptionGroup var options: ReadingOptions

  @OptionGroup var comparison: ComparisonOption

  @OptionGroup var own: ModelOption

  @Option(name: .customLong("run"), help: "Which prompts are read: clean or corrupted.")
  var which: ReadRun = .clean

  @Option(
    name: .long,
    help: "What the stream is split into: layer, accumulated, head, neuron, full or full-mlp.")
  var by: LogitAttribution.Split = .layer

  @Option(
    name: .long,
    help: """
      What is attributed: logit[answer] - logit[wrong answer] (logit-diff), or logit[answer] (logit).
      """)
  var metric: LogitTarget = .logitDiff

  @Option(
    name: .long, parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Positions or roles, separated by commas; `all` for every position, `roles` for every role. A \
      negative number counts from the end.
      """, valueName: "places"))
  var pos: [String] = ["-1"]

  @Option(name: .long, help: "How many heads or neurons the table of the largest shows.")
  var top = 10

  func validate() throws {
    guard top >= 0 else { throw ValidationError("--top must not be negative.") }
    _ = try PlaceName.parse(pos, option: "--pos")
  }

  func run() throws {
    try comparison.show(options, model: own.model) { try report(on: $0) }
  }

  /// Splits the prompts of a cache that has been opened.
  ///
  /// - Parameter command: the command line, as the result records it.
  func report(
    on opened: OpenedCache, command: [String] = CommandLine.arguments
  ) throws -> ReadingReport {
    let selection = try ReadingSelection(
      opened, run: which, answer: true, wrongAnswer: metric == .logitDiff)
    let places = try selection.places(try PlaceName.parse(pos, option: "--pos"))
    let model = try opened.unconfirmed(preparing: by.needsBlocks ? .blocks : .unembedding)
    let gpt2 = model.gpt2
    try selection.rows.checkTokens(vocabulary: gpt2.config.vocabulary)
    let attribution = try LogitAttribution(
      selection.reader, model: gpt2, split: by, target: metric, places: places)
    try options.makeOut(for: "attribution-\(by.rawValue).json")
    let prompts = selection.read
    var progress = options.progress("reading", prompts.count)
    let result = try attribution.run(
      prompts, keepsValues: comparison.keepsValues(options, isLong: by.hasNeurons),
      threads: options.work.threads
    ) { progress.update(done: $0) }
    try model.confirm()
    let title = "\(metric.rawValue)  \(by.rawValue) × \(placeText(places))"
    let isLong = by != .layer && by != .accumulated
    return ReadingReport(
      command: command, analysis: "attribution-\(by.rawValue)",
      selection: selection, threads: options.work.threads, prompts: prompts,
      formula: "direct logit attribution: \(metric.rawValue)",
      parts: [
        .init(
          table: result.parts, name: "attribution-\(by.rawValue)", title: title,
          heads: by == .head ? gpt2.config.heads : nil, tokens: selection.tokens(at: places),
          rowAxis: isLong ? "part" : "layer", isList: by.hasNeurons || by == .fullMLP),
        .init(
          table: result.sums, name: "attribution-\(by.rawValue)-sums",
          title: "parts + constant = \(metric.rawValue)", tokens: selection.tokens(at: places),
          rowAxis: "sum"),
      ], top: top)
  }
}

extension LogitAttribution.Split: ExpressibleByArgument {}
extension LogitTarget: ExpressibleByArgument {}
