import Model

/// Runs that begin alike, such as windows of layers with the same first one, are one run until they
/// part: the others fork from it.
extension PatchedPass {
  struct Fork {
    /// The run that it forks from.
    let parent: Int
    /// The block in front of whose attention it does.
    let layer: Int
    /// The end of the positions that can differ from the parent's behind that block, if some do not.
    let end: Int?
  }

  /// What can be seen of a run's beginning at once.
  private struct Beginning: Hashable {
    let runs: ObjectIdentifier
    let site: Site
    let start: Int
  }

  /// The forks of the items, by their number; nil where a run begins by itself.
  ///
  /// Of several runs that an item begins like, the one that it has the most blocks in common with is its
  /// parent, of equals the first. So a parent is there before: had it forked as late as the item does,
  /// the item would fork from the parent's own parent.
  func forks() -> [Fork?] {
    var known: [Beginning: [Int]] = [:]
    return items.enumerated().map { number, item in
      let beginning = Beginning(
        runs: ObjectIdentifier(item.runs), site: item.edits[0].site, start: item.start)
      var fork: Fork?
      for other in known[beginning] ?? [] {
        let (layer, end) = firstDifference(of: item, from: items[other])
        if layer > max(self.layer(of: item.edits[0]), fork?.layer ?? 0) {
          fork = Fork(parent: other, layer: layer, end: end)
        }
      }
      // What follows the source run holds other rows.
      if rowsOfSource(item) == nil { known[beginning, default: []].append(number) }
      return fork
    }
  }

  /// The first block in which two runs are edited otherwise, the last one if there is none, and the end of the
  /// positions at which they are, where that block takes what is put in to no other position.
  private func firstDifference(
    of run: PatchedRun, from other: PatchedRun
  ) -> (layer: Int, end: Int?) {
    let common = zip(run.edits, other.edits).prefix {
      $0.site == $1.site && $0.values === $1.values && $0.adds == $1.adds
    }.count
    let others = run.edits.dropFirst(common) + other.edits.dropFirst(common)
    let last = config.layers - 1
    let first = others.reduce(last) { min($0, layer(of: $1)) }
    let here = others.filter { layer(of: $0) == first }
    // Only the last position is left of the last block.
    guard first < last, here.allSatisfy({ $0.hook.kind.staysAtItsPosition }) else {
      return (first, nil)
    }
    let end = here.map(\.positions).hull.upperBound
    return (first, end < run.runs.length ? end : nil)
  }

  /// The block that an edit is in, or in front of; behind the last one, that.
  private func layer(of edit: Edit) -> Int {
    edit.hook.layer ?? (Entry(edit.hook) == .final ? config.layers - 1 : 0)
  }
}

extension PatchedRun {
  /// The first position that it changes.
  var start: Int { edits.map(\.positions.lowerBound).min() ?? 0 }
}

extension HookKind {
  /// Whether a block's output changes at the same position alone where it is changed.
  fileprivate var staysAtItsPosition: Bool {
    switch self {
    case .qInput, .q, .attnScores, .pattern, .z, .result, .attnOut, .residMid, .mlpIn, .ln2Scale,
      .ln2Normalized, .mlpPre, .mlpPost, .mlpOut, .residPost:
      true
    default: false
    }
  }
}
