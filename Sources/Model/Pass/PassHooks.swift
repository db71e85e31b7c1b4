import FileIO

/// The values of one hook for all sequences of a pass, at the moment when the pass reaches it.
///
/// What is written to them is what the pass goes on with, if the pass was started with
/// `PassHooks(editing:)`.
public struct Activation {
  public let hook: HookPoint
  let values: UnsafeMutablePointer<Float>
  /// Where each sequence's values lie, piece after piece, counted in `unit` values.
  let pieces: [[Range<Int>]]
  let unit: Int
  /// Holds the values of a sequence whose pieces lie apart.
  let assembled: PassBuffer

  /// The values of one sequence in the hook's shape. Valid during the visit, until the next call.
  public func sequence(_ index: Int) -> UnsafeMutableBufferPointer<Float> {
    let count = pieces[index].reduce(0) { $0 + $1.count } * unit
    return UnsafeMutableBufferPointer(
      start: joined(values, pieces[index], unit: unit, in: assembled), count: count)
  }

  /// The values of one sequence where they lie, piece after piece; its beginning may be that of
  /// other sequences too. Valid during the visit.
  public func pieces(of index: Int) -> [UnsafeBufferPointer<Float>] {
    pieces[index].map {
      UnsafeBufferPointer(start: values + $0.lowerBound * unit, count: $0.count * unit)
    }
  }
}

/// Values in one piece: where they lie if they are, else copied one piece behind the other.
///
/// - Parameter pieces: at least one, counted in `unit` values.
func joined(
  _ values: UnsafeMutablePointer<Float>, _ pieces: [Range<Int>], unit: Int, in buffer: PassBuffer
) -> UnsafeMutablePointer<Float> {
  if pieces.count == 1 { return values + pieces[0].lowerBound * unit }
  let copy = buffer.need(pieces.reduce(0) { $0 + $1.count } * unit)
  var end = copy
  for piece in pieces {
    end.update(from: values + piece.lowerBound * unit, count: piece.count * unit)
    end += piece.count * unit
  }
  return copy
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
