import FileIO

/// What is wrong with a prompt file, and where.
struct PromptError: ReportableError, Equatable {
  /// A column of a .txt file or the key of the same name of a .jsonl file.
  enum Column: String, Sendable {
    case clean, corrupted, answer
    case wrongAnswer = "wrong-answer"
  }

  enum Problem: Error, Equatable {
    case file(FileError)
    case unknownFormat
    case noPrompts
    case everyPairUnaligned
    case lineTooLong(limit: Int)
    case notUTF8
    case tooManyColumns(Int)
    case empty(Column)
    case notJSON(column: Int, expected: String)
    case unknownKey(String)
    case repeatedKey(String)
    case noCleanPrompt
    case wrongAnswerAlone
    case promptTooLong(Column, tokens: Int, limit: Int)
    case noTokens(Column, String)
    case severalTokens(Column, String, pieces: [String])
    /// The tokens of the clean prompt do not add up to its text, so no place can be found in it.
    case tokensDoNotSpellText
    case notInPrompt(Place, String)
    case ambiguous(Place, String)
    case positionOutOfRange(role: String, position: Int, tokens: Int)
  }

  /// What a text of a .jsonl row is to find in the clean prompt.
  enum Place: Sendable, Equatable {
    case role(String)
    case subject
  }

  let path: String
  /// Counted from 1; nil for the file as a whole.
  let line: Int?
  let problem: Problem

  var exitCode: SysExit {
    if case .file(let error) = problem { return error.exitCode }
    return .badData
  }

  var description: String {
    switch problem {
    case .file(let error): "\(error); --prompts takes a .txt or .jsonl file"
    default: path + (line.map { ", line \($0)" } ?? "") + ": \(problem)"
    }
  }
}

extension PromptError.Problem: CustomStringConvertible {
  var description: String {
    switch self {
    case .file(let error):
      error.description
    case .unknownFormat:
      "a prompt file is .txt (one prompt a line) or .jsonl (one JSON object a line); "
        + "rename it to say which it is"
    case .noPrompts:
      "there is no prompt in it; write one a line"
    case .everyPairUnaligned:
      "clean and corrupted differ in their number of tokens in every pair; "
        + "nothing is left without them"
    case .lineTooLong(let limit):
      "the line is longer than \(limit) bytes; write one prompt a line"
    case .notUTF8:
      "the line is not UTF-8; convert the file, for example with iconv -t UTF-8"
    case .tooManyColumns(let count):
      "there are \(count) columns where clean, corrupted, answer and wrong-answer are all; "
        + "a prompt that holds a TAB belongs in a .jsonl file"
    case .empty(let column):
      "the \(column.rawValue) column is empty; fill it, or leave it out with all that follow it"
    case .notJSON(let column, let expected):
      "not the JSON of a prompt: expected \(expected) at character \(column)"
    case .unknownKey(let key):
      "unknown key \(quoted(key)); the keys are clean (or prompt), corrupted, answer, "
        + "wrong_answer, id, roles, subject and template"
    case .repeatedKey(let key):
      "\(quoted(key)) is given twice; leave one"
    case .noCleanPrompt:
      "there is no prompt; give it as \"clean\" or \"prompt\""
    case .wrongAnswerAlone:
      "there is a wrong answer but no answer; give \"answer\" too"
    case .promptTooLong(let column, let tokens, let limit):
      "the \(column.rawValue) prompt has \(tokens) tokens and the model takes \(limit); shorten it"
    case .noTokens(let column, let text):
      "the \(column.rawValue) \(quoted(text)) has no token in this model's vocabulary"
    case .severalTokens(let column, let text, let pieces):
      "the \(column.rawValue) \(quoted(text)) is \(pieces.count) tokens, "
        + pieces.prefix(8).map(quoted).joined(separator: " ") + (pieces.count > 8 ? " …" : "")
        + "; it must be one\(text.hasPrefix(" ") ? "" : ", and most begin with a space")"
    case .tokensDoNotSpellText:
      "this model's tokens do not spell the clean prompt exactly; "
        + "give roles as positions and leave the subject out"
    case .notInPrompt(let place, let text):
      "\(place.text(text)) does not occur in the clean prompt; copy it from there, spaces included"
    case .ambiguous(.subject, let text):
      "the subject \(quoted(text)) occurs more than once in the clean prompt; "
        + "lengthen it until it occurs once"
    case .ambiguous(let place, let text):
      "\(place.text(text)) occurs more than once in the clean prompt; "
        + "lengthen it to the left until it occurs once, or give the token's position"
    case .positionOutOfRange(let role, let position, let tokens):
      "the role \(quoted(role)) is at position \(position), and the clean prompt has \(tokens) "
        + "tokens; positions are 0 to \(tokens - 1), or -\(tokens) to -1 from the end"
    }
  }
}

extension PromptError.Place {
  fileprivate func text(_ text: String) -> String {
    switch self {
    case .role(let name): "the text \(quoted(text)) of role \(quoted(name))"
    case .subject: "the subject \(quoted(text))"
    }
  }
}

/// At most 60 characters of `text` in quotes, with control characters escaped.
private func quoted(_ text: String) -> String {
  let head = text.prefix(60)
  return String(head).debugDescription + (head.endIndex < text.endIndex ? "…" : "")
}
