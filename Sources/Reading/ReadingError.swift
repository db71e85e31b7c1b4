import FileIO
import Model

/// Why a cache cannot be read in a certain way.
public enum ReadingError: ReportableError, Equatable {
  /// The cache lacks arrays that are needed.
  case hooksNotCached([String], directory: String)
  /// Values at every position are asked for of something of which there is too much.
  case onePlaceOnly(String)
  /// Attention between more places than a table is made of.
  case tooManyPlaces(Int, limit: Int)
  /// No prompt is a sequence and then the same again.
  case noRepetition
  /// A detection pattern that fits no attention pattern, and why.
  case badPattern(String)
  /// No prompt has as many tokens as a pattern has rows.
  case noPromptOfLength(Int)
  /// No prompt has so many tokens, without which there is no attention to compare.
  case noPromptOf(tokens: Int)
  /// A hook that has no rows of numbers of a fixed width.
  case noRows(HookKind)
  /// Rows of so many values, whose covariance has too many.
  case rowsTooWide(hook: String, width: Int, limit: Int)
  /// More principal directions than rows of these many prompts and values have.
  case tooManyDirections(Int, prompts: Int, width: Int)
  /// A value that is not a finite number, of which there are no principal directions.
  case notFinite(hook: String)
  case notDecomposable(hook: String)
  /// A head whose circuit has no eigenvalues that can be found.
  case noEigenvalues(layer: Int, head: Int)
  /// A layer or head that the model lacks.
  case noSuchHead(layer: Int, head: Int, layers: Int, heads: Int)

  public var description: String {
    switch self {
    case .hooksNotCached(let hooks, let directory):
      missingHooks(hooks, in: directory, for: "this analysis")
    case .onePlaceOnly(let split):
      "--by \(split) takes one position or role at a time; give --pos one of them"
    case .tooManyPlaces(let count, let limit):
      "attention between \(count) pairs of places makes no table that could be read, and \(limit) are the "
        + "most; give fewer places to --from and --to, or one head and prompt with --heads and --prompt"
    case .noEigenvalues(let layer, let head):
      "the eigenvalues of head \(layer).\(head) cannot be found: its weights are not finite numbers"
    case .noRepetition:
      "no prompt is a sequence of tokens and then the same sequence again, which --detect repeated "
        + "needs; write such prompts (analyze task induction --repeated as many as --length), or take the detection patterns of any prompt"
    case .badPattern(let why): "the detection pattern cannot be used: \(why)"
    case .noPromptOf(let tokens):
      "no prompt has \(tokens) tokens or more, and in fewer no attention is left that a head could give "
        + "elsewhere; give longer prompts"
    case .noPromptOfLength(let length):
      "no prompt has \(length) tokens, as many as the detection pattern has rows; give prompts of "
        + "that length, <|endoftext|> counted"
    case .noRows(let kind):
      "\(kind.rawValue) has no rows of a fixed width; take a hook of the stream, of a branch, of the "
        + "MLP, or q, k, v or z"
    case .rowsTooWide(let hook, let width, let limit):
      "a row of \(hook) has \(width) values, and principal directions are taken of \(limit) at the "
        + "most; take a narrower hook, or one head's with --head"
    case .tooManyDirections(let count, let prompts, let width):
      "\(count) principal directions cannot be had of \(prompts) prompts with rows of \(width) "
        + "values: one less than the prompts, and as many as the values, at the most"
    case .notFinite(let hook):
      "\(hook) has values that are not finite numbers; `cachedump stats` shows where, and there are "
        + "no principal directions of them"
    case .notDecomposable(let hook):
      "the covariance of \(hook) could not be decomposed; leave out --pca, and report the case"
    case .noSuchHead(let layer, let head, let layers, let heads):
      "there is no head \(layer).\(head): the model has layers 0 to \(layers - 1) and heads 0 to "
        + "\(heads - 1)"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .hooksNotCached: .configuration
    case .onePlaceOnly, .tooManyPlaces, .noRows, .rowsTooWide, .tooManyDirections, .noSuchHead:
      .usage
    case .noRepetition, .badPattern, .noPromptOfLength, .noPromptOf, .notFinite, .noEigenvalues:
      .badData
    case .notDecomposable: .software
    }
  }
}
