import Model

/// Which run receives the patch, and what effects are measured by.
public enum Direction: String, Sendable, CaseIterable {
  /// Clean activations go into the corrupted run: what restores the answer.
  case denoise
  /// Corrupted activations go into the clean run: what destroys it.
  case noise
  /// The clean run gets values that need no other run. Effects are differences to the clean run, in
  /// the metric's own units.
  case ablate
}

/// One hook patched at every layer asked for, cell by cell; or a list of cells.
public struct Sweep: Sendable, Equatable {
  /// The hook's short name, or the list's name.
  public let name: String
  /// nil for a list.
  public let kind: HookKind?
  /// In ascending order; empty for hooks outside the blocks and for lists.
  public let layers: [Int]
  public let axis: SweepAxis
  /// The one place that is patched where `axis` leaves it open; nil for all positions.
  public let place: Place?
  /// How many neighbouring layers a cell patches at once: those from layer − window / 2 on, as far as
  /// there are any (Meng et al. 2022 patch windows of 10).
  public let window: Int
  /// The roles of an axis that has them.
  public let roles: [String]
  /// The directions of `SweepAxis.direction`, or the one subspace that every cell patches; empty where
  /// whole rows are patched.
  public let subspaces: [Subspace]
  /// The cells of `SweepAxis.list`.
  public let list: [ListedCell]
  /// The paths that are patched, where not whole activations are.
  public let path: PathPatch?
  /// What a patched position may no longer write to the stream behind the patch: its attn_out or mlp_out
  /// in all later blocks stays what it was (Meng et al. 2022, section 2.2, sever MLPs and attention).
  public let severed: [HookKind]

  /// - Parameters:
  ///   - severed: `.attnOut`, `.mlpOut`; of sweeps of `.residPost` alone.
  ///   - roles: for an axis that has them; at least one.
  ///   - subspaces: for `SweepAxis.direction` one a cell; else none, or one for all.
  /// - Throws: `PatchingError` if the hook has no such axis or cannot be patched.
  public init(
    _ kind: HookKind, layers: [Int], by axis: SweepAxis? = nil, at place: Place? = nil,
    window: Int = 1, roles: [String] = [], subspaces: [Subspace] = [],
    severing severed: [HookKind] = []
  ) throws(PatchingError) {
    precondition(
      severed.isEmpty
        || kind == .residPost && window == 1
          && severed.allSatisfy { $0 == .attnOut || $0 == .mlpOut }
    )
    guard kind != .unembed else { throw .cannotPatch(kind) }
    let usual = Sweep.usualAxis(of: kind)
    let axis = axis ?? (place != nil && usual.hasPositions ? .all : usual)
    if axis.hasHeads, !kind.hasHeadAxis { throw .noHeads(kind) }
    if axis == .headEdge, !kind.isAttention { throw .noAttendedPositions(kind) }
    if axis == .neuron, kind.isAttention || kind.hasHeadAxis { throw .noNeurons(kind) }
    if axis.hasPositions, place != nil { throw .positionGivenTwice(axis) }
    if axis.hasRoles, roles.isEmpty { throw .noRoles }
    guard window >= 1, window == 1 || kind.isInBlock else { throw .noWindow(kind) }
    precondition(axis != .list && (axis == .direction || subspaces.count < 2))
    if axis == .direction, subspaces.isEmpty { throw .noDirections }
    if !subspaces.isEmpty, !kind.hasPlainRows || axis == .neuron { throw .noSubspaces(kind) }
    name = kind.shortName + severed.map { "-severed-\($0.shortName)" }.joined()
    self.severed = severed
    self.window = window
    self.kind = kind
    self.layers = layers
    self.axis = axis
    self.place = place
    self.roles = roles
    self.subspaces = subspaces
    list = []
    path = nil
  }

  /// - Throws: `PatchingError` if a cell patches what cannot be patched, or `.notTogether`.
  public init(name: String, list: [ListedCell]) throws(PatchingError) {
    for cell in list { try Sweep.checkHeadInputs(of: cell) }
    for patch in list.flatMap(\.patches) {
      let kind = patch.hook.kind
      guard kind != .unembed else { throw .cannotPatch(kind) }
      if patch.head != nil, !kind.hasHeadAxis { throw .noHeads(kind) }
      if patch.key != nil, !kind.isAttention { throw .noAttendedPositions(kind) }
      if patch.neuron != nil, kind.isAttention || kind.hasHeadAxis { throw .noNeurons(kind) }
      if patch.subspace != nil, !kind.hasPlainRows { throw .noSubspaces(kind) }
    }
    self.name = name
    self.list = list
    kind = nil
    layers = []
    axis = .list
    place = nil
    window = 1
    roles = []
    subspaces = []
    path = nil
    severed = []
  }

  /// A head's own input is a copy of the stream: one that is patched hides what is done to hook_attn_in,
  /// where that is not itself, and to the LayerNorm of all.
  private static func checkHeadInputs(of cell: ListedCell) throws(PatchingError) {
    for (_, patches) in Dictionary(grouping: cell.patches, by: \.hook.layer) {
      func first(_ kinds: [HookKind]) -> HookPoint? {
        patches.map(\.hook).first { kinds.contains($0.kind) }
      }
      let (shared, split) = (first([.attnIn]), first([.qInput, .kInput, .vInput]))
      if let shared, let split { throw .notTogether(shared, split) }
      if let own = shared ?? split, let norm = first([.ln1Scale, .ln1Normalized]) {
        throw .notTogether(own, norm)
      }
    }
  }

  /// The paths to or from every head that can have one, or a single cell where both ends are given.
  ///
  /// - Throws: `PatchingError.noSuchHead`, `.noPath`.
  public init(_ path: PathPatch, config: ModelConfig) throws(PatchingError) {
    try path.check(config)
    self.path = path
    name = path.name
    let isSwept = path.swept != .neither
    kind = isSwept ? (path.swept == .senders ? .z : path.inputs[0]) : nil
    axis = isSwept ? .head : .list
    list = isSwept ? [] : [ListedCell(name: path.description, patches: [])]
    layers = path.layers(of: config.layers)
    place = nil
    window = 1
    roles = []
    subspaces = []
    severed = []
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

  /// What a cell patches.
  ///
  /// - Parameter layerCount: L.
  public func patches(of cell: Cell, layerCount: Int) -> [Patch] {
    if let path { return path.patches(of: cell, layerCount: layerCount) }
    if let number = cell.number { return list[number].patches }
    guard let kind else { return [] }
    let layers: [Int?] =
      cell.layer.map { layer in
        let first = layer - window / 2
        // The sum is layer + ⌈window / 2⌉, which is no more than an Int has.
        return Array(max(0, first)..<max(0, first, min(layerCount, first + window)))
      } ?? [nil]
    let patches = layers.map { layer in
      Patch(
        HookPoint(kind, layer: layer), head: cell.head, place: cell.place, key: cell.key,
        neuron: cell.neuron, subspace: cell.direction.map { subspaces[$0] } ?? subspaces.first)
    }
    guard let layer = cell.layer else { return patches }
    return patches
      + (layer + 1..<max(layerCount, layer + 1)).flatMap { later in
        severed.map { Patch(HookPoint($0, layer: later), place: cell.place, isHeld: true) }
      }
  }

  /// The names of the hooks at a cell, of the cell's own layer, with `+` between them; of paths the
  /// sweep's name, since sweeps of several receivers have the same cells.
  public func hookName(of cell: Cell) -> String {
    if path != nil { return name }
    guard let kind else {
      var names: [String] = []
      for patch in cell.number.map({ list[$0].patches }) ?? []
      where !names.contains(patch.hook.name) {
        names.append(patch.hook.name)
      }
      return names.joined(separator: "+")
    }
    return HookPoint(kind, layer: cell.layer).name
  }

  /// Every hook that a cell patches, in the order in which a pass reaches them.
  func hooks(config: ModelConfig) -> [HookPoint] {
    if path != nil {
      let hooks = Set(
        cells(positions: 1, config: config).flatMap {
          patches(of: $0, layerCount: config.layers).map(\.hook)
        })
      return config.hookPoints.filter(hooks.contains)
    }
    var hooks = Set(list.flatMap { $0.patches.map(\.hook) })
    for layer in layers {
      hooks.formUnion(patches(of: Cell(layer: layer), layerCount: config.layers).map(\.hook))
    }
    if let kind, !kind.isInBlock { hooks.insert(HookPoint(kind)) }
    return config.hookPoints.filter(hooks.contains)
  }

  /// Every hook whose values are taken from the source, in the same order.
  func sourceHooks(config: ModelConfig) -> [HookPoint] {
    guard let path else { return hooks(config: config) }
    return config.hookPoints.filter(path.senderHooks(layers: layers).contains)
  }

  /// - Throws: `PatchingError.doesNotFit` for a part that the model's hooks do not have.
  public func check(_ config: ModelConfig) throws(PatchingError) {
    if let path { return try path.check(config) }
    var all = list.flatMap(\.patches)
    if kind?.hasPlainRows == true {
      for cell in cells(positions: 1, config: config) where !subspaces.isEmpty {
        all += patches(of: cell, layerCount: config.layers)
      }
    }
    for patch in all {
      let unit = config.valueCount(of: patch.hook.kind, positions: 1)
      if let head = patch.head, !(0..<config.heads ~= head) {
        throw .doesNotFit(hook: patch.hook.name, "head \(head) of \(config.heads)")
      }
      if let layer = patch.hook.layer, !(0..<config.layers ~= layer) {
        throw .doesNotFit(hook: patch.hook.name, "layer \(layer) of \(config.layers)")
      }
      if let neuron = patch.neuron, !(0..<unit ~= neuron) {
        throw .doesNotFit(hook: patch.hook.name, "neuron \(neuron) of \(unit)")
      }
      let width = patch.head == nil ? unit : unit / config.heads
      if let subspace = patch.subspace, subspace.width != width {
        throw .doesNotFit(
          hook: patch.hook.name, "rows of \(subspace.width) values where a row has \(width)")
      }
    }
  }

  /// The names of the axes of the results, the last one running fastest.
  public var axisNames: [String] {
    let outer = kind?.isInBlock == true ? ["layer"] : []
    return switch axis {
    case .position: outer + ["pos"]
    case .role: outer + ["role"]
    case .head: outer + ["head"]
    case .headPosition: outer + ["pos", "head"]
    case .headRole: outer + ["role", "head"]
    case .headEdge: outer + ["head", "dest", "src"]
    case .neuron: outer + ["neuron"]
    case .direction: outer + ["direction"]
    case .all: outer
    case .list: ["cell"]
    }
  }

  /// The lengths of those axes for pairs of up to `positions` positions.
  public func shape(positions: Int, config: ModelConfig) -> [Int] {
    let outer = kind?.isInBlock == true ? [layers.count] : []
    return switch axis {
    case .position: outer + [positions]
    case .role: outer + [roles.count]
    case .head: outer + [config.heads]
    case .headPosition: outer + [positions, config.heads]
    case .headRole: outer + [roles.count, config.heads]
    case .headEdge: outer + [config.heads, positions, positions]
    case .neuron: outer + [neurons(config)]
    case .direction: outer + [subspaces.count]
    case .all: outer
    case .list: [list.count]
    }
  }

  /// Every cell, in the order of the axes.
  public func cells(positions: Int, config: ModelConfig) -> [Cell] {
    if axis == .list { return list.indices.map { Cell(number: $0) } }
    let (positions, heads) = (0..<positions, 0..<config.heads)
    let outer: [Int?] = kind?.isInBlock == true ? layers : [nil]
    return outer.flatMap { layer in
      switch axis {
      case .position: positions.map { Cell(layer: layer, place: .index($0)) }
      case .role: roles.map { Cell(layer: layer, place: .role($0)) }
      case .head: heads.map { Cell(layer: layer, head: $0, place: place) }
      case .headPosition:
        positions.flatMap { position in
          heads.map { Cell(layer: layer, head: $0, place: .index(position)) }
        }
      case .headRole:
        roles.flatMap { role in
          heads.map { Cell(layer: layer, head: $0, place: .role(role)) }
        }
      case .headEdge:
        heads.flatMap { head in
          positions.flatMap { destination in
            positions.map {
              Cell(layer: layer, head: head, place: .index(destination), key: .index($0))
            }
          }
        }
      case .neuron:
        (0..<neurons(config)).map { Cell(layer: layer, place: place, neuron: $0) }
      case .direction:
        subspaces.indices.map { Cell(layer: layer, place: place, direction: $0) }
      case .all, .list: [Cell(layer: layer, place: place)]
      }
    }
  }

  private func neurons(_ config: ModelConfig) -> Int {
    kind.map { config.valueCount(of: $0, positions: 1) } ?? 0
  }
}

extension HookKind {
  /// Whether a pass changes its rows in place, so that something can be added to them or a part of them
  /// replaced.
  var hasPlainRows: Bool {
    switch self {
    case .attnScores, .pattern, .attnIn, .qInput, .kInput, .vInput, .result, .unembed: false
    default: true
    }
  }
}
