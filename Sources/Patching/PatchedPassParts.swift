import CKernels
import Model

/// The rows of runs that a step of a patched pass computes.
extension PatchedPass {
  /// Some neighbouring rows of every slot, one slot's behind the other's.
  struct Part {
    /// By slot, the positions.
    private(set) var rows: [Range<Int>]
    /// By slot, where its first row is.
    private(set) var offsets: [Int] = []
    private(set) var count = 0

    init(_ rows: [Range<Int>]) {
      self.rows = rows
      for range in rows {
        offsets.append(count)
        count += range.count
      }
    }

    /// The row of a position of a slot.
    func place(of position: Int, _ index: Int) -> Int {
      offsets[index] + position - rows[index].lowerBound
    }

    /// Leaves out slots that have no rows.
    mutating func keep(where isKept: (Int) -> Bool) {
      let kept = rows.indices.filter(isKept)
      (rows, offsets) = (kept.map { rows[$0] }, kept.map { offsets[$0] })
    }
  }

  /// All rows of the stream.
  var allRows: Part { Part(slots.map(\.rows)) }

  /// The rows of a run that a branch is computed for, attn_out's or mlp_out's: all behind those that the first
  /// edit of its output replaces, if these begin with the first row.
  func rowsRun(_ slot: Slot, _ output: HookKind, _ layer: Int) -> Range<Int> {
    let edit = items[slot.item].edits.first { $0.hook == HookPoint(output, layer: layer) }
    guard let edit, edit.site.isWholeRows, !edit.adds,
      edit.positions.contains(slot.rows.lowerBound)
    else { return slot.rows }
    return min(edit.positions.upperBound, slot.rows.upperBound)..<slot.rows.upperBound
  }

  /// Copies rows of the stream.
  func gather(_ part: Part, into target: UnsafeMutablePointer<Float>) {
    let width = config.width
    for (index, slot) in slots.enumerated() {
      let first = slot.place(of: part.rows[index].lowerBound)
      (target + part.offsets[index] * width).update(
        from: stream.pointer + first * width, count: part.rows[index].count * width)
    }
  }

  /// Adds what a branch puts out to the stream: rows that were computed, and before them what edits ask for.
  ///
  /// - Parameter part: from `rowsRun`.
  func add(_ output: UnsafePointer<Float>, _ part: Part, of hook: HookPoint) {
    let width = config.width
    for (index, slot) in slots.enumerated() {
      let rows = part.rows[index]
      let target = stream.pointer + slot.offset * width
      let computed = target + (rows.lowerBound - slot.rows.lowerBound) * width
      pb_add(computed, output + part.offsets[index] * width, computed, rows.count * width)
      let others = slot.rows.lowerBound..<rows.lowerBound
      guard !others.isEmpty else { continue }
      let values = row.need(others.count * width)
      for edit in items[slot.item].edits where edit.hook == hook {
        edit.apply(to: values, rows: others, config: config)
      }
      pb_add(target, values, target, others.count * width)
    }
  }

  /// Positions of a run.
  func length(of slot: Slot) -> Int { items[slot.item].runs.length }
}
