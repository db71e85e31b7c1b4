import FileIO
import Model

/// Why a sweep cannot be run.
public enum PatchingError: ReportableError, Equatable {
  case cannotPatch(HookKind)
  case noHeads(HookKind)
  case noAttendedPositions(HookKind)
  case noNeurons(HookKind)
  case noWindow(HookKind)
  /// A mean over positions has no sense for what has a value for every pair of positions.
  case noMeanOverPositions(HookKind)
  case positionGivenTwice(SweepAxis)
  /// There is no role to sweep.
  case noRoles
  /// No pair has a role.
  case noSuchRole(String, known: [String])
  /// No direction is given.
  case noDirections
  /// What a hook holds has no rows of which a component could be replaced.
  case noSubspaces(HookKind)
  /// Rows that span no subspace, and why.
  case noSubspace(String)
  /// A hook whose values noise cannot be added to.
  case noNoise(HookKind)
  /// A pair has no template.
  case noTemplate
  /// A part of a hook that the model does not have, or a subspace of rows of another width.
  case doesNotFit(hook: String, String)
  /// A head that the model does not have.
  case noSuchHead(AttentionHead, layers: Int, heads: Int)
  /// Senders and receivers between which there is no path, and why.
  case noPath(String)
  /// Heads that are no circuit, and why.
  case badCircuit(String)
  /// A pair lacks a place at which a circuit keeps heads.
  case pairWithoutPlace(Place, pair: String)
  /// A cell patches two hooks of a layer of which the one's values are not made from the other's.
  case notTogether(HookPoint, HookPoint)
  /// The cache lacks arrays that a sweep needs.
  case hooksNotCached([String], directory: String)
  case unaligned(pair: String, clean: Int, corrupted: Int, count: Int)
  /// No pair is left of `rows`: so many differ in length, or were not captured before an
  /// interruption; the others lack what is needed, in words.
  case noPairs(rows: Int, unaligned: Int, notCaptured: Int, needs: String)
  /// No pair is long enough to have a position.
  case noSuchPosition(Int, longest: Int)
  case unknownToken(pair: String, token: Int32, vocabulary: Int)
  /// A directory holds what was computed of other sweeps.
  case otherSweeps(directory: String)
  /// Whole runs are to be captured, and they differ from cell to cell.
  case notOneCell
  /// A cache holds runs that were patched, in words how.
  case runsArePatched(String, directory: String)
  /// Whole forward passes gave other metrics than the sweep.
  case notReproduced(largest: Float)

  public var description: String {
    switch self {
    case .cannotPatch(let kind):
      "\(kind.rawValue) cannot be patched: nothing in the model comes after it"
    case .noHeads(let kind):
      "\(kind.rawValue) has no heads; sweep it with --by pos or --by all"
    case .noAttendedPositions(let kind):
      "\(kind.rawValue) has no attended positions; --by head-dest-src takes pattern and attn_scores"
    case .noNeurons(let kind):
      "\(kind.rawValue) has no single neurons; --by neuron takes mlp hooks and the residual stream"
    case .noWindow(let kind):
      "--window needs a hook of the blocks and at least one layer; \(kind.rawValue) with that window "
        + "is no sweep"
    case .noMeanOverPositions(let kind):
      "\(kind.rawValue) has a value for each pair of positions, over which there is no mean; take "
        + "--source mean-pos"
    case .positionGivenTwice(let axis):
      "--by \(axis.rawValue) already patches one position after the other; leave out --pos"
    case .noRoles:
      "no pair names a role; give the rows of the prompt file roles (docs/prompts.md) and capture "
        + "them again, or sweep with --by pos"
    case .noSuchRole(let role, let known):
      "no pair has a role \(role); "
        + (known.isEmpty ? "there are none" : "there are \(known.joined(separator: ", "))")
    case .noDirections: "--by direction needs the directions: --subspace FILE.npy"
    case .noSubspaces(let kind):
      "a subspace cannot be patched in \(kind.rawValue); take a hook of the stream, of a branch, or q, "
        + "k, v or z"
    case .noSubspace(let why): "the rows span no subspace: \(why); give independent rows"
    case .noNoise(let kind):
      "noise cannot be added to \(kind.rawValue); take the hook that it is made from"
    case .noTemplate:
      "a mean by template needs the template of every row; give the rows of the prompt file the key "
        + "template (docs/prompts.md) and capture them again, or take mean-pos"
    case .doesNotFit(let hook, let what): "\(hook) of this model has no such part: \(what)"
    case .noSuchHead(let head, let layers, let heads):
      "there is no head \(head): the model has layers 0 to \(layers - 1) with heads 0 to \(heads - 1)"
    case .badCircuit(let why): "this is no circuit: \(why)"
    case .pairWithoutPlace(let place, let pair):
      "pair \(pair) has no position \(place), at which the circuit keeps heads; give the rows of the prompt "
        + "file such a role (docs/prompts.md) and capture them again"
    case .noPath(let why): "there is no path to patch: \(why)"
    case .notTogether(let one, let other):
      "\(one.name) and \(other.name) cannot be patched in one cell: where each head has an input of its own, "
        + "it is not made from the other hook; patch them in two cells, or resid_pre in the place of both"
    case .hooksNotCached(let hooks, let directory):
      missingHooks(hooks, in: directory, for: "this sweep")
    case .unaligned(let pair, let clean, let corrupted, let count):
      "\(count) pair\(count == 1 ? "" : "s") cannot be patched position by position: in pair \(pair) "
        + "the clean prompt has \(clean) tokens and the corrupted one \(corrupted); "
        + "make them equal, or leave such pairs out with --skip-unaligned"
    case .noPairs(_, let unaligned, let notCaptured, _) where notCaptured > 0:
      "there is no row to work on: the capture was interrupted before it came to "
        + "\(notCaptured) of them"
        + (unaligned > 0 ? ", and \(unaligned) have prompts of unequal length" : "")
        + "; capture the prompts again"
    case .noPairs(let rows, let unaligned, _, let needs) where unaligned > 0:
      "there is no row to work on: in \(unaligned) of \(rows) rows the prompts differ in their number "
        + "of tokens, and no other row has \(needs); make them equal"
    case .noPairs(let rows, _, _, let needs):
      "there is no row to work on: none of the \(rows) rows of the prompt file has \(needs); give "
        + "them there (docs/prompts.md) and capture again, or ask for what needs less"
    case .noSuchPosition(let position, let longest):
      "no pair has a position \(position): the longest prompt has \(longest) tokens, at positions 0 "
        + "to \(longest - 1), or -\(longest) to -1 from the end"
    case .unknownToken(let pair, let token, let vocabulary):
      "the answers of pair \(pair) name token \(token), and the vocabulary has \(vocabulary)"
    case .otherSweeps(let directory):
      "\(directory) holds the beginning of other sweeps, or of another cache or version; finish them "
        + "with their own command, remove it, or give another --out"
    case .notOneCell:
      "the runs of one cell can be captured, and there are several cells; name one hook and place, such as "
        + "--hooks attn_out5 --by all --pos END, or give --cells a file whose rows are one group"
    case .runsArePatched(let what, let directory):
      "the runs in \(directory) are patched (\(what)) and are no model's own, which this analysis needs; give the "
        + "cache that they come from"
    case .notReproduced(let largest):
      "whole forward passes differ from the sweep by up to \(largest), more than rounding explains; "
        + "do not use this result: check the cache with `analyze audit`, and report the case"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .cannotPatch, .noHeads, .noAttendedPositions, .noNeurons, .noWindow,
      .noMeanOverPositions, .positionGivenTwice, .noSuchPosition, .noRoles, .noSuchRole,
      .noDirections, .noSubspaces, .noNoise, .noSuchHead, .noPath, .notOneCell, .notTogether:
      .usage
    case .hooksNotCached, .otherSweeps, .runsArePatched: .configuration
    case .unaligned, .noPairs, .unknownToken, .noSubspace, .noTemplate, .doesNotFit, .badCircuit,
      .pairWithoutPlace:
      .badData
    case .notReproduced: .software
    }
  }
}
