import CacheFormat
import FileIO
import Model
import Patching
import Terminal

/// A prompt whose subject gets noise.
struct Fact {
  /// The row of the prompt file.
  let row: Int
  let id: String?
  /// The prompt's number in the cache.
  let prompt: Int
  /// The positions of the subject's tokens.
  let subject: Range<Int>
  let answer: Int32
  let answerText: String
  /// What the model says.
  let predicted: Int32

  var name: String { id ?? "\(row)" }
}

/// Noise of one size.
struct TraceNoise {
  /// The standard deviation of the embeddings of all subjects' tokens.
  let ofSubjects: Double
  /// nil where the deviation was given as a number.
  let scale: Double?
  let deviation: Double
  let seed: UInt32
}

/// The facts of a cache that are traced, and those that are not.
struct FactSelection {
  let facts: [Fact]
  /// The tokens of the subjects of all rows, those of rows left out too.
  let subjectTokens: [Int32]
  /// Rows without a subject, and those that the capture did not come to.
  let withoutSubject, notCaptured: Int
  /// Facts whose answer is not what the model says.
  let unknown: Int

  /// - Parameters:
  ///   - rows: of the prompt file.
  ///   - limit: so many facts at the most, of those that can be traced.
  ///   - tokenizer: asked for where an answer is the model's.
  /// - Throws: `FactError`, `PatchingError.unknownToken`, `CacheError`.
  init(
    _ rows: [PromptPair], _ engine: PatchEngine, prompts: [Prompt], limit: Int?, keepsUnknown: Bool,
    tokenizer: () throws -> Tokenizer
  ) throws {
    let vocabulary = Int32(clamping: engine.model.config.vocabulary)
    var (subjectTokens, withoutSubject, notCaptured): ([Int32], Int, Int) = ([], 0, 0)
    var found: [(row: Int, pair: PromptPair, subject: Range<Int>)] = []
    for (number, row) in rows.enumerated() {
      guard row.clean < engine.cache.committedPrompts, row.clean >= 0 else {
        notCaptured += 1
        continue
      }
      let prompt = prompts[row.clean]
      guard let subject = rolePositions(of: row, length: prompt.tokens.count)["subject"] else {
        withoutSubject += 1
        continue
      }
      for token in prompt.tokens[subject] + [row.answer].compactMap({ $0 })
      where token < 0 || token >= vocabulary {
        throw PatchingError.unknownToken(
          pair: row.id ?? "\(number)", token: token, vocabulary: Int(vocabulary))
      }
      subjectTokens += prompt.tokens[subject]
      found.append((number, row, subject))
    }
    let predicted = try engine.predictions(of: found.map(\.pair.clean), prompts: prompts)
    var known = zip(found, predicted).filter { row, predicted in
      keepsUnknown || row.pair.answer == nil || row.pair.answer == predicted
    }
    unknown = found.count - known.count
    if let limit { known = Array(known.prefix(limit)) }
    guard !known.isEmpty else {
      throw FactError.none(
        rows: rows.count, withoutSubject: withoutSubject, notCaptured: notCaptured,
        unknown: unknown)
    }
    let texts = try tokenizer()
    facts = known.map { row, predicted in
      let answer = row.pair.answer ?? predicted
      return Fact(
        row: row.row, id: row.pair.id, prompt: row.pair.clean, subject: row.subject,
        answer: answer, answerText: texts.piece(answer), predicted: predicted)
    }
    (self.subjectTokens, self.withoutSubject, self.notCaptured) = (
      subjectTokens, withoutSubject, notCaptured
    )
  }

  /// - Parameters:
  ///   - scale: of the subjects' own deviation, where no `deviation` is given.
  func noise(
    samples: Int, scale: Double, deviation: Double?, seed: UInt32, embeddings model: GPT2
  ) -> TraceNoise {
    let own = model.embeddingDeviation(of: subjectTokens)
    return TraceNoise(
      ofSubjects: own, scale: deviation == nil ? scale : nil, deviation: deviation ?? scale * own,
      seed: seed)
  }

  /// A pair a fact and sample, fact by fact: the prompt, and the prompt with noise.
  ///
  /// - Parameter width: D.
  func pairs(samples: Int, noise: TraceNoise, width: Int) -> [PatchingPair] {
    var known: [Int: NoiseSamples] = [:]
    return facts.flatMap { fact in
      let count = fact.subject.count
      let all =
        known[count]
        ?? NoiseSamples(
          count: samples, positions: count, width: width, deviation: noise.deviation,
          seed: noise.seed)
      known[count] = all
      return (0..<samples).map { sample in
        PatchingPair(
          id: fact.id, clean: fact.prompt, corrupted: fact.prompt, answer: fact.answer,
          wrongAnswer: nil, noise: EmbeddingNoise(at: fact.subject, sample: sample, of: all))
      }
    }
  }

  /// What was left out, in words.
  var leftOut: [String] {
    var lines: [String] = []
    if unknown > 0 {
      lines.append(
        "left out: \(counted(unknown, "fact")) whose answer is not what the model says "
          + "(--keep-unknown keeps them)")
    }
    if withoutSubject > 0 {
      lines.append("left out: \(counted(withoutSubject, "row")) without a subject")
    }
    if notCaptured > 0 {
      lines.append("left out: \(counted(notCaptured, "row")) that the capture did not come to")
    }
    return lines
  }
}

/// No fact can be traced.
enum FactError: ReportableError, Equatable {
  case none(rows: Int, withoutSubject: Int, notCaptured: Int, unknown: Int)

  var description: String {
    switch self {
    case .none(let rows, _, let notCaptured, 0) where notCaptured == rows:
      "there is no fact to trace: the capture was interrupted before it came to one; capture the "
        + "prompts again with --resume"
    case .none(let rows, _, _, 0):
      "there is no fact to trace: none of the \(rows) rows of the prompt file has a subject; give them "
        + "one (docs/prompts.md, or `analyze task facts`), and capture them again"
    case .none(_, _, _, let unknown):
      "there is no fact to trace: of \(unknown) the model says something else than the answer; give "
        + "facts that it knows, or trace these with --keep-unknown"
    }
  }

  var exitCode: SysExit { .badData }
}
