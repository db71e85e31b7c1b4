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
  /// For patterns and scores, one cell a head, attending position and attended position: layers ×
  /// heads × positions × positions.
  case headEdge = "head-dest-src"
  /// One cell a value of a row, such as a neuron of mlp.hook_post, at all positions or one: layers ×
  /// neurons.
  case neuron = "neuron"
  /// One cell a layer, at all positions or one.
  case all = "all"

  /// Whether each cell has a position of its own.
  public var hasPositions: Bool {
    switch self {
    case .position, .headPosition, .headEdge: true
    case .head, .neuron, .all: false
    }
  }
}

/// One intervention: at a layer's hook, some positions of some heads get the other run's values.
public struct Cell: Hashable, Sendable {
  /// nil for hooks outside the blocks.
  public var layer: Int?
  /// nil stands for all heads, or for a hook without heads.
  public var head: Int?
  /// nil stands for all positions.
  public var position: Int?
  /// The attended position of a pattern; nil stands for all.
  public var key: Int?
  /// One value of each row; nil stands for all.
  public var neuron: Int?

  public init(
    layer: Int? = nil, head: Int? = nil, position: Int? = nil, key: Int? = nil, neuron: Int? = nil
  ) {
    self.layer = layer
    self.head = head
    self.position = position
    self.key = key
    self.neuron = neuron
  }
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
  /// How many neighbouring layers a cell patches at once: those from layer − window / 2 on, as far as
  /// there are any (Meng et al. 2022 patch windows of 10).
  public let window: Int

  /// - Throws: `PatchingError` if the hook has no such axis or cannot be patched.
  public init(
    _ kind: HookKind, layers: [Int], by axis: SweepAxis? = nil, position: Int? = nil,
    window: Int = 1
  ) throws(PatchingError) {
    guard kind != .unembed else { throw .cannotPatch(kind) }
    let axis = axis ?? Sweep.usualAxis(of: kind)
    if [.head, .headPosition, .headEdge].contains(axis), !kind.hasHeadAxis {
      throw .noHeads(kind)
    }
    if axis == .headEdge, !kind.isAttention { throw .noAttendedPositions(kind) }
    if axis == .neuron, kind.isAttention || kind.hasHeadAxis { throw .noNeurons(kind) }
    if axis.hasPositions, position != nil {
      throw .positionGivenTwice(axis)
    }
    guard window >= 1, window == 1 || kind.isInBlock else { throw .noWindow(kind) }
    self.window = window
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

  /// The hook at a cell, of the cell's own layer.
  public func hook(of cell: Cell) -> HookPoint { HookPoint(kind, layer: cell.layer) }

  /// Every hook that a cell patches.
  func hooks(layerCount: Int) -> [HookPoint] {
    guard kind.isInBlock else { return [HookPoint(kind)] }
    let all = Set(layers.flatMap { layers(of: Cell(layer: $0), count: layerCount) })
    return all.compactMap { $0 }.sorted().map { HookPoint(kind, layer: $0) }
  }

  /// The layers that a cell patches; nil for hooks outside the blocks.
  private func layers(of cell: Cell, count: Int) -> [Int?] {
    guard let layer = cell.layer else { return [nil] }
    let first = layer - window / 2
    return (first..<first + window).filter { 0..<count ~= $0 }
  }

  /// The parts of a run that a cell replaces.
  ///
  /// - Parameters:
  ///   - length: T.
  ///   - first: the first position that can matter.
  ///   - layerCount: L.
  /// - Returns: nil if a run of that length has no such cell, and none if no position can matter.
  func sites(of cell: Cell, length: Int, first: Int, layerCount: Int) -> [Site]? {
    guard let positions = cell.rows(length: length, firstDifference: first) else { return nil }
    if let key = cell.key, key >= length { return nil }
    if positions.isEmpty { return [] }
    return layers(of: cell, count: layerCount).map { layer in
      Site(
        hook: HookPoint(kind, layer: layer), positions: positions, head: cell.head, key: cell.key,
        neuron: cell.neuron)
    }
  }

  /// The names of the axes of the results, the last one running fastest.
  public var axisNames: [String] {
    let outer = kind.isInBlock ? ["layer"] : []
    return switch axis {
    case .position: outer + ["pos"]
    case .head: outer + ["head"]
    case .headPosition: outer + ["pos", "head"]
    case .headEdge: outer + ["head", "dest", "src"]
    case .neuron: outer + ["neuron"]
    case .all: outer
    }
  }

  /// The lengths of those axes for pairs of up to `positions` positions.
  public func shape(positions: Int, config: ModelConfig) -> [Int] {
    let heads = config.heads
    let outer = kind.isInBlock ? [layers.count] : []
    return switch axis {
    case .position: outer + [positions]
    case .head: outer + [heads]
    case .headPosition: outer + [positions, heads]
    case .headEdge: outer + [heads, positions, positions]
    case .neuron: outer + [config.valueCount(of: kind, positions: 1)]
    case .all: outer
    }
  }

  /// Every cell, in the order of the axes.
  public func cells(positions: Int, config: ModelConfig) -> [Cell] {
    let heads = config.heads
    let outer: [Int?] = kind.isInBlock ? layers : [nil]
    return outer.flatMap { layer in
      switch axis {
      case .position:
        (0..<positions).map { Cell(layer: layer, position: $0) }
      case .head:
        (0..<heads).map { Cell(layer: layer, head: $0, position: position) }
      case .headPosition:
        (0..<positions).flatMap { position in
          (0..<heads).map { Cell(layer: layer, head: $0, position: position) }
        }
      case .headEdge:
        (0..<heads).flatMap { head in
          (0..<positions).flatMap { destination in
            (0..<positions).map {
              Cell(layer: layer, head: head, position: destination, key: $0)
            }
          }
        }
      case .neuron:
        (0..<config.valueCount(of: kind, positions: 1)).map {
          Cell(layer: layer, position: position, neuron: $0)
        }
      case .all:
        [Cell(layer: layer, position: position)]
      }
    }
  }
}
