import CKernels
import Model

/// The MLP of a patched pass.
extension PatchedPass {
  /// Rows of the MLP's hidden values at a time, at most, where nothing is put into them.
  static let rowsOfHidden = 144

  /// Adds mlp_out to the stream. The MLP is left out for the first rows of a run where they get another mlp_out.
  func addMLP(_ layer: Int) {
    let block = model.blocks[layer]
    let width = config.width
    let kept = slots.map { rowsOfMLP($0, layer) }
    let count = kept.reduce(0) { $0 + $1.count }
    var offsets = slots.map(\.offset)
    func place(_ index: Int) -> UnsafeMutablePointer<Float> {
      let slot = slots[index]
      return stream.pointer
        + (slot.offset + kept[index].lowerBound - slot.rows.lowerBound) * width
    }
    var input = stream.pointer
    if kept != slots.map(\.rows) || edits[HookPoint(.mlpIn, layer: layer)] != nil {
      input = gathered.need(count * width)
      var offset = 0
      for index in slots.indices {
        (input + offset * width).update(from: place(index), count: kept[index].count * width)
        offsets[index] = offset
        offset += kept[index].count
      }
    }
    func replace(_ kind: HookKind, in values: UnsafeMutablePointer<Float>) {
      apply(kind, layer, to: values, rowsOf: { kept[$0] }, offset: { offsets[$0] })
    }
    replace(.mlpIn, in: input)
    let normal = layerNorm(
      input, rows: count, block.ln2, scale: .ln2Scale, normalized: .ln2Normalized, layer,
      rowsOf: { kept[$0] }, offset: { offsets[$0] })
    let output = branch.need(count * width)
    // Some rows at a time, whose hidden values then are near when they are read again.
    let isEdited = [.mlpPre, .mlpPost].contains { edits[HookPoint($0, layer: layer)] != nil }
    let limit = PatchedPass.rowsOfHidden
    let parts = isEdited ? 1 : (count + limit - 1) / limit
    for part in 0..<parts {
      let rows = part * count / parts..<(part + 1) * count / parts
      let hidden = hidden.need(rows.count * config.mlpWidth)
      block.mlpIn.apply(
        normal + rows.lowerBound * width, rows: rows.count, into: hidden, scratch: scratch)
      replace(.mlpPre, in: hidden)
      pb_gelu_new(hidden, hidden, rows.count * config.mlpWidth)
      replace(.mlpPost, in: hidden)
      block.mlpOut.apply(
        hidden, rows: rows.count, into: output + rows.lowerBound * width, scratch: scratch)
    }
    replace(.mlpOut, in: output)
    for (index, slot) in slots.enumerated() {
      pb_add(
        place(index), output + offsets[index] * width, place(index), kept[index].count * width)
      let others = slot.rows.lowerBound..<kept[index].lowerBound
      guard !others.isEmpty else { continue }
      let values = row.need(others.count * width)
      for edit in items[slot.item].edits where edit.hook == HookPoint(.mlpOut, layer: layer) {
        edit.apply(to: values, rows: others, config: config)
      }
      let target = stream.pointer + slot.offset * width
      pb_add(target, values, target, others.count * width)
    }
  }

  /// The rows of a run that its MLP runs for: all behind those that its first edit of mlp_out replaces, if that
  /// begins with the first row.
  private func rowsOfMLP(_ slot: Slot, _ layer: Int) -> Range<Int> {
    let edit = items[slot.item].edits.first { $0.hook == HookPoint(.mlpOut, layer: layer) }
    guard let edit, edit.site.isWholeRows, !edit.adds,
      edit.positions.contains(slot.rows.lowerBound)
    else { return slot.rows }
    return min(edit.positions.upperBound, slot.rows.upperBound)..<slot.rows.upperBound
  }
}
