import FileIO

/// Why a directory's tokenizer cannot be used.
public enum TokenizerError: ReportableError, Equatable {
  /// A file could not be read.
  case file(FileError)
  /// The directory has neither tokenizer.json nor vocab.json.
  case notFound(directory: String)
  case notUTF8(path: String)
  /// A file is not well-formed JSON, or a value in it has another type than it should.
  case malformed(path: String, offset: Int, reason: String)
  /// A field that must be there is not.
  case missingField(path: String, field: String)
  /// A setting that would change the tokens and that Patchbay does not implement.
  case unsupported(path: String, setting: String)
  /// The ids of a vocabulary of `count` tokens must be 0 to `count` - 1.
  case idOutOfRange(path: String, token: String, id: Int, count: Int)
  case duplicateID(path: String, id: Int)
  case duplicateToken(path: String, token: String)
  /// A merge is not two tokens with one space between them; merges count from 1.
  case badMerge(path: String, number: Int)
  /// A merge names a token, or makes one, that the vocabulary lacks; merges count from 1.
  case mergeOutOfVocabulary(path: String, number: Int, token: String)
  /// merges.txt ends in a line, and tokens of the vocabulary are made by no merge.
  case mergesCutOff(path: String, lacking: Int, vocabulary: String)
  case unknownTokenOutOfVocabulary(path: String, token: String)
  /// The file gives an added token another id than the one after those before it.
  case addedTokenID(path: String, token: String, stated: Int, assigned: Int)
  /// No token to begin a prompt with: the settings name none, or one that is not a token.
  case noBeginningToken(directory: String, token: String)

  public var description: String {
    switch self {
    case .file(let error): "\(error)"
    case .notFound(let directory):
      "\(directory) has no tokenizer.json and no vocab.json with merges.txt; "
        + "copy the tokenizer's files there from the model's repository"
    case .notUTF8(let path): "\(path) is not UTF-8 text; fetch the file again"
    case .malformed(let path, let offset, let reason):
      "\(path) is damaged at byte \(offset), where there should be \(reason); fetch the file again"
    case .missingField(let path, let field):
      "\(path) lacks \(field); a byte-level BPE tokenizer is needed"
    case .unsupported(let path, let setting):
      "\(path) asks for \(setting), which Patchbay does not implement; "
        + "a byte-level BPE tokenizer as GPT-2's is needed"
    case .idOutOfRange(let path, let token, let id, let count):
      "\(path) gives the token \(Self.quoted(token)) the id \(id), but the ids of its \(count) tokens "
        + "must be 0 to \(count - 1); fetch the file again"
    case .duplicateID(let path, let id):
      "\(path) gives the id \(id) to two tokens; fetch the file again"
    case .duplicateToken(let path, let token):
      "\(path) has the token \(Self.quoted(token)) twice; fetch the file again"
    case .badMerge(let path, let number):
      "merge \(number) of \(path) is not two tokens with a space between; fetch the file again"
    case .mergeOutOfVocabulary(let path, let number, let token):
      "merge \(number) of \(path) needs the token \(Self.quoted(token)), which the vocabulary lacks; "
        + "the two must come from the same tokenizer"
    case .mergesCutOff(let path, let lacking, let vocabulary):
      "\(path) seems to be cut off, for no merge of it makes \(lacking) of the "
        + "tokens of \(vocabulary); fetch the file again, or end its last line if it is whole"
    case .unknownTokenOutOfVocabulary(let path, let token):
      "\(path) names \(Self.quoted(token)) as the unknown token, but its vocabulary lacks it; "
        + "fetch the file again"
    case .addedTokenID(let path, let token, let stated, let assigned):
      "\(path) gives the added token \(Self.quoted(token)) the id \(stated), but it gets \(assigned) "
        + "after the tokens before it; add the tokens that are missing"
    case .noBeginningToken(let directory, let token):
      "the tokenizer in \(directory) has no token \(Self.quoted(token)) to begin a prompt with; "
        + "name one as bos_token in its tokenizer_config.json"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .file(let error): error.exitCode
    case .notFound: .noInput
    default: .badData
    }
  }

  static func quoted(_ token: String) -> String {
    guard token.utf8.count > 80 else { return "\"\(token)\"" }
    return "\"\(String(String.UnicodeScalarView(token.unicodeScalars.prefix(40))))…\""
  }
}
