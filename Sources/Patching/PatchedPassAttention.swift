import Model

/// The attention of a patched pass.
extension PatchedPass {
  /// Rows of the runs that take turns at a head, at most, if there are two.
  private static let rowsOfAttention = 64
  /// Heads that a run goes through together, at most, and the keys that these have, if there are two: the next run
  /// finds them in the core's cache.
  private static let headsAtATime = 4
  private static let keysAtATime = 1024

  /// What the attention of a run needs, besides the head. A class: a value would be copied head by head.
  private final class Attending {
    let runs: PairRuns
    /// Those of its edits that are at the scores and the pattern of the block.
    let scoreEdits, patternEdits: [Edit]
    /// Positions whose z is wanted.
    let rows: Range<Int>
    let heads: Range<Int>
    /// Whose keys and values the positions before its own are.
    let prefix: PairRuns.Run
    let queries: UnsafePointer<Float>
    let keys, values: CausalAttention.Rows
    /// Rows of z.
    let mixed: UnsafeMutablePointer<Float>

    init(
      _ item: PatchedRun, layer: Int, rows: Range<Int>, heads: Range<Int>, prefix: PairRuns.Run,
      queries: UnsafePointer<Float>, keys: CausalAttention.Rows, values: CausalAttention.Rows,
      mixed: UnsafeMutablePointer<Float>
    ) {
      runs = item.runs
      scoreEdits = item.edits.filter { $0.hook == HookPoint(.attnScores, layer: layer) }
      patternEdits = item.edits.filter { $0.hook == HookPoint(.pattern, layer: layer) }
      (self.rows, self.heads, self.prefix) = (rows, heads, prefix)
      (self.queries, self.keys, self.values, self.mixed) = (queries, keys, values, mixed)
    }
  }

  /// z of some rows.
  func attend(
    _ layer: Int, _ work: [AttentionWork], _ part: Part, into z: UnsafeMutablePointer<Float>
  ) throws {
    let inner = config.heads * config.headWidth
    var all: [Attending] = []
    for index in slots.indices where !part.rows[index].isEmpty {
      let (slot, rows, heads) = (slots[index], part.rows[index], work[index].heads)
      let runs = items[slot.item].runs
      let mixed = z + part.offsets[index] * inner
      if heads.count < config.heads {
        let cached = try runs.array(.receiving, HookPoint(.z, layer: layer))
        mixed.update(from: cached.pointer + rows.lowerBound * inner, count: rows.count * inner)
        if heads.isEmpty { continue }
      }
      let prefix = slot.followsSource ? PairRuns.Run.source : .receiving
      func pieces(_ buffer: PassBuffer, _ kind: HookKind) throws -> CausalAttention.Rows {
        let own = UnsafePointer(buffer.pointer + slot.offset * inner)
        guard slot.rows.lowerBound > 0 else { return .init(own: own, ownCount: slot.rows.count) }
        return .init(
          prefix: try runs.array(prefix, HookPoint(kind, layer: layer)).pointer,
          prefixCount: slot.rows.lowerBound, own: own, ownCount: slot.rows.count)
      }
      all.append(
        Attending(
          items[slot.item], layer: layer, rows: rows, heads: heads, prefix: prefix,
          queries: q.pointer + slot.place(of: rows.lowerBound) * inner,
          keys: try pieces(k, .k), values: try pieces(v, .v), mixed: mixed))
    }
    // Runs of a pair have their first keys in common: these are packed once for all. Some runs at a time take
    // turns at a few heads, whose keys then are near, as are their own rows when they come to the next ones.
    for same in groups(of: all) {
      var known = [Int](repeating: 0, count: config.heads)
      let length = same.first?.runs.length ?? 1
      let together = min(PatchedPass.headsAtATime, max(1, PatchedPass.keysAtATime / length))
      for some in parts(of: same) {
        for first in stride(from: 0, to: config.heads, by: together) {
          let heads = first..<min(first + together, config.heads)
          for run in some { attend(layer, run, heads: heads.clamped(to: run.heads), known: &known) }
        }
      }
    }
  }

  /// Neighbouring runs together, as many as have so many rows, or one.
  private func parts(of runs: [Attending]) -> [ArraySlice<Attending>] {
    var parts: [ArraySlice<Attending>] = []
    var (first, rows) = (0, 0)
    for (number, run) in runs.enumerated() {
      if number > first, rows + run.keys.ownCount > PatchedPass.rowsOfAttention {
        parts.append(runs[first..<number])
        (first, rows) = (number, 0)
      }
      rows += run.keys.ownCount
    }
    return parts + [runs[first...]]
  }

  /// Runs with the same positions before their own, by pair.
  private func groups(of all: [Attending]) -> [[Attending]] {
    var numbers: [ObjectIdentifier: Int] = [:]
    var groups: [[Attending]] = []
    for run in all {
      let pair = ObjectIdentifier(run.runs)
      let number = numbers[pair] ?? groups.count
      if number == groups.count { groups += [[], []] }
      numbers[pair] = number
      groups[number + (run.prefix == .source ? 1 : 0)].append(run)
    }
    return groups
  }

  /// z of some heads of a run. What one step writes is read by the next one a few heads later: a core that reads
  /// at once in another width has to wait until it has been written.
  ///
  /// - Parameter known: by head, as for `CausalAttention.pack`.
  private func attend(_ layer: Int, _ run: Attending, heads: Range<Int>, known: inout [Int]) {
    let (rows, length) = (run.rows, run.runs.length)
    let columns = CausalAttention.columns(keys: rows.upperBound)
    let size = rows.count * columns  // of a head's scores
    let scores = scores.need(heads.count * size)
    func each(_ step: (_ head: Int, _ scores: UnsafeMutablePointer<Float>) -> Void) {
      for head in heads { step(head, scores + (head - heads.lowerBound) * size) }
    }
    each { head, _ in
      attention.pack(
        run.keys, head: head, count: rows.upperBound, into: packedKeys[head], known: known[head])
      known[head] = run.keys.prefixCount
    }
    each { head, scores in
      attention.scores(
        head: head, layer: layer, q: run.queries, first: rows.lowerBound, count: rows.count,
        keys: packedKeys[head], into: scores, columns: columns)
    }
    each { head, scores in
      for edit in run.scoreEdits {
        edit.apply(toAttention: scores, columns: columns, of: head, rows: rows, length: length)
      }
      attention.softmax(
        scores, columns: columns, first: rows.lowerBound, count: rows.count, into: scores)
      for edit in run.patternEdits {
        edit.apply(toAttention: scores, columns: columns, of: head, rows: rows, length: length)
      }
    }
    each { head, pattern in
      attention.mix(
        head: head, pattern: pattern, columns: columns, first: rows.lowerBound, count: rows.count,
        values: run.values, into: run.mixed)
    }
  }
}
