import FileIO

/// The values of one hook for all sequences of a pass, at the moment when the pass reaches it.
///
/// What is written to them is what the pass goes on with, if the pass was started with
/// `PassHooks(editing:)`.
public struct Activation {
  public let hook: HookPoint
  let values: UnsafeMutablePointer<Float>
  /// Where each sequence begins, counted in `unit` values; one more than there are sequences.
  let starts: [Int]
  let unit: Int

  /// The values of one sequence in the hook's shape. Valid during the visit.
  public func sequence(_ index: Int) -> UnsafeMutableBufferPointer<Float> {
    UnsafeMutableBufferPointer(
      start: values + starts[index] * unit, count: (starts[index + 1] - starts[index]) * unit)
  }
}

/// Which hooks a pass stops at, and what happens there.
public struct PassHooks {
  let points: Set<HookPoint>
  let edits: Bool
  let visit: (Activation) throws -> Void

  public static var none: PassHooks { PassHooks(reading: []) { _ in } }

  /// Hooks whose values are only read: the pass computes the same bits as without them.
  public init(reading points: Set<HookPoint>, visit: @escaping (Activation) throws -> Void) {
    self.points = points
    edits = false
    self.visit = visit
  }

  /// Hooks whose values may be changed.
  public init(editing points: Set<HookPoint>, visit: @escaping (Activation) throws -> Void) {
    self.points = points
    edits = true
    self.visit = visit
  }

  func contains(_ kind: HookKind, _ layer: Int? = nil) -> Bool {
    points.contains(HookPoint(kind, layer: layer))
  }
}

/// Tokens that a model cannot be run on.
public enum PassError: ReportableError, Equatable {
  case empty
  case tooLong(positions: Int, contextLength: Int)
  case unknownToken(Int32, vocabulary: Int)

  public var description: String {
    switch self {
    case .empty: "a prompt without tokens cannot be run"
    case .tooLong(let positions, let contextLength):
      "a prompt has \(positions) tokens, and the model takes \(contextLength) at most; shorten it"
    case .unknownToken(let token, let vocabulary):
      "token \(token) does not exist in a vocabulary of \(vocabulary); "
        + "the tokenizer belongs to another model"
    }
  }

  public var exitCode: SysExit { .badData }
}
