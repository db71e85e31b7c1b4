import FileIO
import Model

/// Why a sweep cannot be run.
public enum PatchingError: ReportableError, Equatable {
  case cannotPatch(HookKind)
  case noHeads(HookKind)
  case positionGivenTwice(SweepAxis)
  /// The cache lacks an array that the sweep needs.
  case hookNotCached(String, directory: String)
  case unaligned(pair: String, clean: Int, corrupted: Int, count: Int)
  case noPairs
  case unknownToken(pair: String, token: Int32, vocabulary: Int)

  public var description: String {
    switch self {
    case .cannotPatch(let kind):
      "\(kind.rawValue) cannot be patched: nothing in the model comes after it"
    case .noHeads(let kind):
      "\(kind.rawValue) has no heads; sweep it with --by pos or --by all"
    case .positionGivenTwice(let axis):
      "--by \(axis.rawValue) already patches one position after the other; leave out --pos"
    case .hookNotCached(let hook, let directory):
      "the cache \(directory) does not hold \(hook), which this sweep needs; "
        + "capture the prompts again without --hooks, or with that hook among them"
    case .unaligned(let pair, let clean, let corrupted, let count):
      "\(count) pair\(count == 1 ? "" : "s") cannot be patched position by position: in pair \(pair) "
        + "the clean prompt has \(clean) tokens and the corrupted one \(corrupted); "
        + "make them equal, or leave such pairs out with --skip-unaligned"
    case .noPairs:
      "the prompt file has no pair with a corrupted prompt, an answer and a wrong answer; "
        + "give them as columns 2 to 4 of the prompt file"
    case .unknownToken(let pair, let token, let vocabulary):
      "the answers of pair \(pair) name token \(token), and the vocabulary has \(vocabulary)"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .cannotPatch, .noHeads, .positionGivenTwice: .usage
    case .hookNotCached: .configuration
    case .unaligned, .noPairs, .unknownToken: .badData
    }
  }
}
