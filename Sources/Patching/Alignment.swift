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
      guard let positions = positions(of: patch.place), (patch.key ?? 0) < length else {
        return nil
      }
      guard !positions.isEmpty else { continue }
      sites.append(
        Site(
          hook: patch.hook, positions: positions, head: patch.head, key: patch.key,
          neuron: patch.neuron, subspace: patch.subspace))
    }
    // Swift's sort keeps the order of equal ones: of two that overlap, the later one holds.
    return sites.count > 1 ? sites.sorted { $0.hook.comesBefore($1.hook) } : sites
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
