import Model

/// Which run receives the patch.
public enum Direction: String, Sendable, CaseIterable {
  /// Clean activations go into the corrupted run: what restores the answer.
  case denoise
  /// Corrupted activations go into the clean run: what destroys it.
  case noise
}

/// The cells of a sweep besides its layers.
public enum SweepAxis: String, Sendable, CaseIterable {
  /// One cell a position: layers × positions.
  case position = "pos"
  /// One cell a head, at all positions or one: layers × heads.
  case head = "head"
  /// One cell a head and position: layers × positions × heads.
  case headPosition = "head-pos"
  /// One cell a layer, at all positions or one.
  case all = "all"
}

/// One intervention: at a layer's hook, some positions of some heads get the other run's values.
public struct Cell: Hashable, Sendable {
  /// nil for hooks outside the blocks.
  public var layer: Int?
  /// nil stands for all heads, or for a hook without heads.
  public var head: Int?
  /// nil stands for all positions.
  public var position: Int?
}

/// One hook patched at every layer asked for, cell by cell.
public struct Sweep: Sendable, Equatable {
  public let kind: HookKind
  /// In ascending order; empty for hooks outside the blocks.
  public let layers: [Int]
  public let axis: SweepAxis
  /// The one position that is patched where `axis` leaves it open, counted from the end if
  /// negative; nil for all positions.
  public let position: Int?

  /// - Throws: `PatchingError` if the hook has no such axis or cannot be patched.
  public init(
    _ kind: HookKind, layers: [Int], by axis: SweepAxis? = nil, position: Int? = nil
  ) throws(PatchingError) {
    guard kind != .unembed else { throw .cannotPatch(kind) }
    let axis = axis ?? Sweep.usualAxis(of: kind)
    if axis == .head || axis == .headPosition, !kind.hasHeadAxis {
      throw .noHeads(kind)
    }
    if axis == .position || axis == .headPosition, position != nil {
      throw .positionGivenTwice(axis)
    }
    self.kind = kind
    self.layers = layers
    self.axis = axis
    self.position = position
  }

  /// Positions for the residual stream and what is written to it, heads for what is inside
  /// attention, one cell a layer for everything else.
  public static func usualAxis(of kind: HookKind) -> SweepAxis {
    switch kind {
    case .embed, .posEmbed, .residPre, .residMid, .residPost, .attnOut, .mlpOut: .position
    case .q, .k, .v, .z, .pattern, .attnScores, .result: .head
    default: .all
    }
  }

  /// The hook at a cell.
  public func hook(of cell: Cell) -> HookPoint { HookPoint(kind, layer: cell.layer) }

  /// The names of the axes of the results, the last one running fastest.
  public var axisNames: [String] {
    let outer = kind.isInBlock ? ["layer"] : []
    return switch axis {
    case .position: outer + ["pos"]
    case .head: outer + ["head"]
    case .headPosition: outer + ["pos", "head"]
    case .all: outer
    }
  }

  /// The lengths of those axes for pairs of up to `positions` positions.
  public func shape(positions: Int, heads: Int) -> [Int] {
    let outer = kind.isInBlock ? [layers.count] : []
    return switch axis {
    case .position: outer + [positions]
    case .head: outer + [heads]
    case .headPosition: outer + [positions, heads]
    case .all: outer
    }
  }

  /// Every cell, in the order of the axes.
  public func cells(positions: Int, heads: Int) -> [Cell] {
    let outer: [Int?] = kind.isInBlock ? layers : [nil]
    return outer.flatMap { layer in
      switch axis {
      case .position:
        (0..<positions).map { Cell(layer: layer, head: nil, position: $0) }
      case .head:
        (0..<heads).map { Cell(layer: layer, head: $0, position: position) }
      case .headPosition:
        (0..<positions).flatMap { position in
          (0..<heads).map { Cell(layer: layer, head: $0, position: position) }
        }
      case .all:
        [Cell(layer: layer, head: nil, position: position)]
      }
    }
  }
}
