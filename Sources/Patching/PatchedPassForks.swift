import Model

/// Runs that begin alike, such as windows of layers with the same first one, are one run until they
/// part: the others fork from it.
extension PatchedPass {
  struct Fork {
    /// The run that it forks from.
    let parent: Int
    /// The block in front of whose attention it does.
    let layer: Int
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
        let layer = firstDifference(items[other].edits, item.edits)
        if layer > max(self.layer(of: item.edits[0]), fork?.layer ?? 0) {
          fork = Fork(parent: other, layer: layer)
        }
      }
      // What follows the source run holds other rows.
      if rowsOfSource(item) == nil { known[beginning, default: []].append(number) }
      return fork
    }
  }

  /// The first block in which two runs are edited otherwise, the last one if there is none.
  private func firstDifference(_ a: [Edit], _ b: [Edit]) -> Int {
    let common = zip(a, b).prefix { a, b in
      a.site == b.site && a.values === b.values && a.adds == b.adds
    }.count
    let next = [a.dropFirst(common).first, b.dropFirst(common).first].compactMap { $0 }
    return next.reduce(config.layers - 1) { min($0, layer(of: $1)) }
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
