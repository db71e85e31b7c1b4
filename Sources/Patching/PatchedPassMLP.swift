import CKernels
import Model

/// The MLP of a patched pass.
extension PatchedPass {
  /// Rows of the MLP's hidden values at a time, at most, where nothing is put into them.
  static let rowsOfHidden = 144

  /// Adds mlp_out to the stream.
  func addMLP(_ layer: Int) {
    let block = model.blocks[layer]
    let width = config.width
    let part = Part(slots.map { rowsRun($0, .mlpOut, layer) })
    var input = stream.pointer
    if part.count < allRows.count || edits[HookPoint(.mlpIn, layer: layer)] != nil {
      input = gathered.need(part.count * width)
      gather(part, into: input)
    }
    apply(.mlpIn, layer, to: input, part)
    let normal = layerNorm(
      input, part, block.ln2, scale: .ln2Scale, normalized: .ln2Normalized, layer)
    let output = branch.need(part.count * width)
    // Some rows at a time, whose hidden values then are near when they are read again.
    let isEdited = [.mlpPre, .mlpPost].contains { edits[HookPoint($0, layer: layer)] != nil }
    let limit = PatchedPass.rowsOfHidden
    let pieces = isEdited ? 1 : (part.count + limit - 1) / limit
    for piece in 0..<pieces {
      let rows = piece * part.count / pieces..<(piece + 1) * part.count / pieces
      let hidden = hidden.need(rows.count * config.mlpWidth)
      block.mlpIn.apply(
        normal + rows.lowerBound * width, rows: rows.count, into: hidden, scratch: scratch)
      apply(.mlpPre, layer, to: hidden, part)
      pb_gelu_new(hidden, hidden, rows.count * config.mlpWidth)
      apply(.mlpPost, layer, to: hidden, part)
      block.mlpOut.apply(
        hidden, rows: rows.count, into: output + rows.lowerBound * width, scratch: scratch)
    }
    apply(.mlpOut, layer, to: output, part)
    add(output, part, of: HookPoint(.mlpOut, layer: layer))
  }
}
