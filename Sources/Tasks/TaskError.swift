import FileIO

/// Why a row that was drawn cannot be used.
public enum RowRejection: Error, Sendable, Hashable {
  case alreadyThere
  /// Clean and corrupted prompt are the same.
  case notCorrupted
  case unequalLengths(clean: Int, corrupted: Int)
  case tooLong(tokens: Int, limit: Int)
  case severalTokens(answer: String, pieces: [String])
  case sameAnswers
  /// Prompt and answer together have other tokens than each by itself.
  case answerDoesNotFollow(String)
  /// The prompt has other tokens than those that it was made of.
  case otherTokens
  /// The tokens of the clean prompt do not add up to its text.
  case tokensDoNotSpellText
  case markOutsideText(role: String)
  case repeatedRole(String)
  /// The text of the subject does not occur exactly once.
  case subjectNotOnce(String)

  /// In a few words, alike for all rejections of a kind.
  var kind: String {
    switch self {
    case .alreadyThere: "drawn before"
    case .notCorrupted: "clean and corrupted prompt equal"
    case .unequalLengths: "clean and corrupted prompt of unequal length"
    case .tooLong(_, let limit): "longer than the model's \(limit) tokens"
    case .severalTokens: "an answer of several tokens"
    case .sameAnswers: "equal answers"
    case .answerDoesNotFollow: "an answer that merges with the prompt"
    case .otherTokens: "tokens that merge"
    case .tokensDoNotSpellText: "tokens that do not spell the text"
    case .markOutsideText: "a role outside the text"
    case .repeatedRole: "a role given twice"
    case .subjectNotOnce: "a subject that is not there exactly once"
    }
  }
}

extension RowRejection: CustomStringConvertible {
  public var description: String {
    switch self {
    case .alreadyThere: "an earlier row has the same clean prompt"
    case .notCorrupted: "the corrupted prompt is the clean one"
    case .unequalLengths(let clean, let corrupted):
      "the clean prompt has \(clean) tokens and the corrupted one \(corrupted)"
    case .tooLong(let tokens, let limit):
      "a prompt has \(tokens) tokens and the model takes \(limit)"
    case .severalTokens(let answer, let pieces):
      "the answer \(answer.debugDescription) is \(pieces.count) tokens, "
        + pieces.prefix(8).map(\.debugDescription).joined(separator: " ") + ", and must be one"
    case .sameAnswers: "right and wrong answer are the same token"
    case .answerDoesNotFollow(let answer):
      "the answer \(answer.debugDescription) has other tokens after the prompt than by itself"
    case .otherTokens: "the prompt has other tokens than those that it was made of"
    case .tokensDoNotSpellText: "this model's tokens do not spell the prompt exactly"
    case .markOutsideText(let role): "the role \(role) stands behind the end of the prompt"
    case .repeatedRole(let role): "the role \(role) is given twice"
    case .subjectNotOnce(let subject):
      "the subject \(subject.debugDescription) does not occur exactly once in the prompt"
    }
  }
}

/// Why rows of a task cannot be made.
public enum TaskError: ReportableError, Equatable {
  /// Word lists of which the tokenizer leaves too little.
  case tooFewWords(task: String, [WordSupply.Entry])
  /// What a task needs of a tokenizer besides words, and how much of it there is.
  case tokenizerLacks(task: String, what: String, usable: Int, total: Int, needed: Int)
  /// Draws came to an end; so many rows were made.
  case exhausted(task: String, made: Int, wanted: Int, draws: Int, [RowRejection: Int])
  /// A row that cannot be drawn otherwise.
  case unusable(task: String, source: String, RowRejection)
  /// No row of a task whose rows are given is usable.
  case nothingUsable(task: String)
  case noSuchTemplate(Int, count: Int)
  case badCorruption(String)
  case badLengths(length: Int, repeated: Int)

  public var description: String {
    switch self {
    case .tooFewWords(let task, let entries):
      "the tokenizer of this model cannot say \(task): "
        + entries.map { entry in
          "\(entry.usable) of \(entry.total) \(entry.list) are one token"
            + (entry.usable < entry.needed ? ", and a row needs \(entry.needed)" : "")
        }.joined(separator: "; ") + "; take another task or model"
    case .tokenizerLacks(let task, let what, let usable, let total, let needed):
      "the tokenizer of this model cannot say \(task): \(usable) of \(total) \(what), and there must "
        + "be \(needed); take another task or model"
    case .exhausted(let task, let made, let wanted, let draws, let rejections):
      "of \(wanted) rows of \(task) only \(made) could be made; \(draws) draws in a row were "
        + "refused: "
        + rejections.reduce(into: [:]) { $0[$1.key.kind, default: 0] += $1.value }
        .sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        .map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        + (made > 0 ? "; ask for fewer: --count \(made)" : "; take another task or model")
    case .unusable(_, let source, let rejection):
      "\(source): \(rejection); mend the row, or leave such rows out with --skip-unusable"
    case .nothingUsable(let task):
      "no row of \(task) can be used with this model's tokenizer; take another model"
    case .noSuchTemplate(let number, let count):
      "there is no template \(number); templates are 0 to \(count - 1)"
    case .badCorruption(let text):
      "\(text.debugDescription) is no corruption; give one of "
        + IOICorruption.named.map(\.name).joined(separator: ", ")
        + ", or letters such as \"ABB->CDD, BAB->DCD\", which change something"
    case .badLengths(let length, let repeated):
      "a sequence of \(length) tokens of which \(repeated) are repeated does not end before a token "
        + "to copy; --length takes 2 and more, and --repeated 1 up to as many"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .noSuchTemplate, .badCorruption, .badLengths: .usage
    default: .badData
    }
  }
}
