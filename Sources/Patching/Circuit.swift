import Model

/// Some heads of a model, each where it matters: what is claimed to do a task.
public struct Circuit: Sendable, Equatable {
  /// A head of the circuit.
  public struct Member: Sendable, Equatable {
    public var head: AttentionHead
    /// What heads of its kind are called, such as `name mover`.
    public var className: String
    /// Where its output is kept; empty for all positions.
    public var places: [Place]
    /// The heads that are taken out with it to show that it matters: the K of its minimality. nil stands
    /// for the others of its class.
    public var companions: [AttentionHead]?

    public init(
      _ head: AttentionHead, className: String = "", places: [Place] = [],
      companions: [AttentionHead]? = nil
    ) {
      self.head = head
      self.className = className
      self.places = places
      self.companions = companions
    }
  }

  public let members: [Member]

  /// - Throws: `PatchingError.badCircuit` for no head, one that is there twice, and companions that are not
  ///   other heads of the circuit.
  public init(_ members: [Member]) throws(PatchingError) {
    guard !members.isEmpty else { throw .badCircuit("it has no heads") }
    var heads: Set<AttentionHead> = []
    for member in members where !heads.insert(member.head).inserted {
      throw .badCircuit("head \(member.head) is there twice")
    }
    for member in members {
      for companion in member.companions ?? []
      where companion == member.head || !heads.contains(companion) {
        throw .badCircuit(
          "\(companion), which is taken out with \(member.head), is no other head of it")
      }
    }
    self.members = members
  }

  /// The classes, in the order of their first heads.
  public var classes: [String] {
    members.map(\.className).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  /// The numbers of the members of a class.
  public func members(of className: String) -> Set<Int> {
    Set(members.indices.filter { members[$0].className == className })
  }

  /// The numbers of the members that are taken out with one.
  public func companions(of member: Int) -> Set<Int> {
    if let named = members[member].companions {
      return Set(members.indices.filter { named.contains(members[$0].head) })
    }
    return members(of: members[member].className).subtracting([member])
  }

  /// - Throws: `PatchingError.noSuchHead`.
  func check(_ config: ModelConfig) throws(PatchingError) {
    for head in members.map(\.head)
    where !(0..<config.layers ~= head.layer) || !(0..<config.heads ~= head.head) {
      throw .noSuchHead(head, layers: config.layers, heads: config.heads)
    }
  }

  /// What is ablated so that nothing of attention is left but some members where they matter.
  func complement(keeping kept: Set<Int>, config: ModelConfig) -> [Patch] {
    let places = Dictionary(
      uniqueKeysWithValues: kept.map { (members[$0].head, members[$0].places) })
    return (0..<config.layers).flatMap { layer -> [Patch] in
      let hook = HookPoint(.z, layer: layer)
      let heads = (0..<config.heads).map { AttentionHead(layer: layer, head: $0) }
      guard heads.contains(where: { places[$0] != nil }) else { return [Patch(hook)] }
      return heads.compactMap { head in
        switch places[head] {
        case nil: Patch(hook, head: head.head)
        case let places? where places.isEmpty: nil
        case let places?: Patch(hook, head: head.head, sparing: places)
        }
      }
    }
  }

  /// What is ablated so that nothing of some members is left where they matter.
  func ablation(of removed: Set<Int>) -> [Patch] {
    removed.sorted().flatMap { number in
      let member = members[number]
      let hook = HookPoint(.z, layer: member.head.layer)
      let places = member.places.isEmpty ? [nil] : member.places.map(Optional.some)
      return places.map { Patch(hook, head: member.head.head, place: $0) }
    }
  }
}

/// A circuit, or the whole model, without some of the circuit's members.
public struct CircuitSubset: Hashable, Sendable {
  public enum Of: Hashable, Sendable {
    /// Everything but the circuit is ablated: C \ K.
    case circuit
    /// Nothing else is ablated: M \ K.
    case model
  }

  public let of: Of
  /// Numbers of members: K.
  public let removed: Set<Int>

  public init(_ of: Of, without removed: Set<Int> = []) {
    self.of = of
    self.removed = removed
  }
}
