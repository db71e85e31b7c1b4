import CKernels
import Model

/// A run of a pair with some of its activations replaced.
struct PatchedRun {
  let runs: PairRuns
  /// Not empty; in the order in which a pass reaches their hooks.
  let edits: [Edit]
}

/// Runs many patched runs at once, computing only what their patches change.
///
/// Each run joins at the half block where its first edit is, with rows of the residual stream from the
/// cache, or where it parts from another one; it goes on as rows of the products of all. What it holds at a time are the rows that differ
/// from the receiving run: behind an attention, all from the first changed position on; before it,
/// those that were changed. Queries, keys and values of other rows come from the cache. In the last
/// block only the last position goes beyond keys and values. A run that has forked from another one may hold
/// fewer in its first block, and has that one's rows behind it.
///
/// Letters as in `ForwardPass`; R rows of all runs. Used by one thread at a time.
final class PatchedPass {
  let model: GPT2
  let config: ModelConfig
  let scratch = MultiplyScratch()
  let attention: CausalAttention
  let packedKeys: [CausalAttention.PackedKeys]  // by head

  var items: [PatchedRun] = []
  var edits: [HookPoint: [(item: Int, edit: Edit)]] = [:]
  var joining: [Entry: [Int]] = [:]
  /// By block, the runs that fork from others in front of it.
  var forking: [Int: [(item: Int, fork: Fork)]] = [:]
  /// The runs that have joined, in the order of their rows.
  var slots: [Slot] = []
  var slotOfItem: [Int?] = []

  var stream = PassBuffer()  // [R, D]
  var nextStream = PassBuffer()  // [R, D]
  let gathered = PassBuffer()  // [changed R, D]
  private let normalized = PassBuffer()  // [changed R, D]
  private let scale = PassBuffer()  // [changed R]
  private let projected = PassBuffer()  // [changed R, H·K]
  let q = PassBuffer()  // [R, H·K]
  let k = PassBuffer()  // [R, H·K]
  let v = PassBuffer()  // [R, H·K]
  private let z = PassBuffer()  // [R, H·K]
  let scores = PassBuffer()  // some heads of one run: [heads, rows, columns(keys: T)]
  let branch = PassBuffer()  // [R, D]
  let hidden = PassBuffer()  // [rows at a time, M]
  let row = PassBuffer()  // [D]

  /// What a run holds.
  struct Slot {
    var item: Int
    /// The first position that can differ from the receiving run.
    let start: Int
    /// Whether the positions before `start` are the source run's rather than the receiving one's.
    let followsSource: Bool
    /// Whether unchanged rows come from the cache; else all are computed, from the first on.
    let reusesRows: Bool
    /// The run that it has forked from, where all rows behind its own are that run's.
    var parent: Int?
    /// The positions in the stream, and the first one's row.
    var rows: Range<Int>
    var offset: Int

    /// The row of a position.
    func place(of position: Int) -> Int { offset + position - rows.lowerBound }
  }

  /// What the attention of a run computes.
  struct AttentionWork {
    /// Positions in the stream whose k and v are computed, and q where it is wanted; those of other rows are
    /// cached.
    let changed: Range<Int>
    /// Positions whose q, k and v are the source run's.
    var ofSource = 0..<0
    /// The heads that are run; the z of others is cached.
    let heads: Range<Int>
  }

  /// Floating-point operations so far, two a multiply-add.
  var operations: Double { scratch.operations + attention.operations }

  init(_ model: GPT2) {
    self.model = model
    config = model.config
    attention = CausalAttention(model.config)
    packedKeys = (0..<model.config.heads).map { _ in CausalAttention.PackedKeys() }
  }

  /// Runs all, and calls `finish` with the number of each run whose last position is changed, and
  /// that position's row [D] of ln_final.hook_normalized.
  ///
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`.
  func run(_ items: [PatchedRun], finish: (Int, UnsafePointer<Float>) -> Void) throws {
    self.items = items.map(enteringAttention)
    // Their arrays are not kept.
    defer { (self.items, edits) = ([], [:]) }
    reserve(rows: items.reduce(0) { $0 + $1.runs.length - $1.start })
    slots = []
    slotOfItem = Array(repeating: nil, count: items.count)
    edits = [:]
    joining = [:]
    forking = [:]
    for ((number, item), fork) in zip(self.items.enumerated(), forks()) {
      for edit in item.edits { edits[edit.hook, default: []].append((number, edit)) }
      if let fork {
        forking[fork.layer, default: []].append((number, fork))
      } else {
        joining[Entry(item.edits[0].hook), default: []].append(number)
      }
    }
    for layer in 0..<config.layers {
      try attentionHalf(layer)
      try mlpHalf(layer)
    }
    try finalNorm(finish)
  }

  /// Makes room for so many rows at once. Buffers that grew row by row would be new memory each time.
  private func reserve(rows: Int) {
    for buffer in [stream, nextStream, normalized, branch] { _ = buffer.need(rows * config.width) }
    for buffer in [q, k, v, z] { _ = buffer.need(rows * config.heads * config.headWidth) }
    _ = hidden.need(min(rows, PatchedPass.rowsOfHidden) * config.mlpWidth)
  }

  // The halves of a block.

  private func attentionHalf(_ layer: Int) throws {
    let work = try enterAttention(layer)
    guard !slots.isEmpty else { return }
    let block = model.blocks[layer]
    let isLast = layer == config.layers - 1
    let inner = config.heads * config.headWidth
    apply(.residPre, layer, to: stream.pointer, allRows)

    // The rows that go on, in the last block those at the last position; of these, those whose attention is run.
    var after = slots
    if isLast {
      let last = Part(slots.map { $0.rows.clamped(to: length(of: $0) - 1..<length(of: $0)) })
      for index in after.indices {
        (after[index].rows, after[index].offset) = (last.rows[index], last.offsets[index])
      }
    }
    var attended = Part(after.map { rowsRun($0, .attnOut, layer) })
    try projectChanged(layer, work, queries: attended)
    let mixed = z.need(attended.count * inner)
    try attend(layer, work, attended, into: mixed)
    if isLast {
      let count = after.reduce(0) { $0 + $1.rows.count }
      let target = nextStream.need(count * config.width)
      for (slot, next) in zip(slots, after) {
        let first = slot.place(of: next.rows.lowerBound)
        (target + next.offset * config.width).update(
          from: stream.pointer + first * config.width, count: next.rows.count * config.width)
      }
      swap(&stream, &nextStream)
    }
    attended.keep { !after[$0].rows.isEmpty }
    slots = after.filter { !$0.rows.isEmpty }
    indexSlots()

    apply(.z, layer, to: mixed, attended)
    let output = branch.need(attended.count * config.width)
    block.output.apply(mixed, rows: attended.count, into: output, scratch: scratch)
    replaceResults(layer, z: mixed, output: output, attended)
    apply(.attnOut, layer, to: output, attended)
    add(output, attended, of: HookPoint(.attnOut, layer: layer))
  }

  private func mlpHalf(_ layer: Int) throws {
    try enter(.mlp(layer), layer)
    apply(.residMid, layer, to: stream.pointer, allRows)
    if !slots.isEmpty { addMLP(layer) }
    try enter(.after(layer), layer)
    apply(.residPost, layer, to: stream.pointer, allRows)
  }

  private func finalNorm(_ finish: (Int, UnsafePointer<Float>) -> Void) throws {
    try enter(.final, config.layers - 1)
    let normal = layerNorm(
      stream.pointer, allRows, model.lnFinal, scale: .finalScale, normalized: .finalNormalized, nil)
    for slot in slots where slot.rows.upperBound == length(of: slot) {
      finish(slot.item, normal + (slot.offset + slot.rows.count - 1) * config.width)
    }
  }

  // The parts of the halves.

  /// q, k and v: computed where the stream has changed, from the cache elsewhere.
  ///
  /// - Parameter queries: the rows whose q is wanted. Nothing reads what is in the place of others.
  private func projectChanged(_ layer: Int, _ work: [AttentionWork], queries: Part) throws {
    let block = model.blocks[layer]
    let (width, inner) = (config.width, config.heads * config.headWidth)
    let total = allRows.count
    let changed = Part(work.map(\.changed))
    // The first slots of which all rows have changed, whose products lie where they belong.
    let whole = zip(slots, work).prefix { $0.rows == $1.changed }.count
    let wholeRows = slots[..<whole].reduce(0) { $0 + $1.rows.count }
    var input = stream.pointer
    if changed.count < total {
      input = gathered.need(changed.count * width)
      gather(changed, into: input)
    }
    let normal = layerNorm(
      input, changed, block.ln1, scale: .ln1Scale, normalized: .ln1Normalized, layer)

    let targets: [(HookKind, Linear, PassBuffer)] = [
      (.q, block.query, q), (.k, block.key, k), (.v, block.value, v),
    ]
    for (kind, weight, buffer) in targets {
      let target = buffer.need(total * inner)
      if kind == .q, queries.count < total {
        try projectQueries(layer, normal, changed, work, queries, into: target)
      } else {
        weight.apply(normal, rows: changed.count, into: target, scratch: scratch)
        let rest = changed.count - wholeRows
        let output = projected.need(rest * inner)
        output.update(from: target + wholeRows * inner, count: rest * inner)
        for index in whole..<slots.count {
          let slot = slots[index]
          let rows = target + slot.offset * inner
          let own = changed.rows[index]
          if own != slot.rows {
            let (runs, hook) = (items[slot.item].runs, HookPoint(kind, layer: layer))
            let cached = try runs.array(.receiving, hook)
            rows.update(
              from: cached.pointer + slot.rows.lowerBound * inner, count: slot.rows.count * inner)
            let source = work[index].ofSource
            if !source.isEmpty {
              (rows + (source.lowerBound - slot.rows.lowerBound) * inner).update(
                from: try runs.array(.source, hook).pointer + source.lowerBound * inner,
                count: source.count * inner)
            }
          }
          (rows + (own.lowerBound - slot.rows.lowerBound) * inner).update(
            from: output + (changed.offsets[index] - wholeRows) * inner, count: own.count * inner)
        }
      }
      replaceInputs(kind, weight, layer, block.ln1, into: target)
      apply(kind, layer, to: target, allRows)
    }
  }

  /// q of some rows alone.
  ///
  /// - Parameter normal: normalised rows of the stream, those of `changed`.
  private func projectQueries(
    _ layer: Int, _ normal: UnsafePointer<Float>, _ changed: Part, _ work: [AttentionWork],
    _ wanted: Part, into target: UnsafeMutablePointer<Float>
  ) throws {
    let (width, inner) = (config.width, config.heads * config.headWidth)
    let computed = Part(zip(wanted.rows, changed.rows).map { $0.clamped(to: $1) })
    let input = gathered.need(computed.count * width)  // what was there is normalised by now
    for (index, rows) in computed.rows.enumerated() {
      (input + computed.offsets[index] * width).update(
        from: normal + changed.place(of: rows.lowerBound, index) * width, count: rows.count * width)
    }
    let output = projected.need(computed.count * inner)
    model.blocks[layer].query.apply(input, rows: computed.count, into: output, scratch: scratch)
    for (index, slot) in slots.enumerated() {
      for position in wanted.rows[index] {
        let row = target + slot.place(of: position) * inner
        if computed.rows[index].contains(position) {
          row.update(from: output + computed.place(of: position, index) * inner, count: inner)
        } else {
          let cached = try items[slot.item].runs.array(
            work[index].ofSource.contains(position) ? .source : .receiving,
            HookPoint(.q, layer: layer))
          row.update(from: cached.pointer + position * inner, count: inner)
        }
      }
    }
  }

  /// (x - mean) / scale of the rows of a part, and then w and b where they are not folded away.
  func layerNorm(
    _ x: UnsafePointer<Float>, _ part: Part, _ weights: LayerNormWeights?,
    scale scaleKind: HookKind, normalized normalizedKind: HookKind, _ layer: Int?
  ) -> UnsafeMutablePointer<Float> {
    let rows = part.count
    let out = normalized.need(rows * config.width)
    let divisors = scale.need(rows)
    pb_layernorm_centre(x, rows, config.width, config.layerNormEpsilon, divisors, out)
    apply(scaleKind, layer, to: divisors, part)
    pb_divide_rows(out, divisors, rows, config.width)
    if let weights {
      pb_scale_shift(out, weights.weight.pointer, weights.bias.pointer, rows, config.width, out)
    }
    apply(normalizedKind, layer, to: out, part)
    return out
  }

  /// Replaces what edits ask for in a buffer that holds the rows of a part.
  func apply(_ kind: HookKind, _ layer: Int?, to values: UnsafeMutablePointer<Float>, _ part: Part)
  {
    guard let edits = edits[HookPoint(kind, layer: layer)] else { return }
    let unit = config.valueCount(of: kind, positions: 1)
    for (item, edit) in edits {
      guard let index = slotOfItem[item] else { continue }
      edit.apply(to: values + part.offsets[index] * unit, rows: part.rows[index], config: config)
    }
  }

  /// Projects the inputs that heads were given of their own: hook_attn_in and hook_{q,k,v}_input.
  private func replaceInputs(
    _ kind: HookKind, _ weight: Linear, _ layer: Int, _ ln1: LayerNormWeights?,
    into target: UnsafeMutablePointer<Float>
  ) {
    let own: HookKind = kind == .q ? .qInput : kind == .k ? .kInput : .vInput
    let (width, inner) = (config.width, config.heads * config.headWidth)
    let normal = row.need(2 * width)
    let sum = normal + width
    for hook in [HookKind.attnIn, own] {
      for (item, edit) in edits[HookPoint(hook, layer: layer)] ?? [] {
        guard let slot = slotOfItem[item].map({ slots[$0] }) else { continue }
        for position in edit.positions.clamped(to: slot.rows) {
          for head in edit.site.head.map({ $0..<($0 + 1) }) ?? 0..<config.heads {
            let place = slot.place(of: position)
            var input = UnsafePointer(edit.values.pointer)
            if edit.adds {
              pb_add(stream.pointer + place * width, input + position * width, sum, width)
              input = UnsafePointer(sum)
            } else {
              input += (position * config.heads + head) * width
            }
            pb_layernorm(input, 1, width, config.layerNormEpsilon, scale.need(1), normal)
            if let ln1 {
              pb_scale_shift(normal, ln1.weight.pointer, ln1.bias.pointer, 1, width, normal)
            }
            let columns = head * config.headWidth..<(head + 1) * config.headWidth
            weight.multiply(
              normal, rows: 1, stride: width, inner: 0..<width, columns: columns, bias: weight.bias,
              into: target + place * inner + columns.lowerBound, stride: inner, scratch: scratch)
          }
        }
      }
    }
  }

  /// attn_out as the sum of the heads' results z_h W_O[h], some of them others, and b_O, where an edit
  /// covers a position.
  private func replaceResults(
    _ layer: Int, z: UnsafePointer<Float>, output: UnsafeMutablePointer<Float>, _ part: Part
  ) {
    guard let all = edits[HookPoint(.result, layer: layer)] else { return }
    let (width, headWidth) = (config.width, config.headWidth)
    let inner = config.heads * headWidth
    let (results, weight) = (row.need(config.heads * width), model.blocks[layer].output)
    for (item, edits) in Dictionary(grouping: all, by: \.item) {
      guard let index = slotOfItem[item] else { continue }
      for position in part.rows[index]
      where edits.contains(where: { $0.edit.positions.contains(position) }) {
        let place = part.place(of: position, index)
        for head in 0..<config.heads {
          let range = head * headWidth..<(head + 1) * headWidth
          weight.multiply(
            z + place * inner + range.lowerBound, rows: 1, stride: headWidth, inner: range,
            columns: 0..<width, bias: nil, into: results + head * width, stride: width,
            scratch: scratch)
        }
        for (_, edit) in edits {
          edit.apply(to: results, rows: position..<position + 1, config: config)
        }
        config.sumHeads(results, adding: weight.bias, into: output + place * width)
      }
    }
  }
}
