import Model

/// Which positions of a run are meant.
public enum Place: Hashable, Sendable, CustomStringConvertible {
  /// A position; a negative one counts from the end.
  case index(Int)
  /// The position or positions that have a role in a pair, or such as `S1+1` those beside them.
  case role(String)

  public var description: String {
    switch self {
    case .index(let position): "\(position)"
    case .role(let name): name
    }
  }

  /// Where the place is in a prompt; nil if the prompt has no such place.
  ///
  /// - Parameters:
  ///   - roles: the positions of each role.
  ///   - length: T.
  public func positions(roles: [String: Range<Int>], length: Int) -> Range<Int>? {
    switch self {
    case .index(let position):
      let index = position < 0 ? length + position : position
      return index >= 0 && index < length ? index..<(index + 1) : nil
    case .role(let name):
      guard let positions = roles[name] ?? Place.besides(name, roles), positions.lowerBound >= 0,
        positions.upperBound <= length
      else { return nil }
      return positions
    }
  }

  /// The positions of a role and a distance, such as `S1+1` or `END-2`.
  private static func besides(_ name: String, _ roles: [String: Range<Int>]) -> Range<Int>? {
    guard let sign = name.lastIndex(where: { $0 == "+" || $0 == "-" }),
      let base = roles[String(name[..<sign])], let distance = Int(name[sign...])
    else { return nil }
    let (first, overflow) = base.lowerBound.addingReportingOverflow(distance)
    let (end, endOverflow) = base.upperBound.addingReportingOverflow(distance)
    return overflow || endOverflow ? nil : first..<end
  }
}

/// One intervention: at a layer's hook, some positions of some heads get other values.
///
/// These are its places on the axes of its sweep; `Sweep.patches(of:layerCount:)` says what it patches.
public struct Cell: Hashable, Sendable {
  /// nil for hooks outside the blocks, and in lists.
  public var layer: Int?
  /// nil stands for all heads, or for a hook without heads.
  public var head: Int?
  /// nil stands for all positions.
  public var place: Place?
  /// The attended position of a pattern; nil stands for all.
  public var key: Place?
  /// One value of each row; nil stands for all.
  public var neuron: Int?
  /// One of the sweep's directions; nil stands for the whole row, or the one subspace.
  public var direction: Int?
  /// The number in a list of cells.
  public var number: Int?

  public init(
    layer: Int? = nil, head: Int? = nil, place: Place? = nil, key: Place? = nil, neuron: Int? = nil,
    direction: Int? = nil, number: Int? = nil
  ) {
    self.layer = layer
    self.head = head
    self.place = place
    self.key = key
    self.neuron = neuron
    self.direction = direction
    self.number = number
  }

  /// The position, where the place is one.
  public var position: Int? {
    if case .index(let position) = place { position } else { nil }
  }

  /// The role, where the place is one.
  public var role: String? {
    if case .role(let name) = place { name } else { nil }
  }
}

/// A part of an activation that a cell replaces.
public struct Patch: Hashable, Sendable {
  public var hook: HookPoint
  /// nil stands for all heads, or for a hook without heads.
  public var head: Int?
  /// nil stands for all positions.
  public var place: Place?
  /// Positions of `place` that are left as they are.
  public var spared: [Place]
  /// The attended positions of a pattern; nil stands for all.
  public var key: Place?
  /// One value of each row; nil stands for all.
  public var neuron: Int?
  /// What of each row is replaced; nil stands for all of it.
  public var subspace: Subspace?
  /// Whether it is held at what the receiving run has there by itself, whatever other patches do to it.
  public var isHeld: Bool

  public init(
    _ hook: HookPoint, head: Int? = nil, place: Place? = nil, sparing spared: [Place] = [],
    key: Place? = nil, neuron: Int? = nil, subspace: Subspace? = nil, isHeld: Bool = false
  ) {
    self.hook = hook
    self.head = head
    self.place = place
    self.spared = spared
    self.key = key
    self.neuron = neuron
    self.subspace = subspace
    self.isHeld = isHeld
  }
}

/// A cell of a list: parts of activations that are replaced together.
public struct ListedCell: Hashable, Sendable {
  public var name: String
  /// What its parts are called together, if they have a name.
  public var group: String?
  public var patches: [Patch]

  public init(name: String, group: String? = nil, patches: [Patch]) {
    self.name = name
    self.group = group
    self.patches = patches
  }
}
