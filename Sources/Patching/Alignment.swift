import Model

/// Where the places of a pair are, and which of them can matter.
struct Alignment: Hashable {
  /// T.
  let length: Int
  /// The first position at which a patch can change anything.
  let first: Int
  /// The positions of each role.
  let roles: [String: Range<Int>]

  /// The positions of a place that can matter: empty if none can, nil if the pair has no such place.
  func positions(of place: Place?) -> Range<Int>? {
    guard let place else { return first..<max(first, length) }
    guard let all = place.positions(roles: roles, length: length) else { return nil }
    return all.clamped(to: first..<max(first, length))
  }

  /// The parts of a run that patches replace, in the order in which a pass reaches their hooks.
  ///
  /// - Returns: nil if the pair lacks one of the places, and none if nothing of them can matter.
  func sites(of patches: [Patch]) -> [Site]? {
    var sites: [Site] = []
    for patch in patches {
      guard let positions = positions(of: patch.place) else { return nil }
      var keys: [Int?] = [nil]
      if let place = patch.key {
        guard let attended = place.positions(roles: roles, length: length) else { return nil }
        keys = attended.map { $0 }
      }
      var spared: [Range<Int>] = []
      for place in patch.spared {
        guard let positions = self.positions(of: place) else { return nil }
        spared.append(positions)
      }
      for rest in positions.without(spared) where !rest.isEmpty {
        sites += keys.map { key in
          Site(
            hook: patch.hook, positions: rest, head: patch.head, key: key,
            neuron: patch.neuron, subspace: patch.subspace, isHeld: patch.isHeld)
        }
      }
    }
    // Swift's sort keeps the order of equal ones: of two that overlap, the later one holds.
    return sites.count > 1 ? sites.sorted { $0.hook.comesBefore($1.hook) } : sites
  }
}

extension Range<Int> {
  /// What is left of it, in ascending order, when some ranges are taken out.
  fileprivate func without(_ others: [Range<Int>]) -> [Range<Int>] {
    var rest = [self]
    for other in others where !other.isEmpty {
      rest = rest.flatMap { range in
        [
          range
            .lowerBound..<Swift.min(Swift.max(other.lowerBound, range.lowerBound), range.upperBound),
          Swift.max(
            Swift.min(other.upperBound, range.upperBound), range.lowerBound)..<range.upperBound,
        ]
      }.filter { !$0.isEmpty }
    }
    return rest
  }
}

extension HookPoint {
  /// Whether a pass reaches it earlier.
  fileprivate func comesBefore(_ other: HookPoint) -> Bool { place < other.place }

  private var place: (Int, Int) {
    let order = HookKind.allCases.firstIndex(of: kind) ?? 0
    if let layer { return (layer, order) }
    return (Entry(self) == .final ? Int.max : -1, order)
  }
}
