import ArgumentParser
import CacheFormat
import Patching
import Reading
import Terminal

struct AttentionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attention",
    abstract:
      "What heads attend to: scores of known kinds of heads, attention between roles, pictures.",
    discussion: """
      --detect compares every head's attention patterns with those of previous-token, duplicate-token \
      and induction heads, as TransformerLens's detect_head does, or with one of your own; `repeated` \
      takes prompts that are a sequence of tokens and then the same again, and the diagonals that show \
      what a head makes of it. --from and --to give the mean attention between positions or roles; with \
      --heads they also give what these heads write on the unembedding of the token attended to, and how \
      the two go together over prompts, which needs the model. --heads with --prompt shows patterns.
      """)

  @OptionGroup var options: ReadingOptions

  @OptionGroup var comparison: ComparisonOption

  @OptionGroup var own: ModelOption

  @Option(name: .customLong("run"), help: "Which prompts are read: clean or corrupted.")
  var which: ReadRun = .clean

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      previous_token_head, duplicate_token_head, induction_head, all three (all), repeated, or a file of \
      an array [T, T], for prompts of T tokens.
      """, valueName: "kind|file.npy"))
  var detect: String?

  @Option(
    name: .long,
    help: """
      How patterns are compared: the share of the attention that goes where the pattern has ones (mul), \
      or 1 - the mean distance (abs).
      """)
  var measure: DetectionMeasure.Form = .mul

  @Flag(name: .long, help: "Leave out the attention to position 0.")
  var excludeBos = false

  @Flag(name: .long, help: "Leave out the attention of positions to themselves.")
  var excludeCurrentToken = false

  @Option(
    name: .long, parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Positions or roles that attend.", valueName: "places"))
  var from: [String] = []

  @Option(
    name: .long, parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Positions or roles that are attended to.", valueName: "places"))
  var to: [String] = []

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Heads to show, such as 9.9,10.0, with --prompt or with --from and --to.",
      valueName: "heads"))
  var heads: String?

  @Option(
    name: .long,
    help: ArgumentHelp("The prompt to show, by its number in the cache.", valueName: "number"))
  var prompt: Int?

  @Option(name: .long, help: "How many heads the table of the largest shows.")
  var top = 10

  func validate() throws {
    guard top >= 0 else { throw ValidationError("--top must not be negative.") }
    guard prompt == nil || heads != nil, heads == nil || prompt != nil || !from.isEmpty else {
      throw ValidationError(
        "--heads needs --prompt, to show patterns, or --from and --to; and --prompt needs --heads.")
    }
    guard from.isEmpty == to.isEmpty else {
      throw ValidationError("--from and --to belong together: what attends, and to what.")
    }
    let modes = [detect != nil, !from.isEmpty, prompt != nil].count { $0 }
    guard modes <= 1, detect == nil || heads == nil else {
      throw ValidationError("Give one of --detect, --from with --to, and --heads with --prompt.")
    }
    guard heads == nil || comparison.minus == nil else {
      throw ValidationError("--minus takes the means over prompts; leave out --heads.")
    }
    let comparesPatterns = from.isEmpty && heads == nil && detect != "repeated"
    guard comparesPatterns || (measure == .mul && !excludeBos && !excludeCurrentToken) else {
      throw ValidationError(
        "--measure, --exclude-bos and --exclude-current-token belong to --detect with a pattern.")
    }
    if let heads { _ = try attentionHeads(heads, option: "--heads") }
    _ = try PlaceName.parse(from, option: "--from")
    _ = try PlaceName.parse(to, option: "--to")
  }

  func run() throws {
    if let heads, let prompt {
      let heads = try attentionHeads(heads, option: "--heads")
      try AttentionShow(options: options, heads: heads, number: prompt).show()
    } else {
      try comparison.show(options, model: own.model) { try report(on: $0) }
    }
  }

  /// Scores of heads, or the means between places, in a cache that has been opened.
  ///
  /// - Parameter command: the command line, as the result records it.
  func report(
    on opened: OpenedCache, command: [String] = CommandLine.arguments
  ) throws -> ReadingReport {
    if from.isEmpty { return try scores(opened, command) }
    guard let heads else { return try means(opened, command) }
    return try writing(of: try attentionHeads(heads, option: "--heads"), opened, command)
  }

  private func means(_ opened: OpenedCache, _ command: [String]) throws -> ReadingReport {
    let selection = try ReadingSelection(opened, run: which)
    let queries = try selection.places(try PlaceName.parse(from, option: "--from"))
    let keys = try selection.places(try PlaceName.parse(to, option: "--to"))
    let attention = try AttentionReading(selection.reader)
    try options.makeOut(for: "attention-means.json")
    let prompts = selection.read
    var progress = options.progress("reading", prompts.count)
    let table = try attention.attention(
      from: queries, to: keys, in: prompts, keepsValues: comparison.keepsValues(options),
      threads: options.work.threads
    ) { progress.update(done: $0) }
    return report(
      command, selection, prompts, table, attention, formula: "mean attention",
      name: "attention-means",
      title: "attention  head × from→to", columnAxis: "from→to")
  }

  private func scores(_ opened: OpenedCache, _ command: [String]) throws -> ReadingReport {
    let selection = try ReadingSelection(opened, run: which)
    let attention = try AttentionReading(selection.reader)
    let (columns, length, own) = try patterns()
    let isRepeated = detect == "repeated"
    let measure = DetectionMeasure(
      measure, excludesFirst: excludeBos, excludesCurrent: excludeCurrentToken)
    let fewest = measure.fewestPositions
    if let length, length < fewest {
      throw ReadingError.badPattern("\(length) by \(length) values leave no attention to compare")
    }
    let all = selection.distinct
    let prompts = all.filter {
      isRepeated
        ? RepeatedTokens(selection.prompts[$0.number].tokens) != nil
        : $0.length >= fewest && $0.length == length ?? $0.length
    }
    guard !prompts.isEmpty else {
      if isRepeated { throw ReadingError.noRepetition }
      throw length.map { .noPromptOfLength($0) } ?? ReadingError.noPromptOf(tokens: fewest)
    }
    try options.makeOut(for: "attention-detect.json")
    var progress = options.progress("reading", prompts.count)
    let table: ReadingTable
    if isRepeated {
      table = try attention.repeatedTokens(
        in: prompts, tokens: selection.prompts, keepsValues: comparison.keepsValues(options),
        threads: options.work.threads
      ) { progress.update(done: $0) }
    } else {
      table = try attention.detect(
        columns, in: prompts, tokens: selection.prompts,
        measure: measure, keepsValues: comparison.keepsValues(options),
        threads: options.work.threads,
        progress: { progress.update(done: $0) },
        patterns: { tokens in
          own.map { [$0] }
            ?? columns.compactMap(DetectionPattern.Kind.init).map {
              DetectionPattern($0, tokens: tokens)
            }
        })
    }
    var notes: [String] = []
    if prompts.count < all.count {
      notes.append(
        "left out: \(counted(all.count - prompts.count, "prompt")) "
          + (isRepeated
            ? "that repeat nothing"
            : length == nil ? "of fewer than \(fewest) tokens" : "of another length"))
    }
    if measure.form == .mul, let own, !own.isBinary {
      notes.append(
        "warning: the pattern has other values than 0 and 1; `mul` then is no share of the attention"
      )
    }
    return report(
      command, selection, prompts, table, attention,
      formula: isRepeated ? "repeated tokens" : "detection, \(measure.form.rawValue)",
      name: isRepeated ? "attention-repeated" : "attention-detect",
      title: "\(table.quantity)  head × pattern", columnAxis: "pattern", notes: notes)
  }

  /// The names of the patterns; the length and the pattern itself if it is the user's own.
  private func patterns() throws -> ([String], Int?, DetectionPattern?) {
    switch detect {
    case nil, "all", "repeated": return (DetectionPattern.Kind.allCases.map(\.rawValue), nil, nil)
    case let kind? where DetectionPattern.Kind(rawValue: kind) != nil: return ([kind], nil, nil)
    case let path?:
      guard path.hasSuffix(".npy") else {
        let known = DetectionPattern.Kind.allCases.map(\.rawValue).joined(separator: ", ")
        throw UsageError(
          "--detect takes all, \(known), repeated or an .npy file, not \"\(printable(path))\"")
      }
      let pattern = try DetectionPattern(rows: try npyRows(path: path))
      return (["pattern"], pattern.length, pattern)
    }
  }

  private func report(
    _ command: [String], _ selection: ReadingSelection, _ prompts: [ReadPrompt],
    _ table: ReadingTable,
    _ attention: AttentionReading, formula: String, name: String, title: String,
    columnAxis: String, notes: [String] = []
  ) -> ReadingReport {
    ReadingReport(
      command: command, analysis: name, selection: selection, threads: options.work.threads,
      prompts: prompts, formula: formula,
      parts: [
        .init(
          table: table, name: name, title: title, heads: attention.heads, rowAxis: "head",
          columnAxis: columnAxis)
      ], notes: notes, top: top)
  }
}

extension DetectionMeasure.Form: ExpressibleByArgument {}
