import ArgumentParser
import CacheFormat
import FileIO
import Hub
import Model
import Patching
import Reading
import Terminal

struct ScoresCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scores",
    abstract: "Scores of heads from the weights alone: do they copy what they attend to?",
    discussion: """
      copying: the share of words that a head's OV matrix puts among the largest logits, from each \
      word's embedding behind the first MLP; negative: the same against its sign (Wang et al. 2022). \
      ov and qk: the sum of the real parts of the eigenvalues of the whole OV and QK circuit, by that \
      of their sizes; 1 is copying, or attending to the same token, -1 the opposite (Elhage et al. \
      2021).

      Words are those of --words, or the answers of a cache's prompt file. Without either there are no \
      copying scores.
      """)

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The model's directory or name; by default the one the cache names.", valueName: "dir"))
  var model: String?

  @Option(name: .long, help: "A cache, whose model and whose answers are taken.")
  var cache: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "A file of words, one a line, each one token; a leading space counts.", valueName: "file"))
  var words: String?

  @Option(name: .long, help: "Weights without a cache: transformerlens (the default) or raw.")
  var weights: WeightsName?

  @Option(name: .long, help: "How many of the largest logits count.")
  var largest = 5

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write scores.json, scores.csv and NPYs into this directory.", valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String?

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @Option(name: .long, help: "How many heads the tables of the largest scores show.")
  var top = 5

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  enum WeightsName: String, ExpressibleByArgument, CaseIterable {
    case transformerlens, raw
  }

  func validate() throws {
    guard cache != nil || model != nil else {
      throw ValidationError("Give --model or --cache: whose heads.")
    }
    guard cache == nil || weights == nil else {
      throw ValidationError(
        "--weights is for --model without --cache: a cache says how its weights were processed.")
    }
    guard largest > 0, top >= 0 else {
      throw ValidationError("--largest must be at least 1, and --top not negative.")
    }
  }

  func run() throws {
    let reader = try cache.map { try CacheReader(directory: $0, access: io.access) }
    let gpt2: GPT2
    if let reader {
      gpt2 = try loadModel(for: reader, name: model, work: work)
    } else {
      gpt2 = try GPT2(
        directory: try locateModel(model ?? "", quiet: work.quiet),
        processing: weights == .raw ? .raw : .transformerlens, threads: work.threads)
    }
    let report = try report(reader, gpt2)
    if json {
      print(try report.json())
    } else {
      for line in report.lines(style: .forStandardOutput()) { print(line) }
      if let out { printError("wrote \(out)/scores.json, scores.csv and NPYs") }
    }
  }

  /// Scores the heads of a model that has been loaded, and writes the results if there is an `--out`.
  ///
  /// - Parameters:
  ///   - reader: the cache, if there is one.
  ///   - command: the command line, as results record it.
  func report(
    _ reader: CacheReader?, _ gpt2: GPT2, command: [String] = CommandLine.arguments
  ) throws -> ScoresReport {
    let tokens = try tokens(reader, gpt2)
    if let out { try ResultsDirectory.make(out, for: "scores.json") }
    var progress = Progress(
      "scoring", unit: "heads",
      total: gpt2.config.layers * gpt2.config.heads * (tokens.isEmpty ? 1 : 2),
      quiet: work.quiet || json)
    let eigenvalues = try EigenvalueScores(gpt2, threads: work.threads) {
      progress.update(done: $0)
    }
    let copying =
      tokens.isEmpty
      ? nil
      : CopyingScores(gpt2, tokens: tokens, top: largest, threads: work.threads) {
        progress.update(done: gpt2.config.layers * gpt2.config.heads + $0)
      }
    let report = ScoresReport(
      command: command, model: reader?.plan.model.name ?? model ?? "", gpt2: gpt2,
      tokens: tokens, eigenvalues: eigenvalues, copying: copying, top: top)
    if let out { try report.write(to: out) }
    return report
  }

  /// The tokens of the words, each once.
  private func tokens(_ reader: CacheReader?, _ gpt2: GPT2) throws -> [Int32] {
    var tokens: [Int32] = []
    if let words {
      let tokenizer =
        if let reader {
          try loadTokenizer(for: reader, name: model, quiet: work.quiet)
        } else {
          try Tokenizer(
            directory: try locateModel(model ?? "", for: .tokenizer, quiet: work.quiet))
        }
      let text = String(decoding: try readFile(words, limit: 1 << 26), as: UTF8.self)
      for (number, line) in text.split(
        omittingEmptySubsequences: false, whereSeparator: \.isNewline
      )
      .enumerated() where !line.isEmpty {
        let ids = tokenizer.encode(String(line))
        guard ids.count == 1 else {
          throw WordsError(
            path: words, line: number + 1, word: String(line), pieces: ids.map(tokenizer.piece))
        }
        tokens += ids
      }
      guard !tokens.isEmpty else { throw WordsError(path: words, line: 1, word: nil, pieces: []) }
    } else if let reader {
      tokens = try reader.pairs().flatMap { [$0.answer, $0.wrongAnswer].compactMap { $0 } }
    }
    for token in tokens where !(0..<Int32(clamping: gpt2.config.vocabulary) ~= token) {
      throw PassError.unknownToken(token, vocabulary: gpt2.config.vocabulary)
    }
    var seen: Set<Int32> = []
    return tokens.filter { seen.insert($0).inserted }
  }
}

/// A word that is not one token.
struct WordsError: ReportableError {
  let path: String
  let line: Int
  /// nil where there is none at all.
  let word: String?
  let pieces: [String]

  var exitCode: SysExit { .badData }

  var description: String {
    guard let word else { return "\(shown(path)) has no words; give one a line" }
    let tokens = pieces.map { "\"\(shown($0))\"" }.joined(separator: " ")
    return
      "\(shown(path)), line \(line): \"\(shown(word))\" is \(pieces.count) tokens, \(tokens); it must "
      + "be one, most often with a space before it"
  }
}
