import CKernels
import Model

/// What senders make of receivers in one pair, while all other heads stay as they are.
struct PathStream {
  let runs: PairRuns
  /// The senders' z, that of the first layer first; at least one.
  let senders: [Edit]
  /// What hears them, behind the first sender's layer: parts of hook_q, hook_k and hook_v, for direct
  /// edges of their inputs, or rows of the last hook_resid_post; at least one.
  var receivers: [Site]
}

/// Computes what receivers hear: the inputs that they have when the senders' z, and theirs alone, are the
/// source run's.
///
/// As all other heads stand still, no position hears another one on a path, so that rows are computed for
/// those positions only that receivers are asked for, from the first sender's layer on. Rows of all streams
/// go through the products together. Every value has the bits of a whole forward pass.
///
/// Letters as in `ForwardPass`; R rows of all streams. Used by one thread at a time.
final class PathPass {
  private let model: GPT2
  private let config: ModelConfig
  private let scratch = MultiplyScratch()

  /// In the order in which they join.
  private var streams: [PathStream] = []
  /// By stream, its positions and the first one's row; one more row than there are streams.
  private var rows: [Range<Int>] = []
  private var offsets: [Int] = []

  private let stream = PassBuffer()  // [R, D]
  private let input = PassBuffer()  // [R, D]
  private let scale = PassBuffer()  // [R]
  private let z = PassBuffer()  // [R, H·K]
  private let branch = PassBuffer()  // [R, D]
  private let hidden = PassBuffer()  // [R, M]
  private let projected = PassBuffer()  // [R, K]

  /// Floating-point operations so far, two a multiply-add.
  var operations: Double { scratch.operations }

  init(_ model: GPT2) {
    self.model = model
    config = model.config
  }

  /// The edits that put into each receiver what it hears, by stream and receiver; for direct edges those
  /// that add it to the receiver's input.
  ///
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`.
  func run(_ all: [PathStream], _ definition: PathPatch.Definition) throws -> [[Edit]] {
    let order = all.indices.sorted { (first(all[$0]), $0) < (first(all[$1]), $1) }
    streams = order.map { all[$0] }
    defer { streams = [] }  // their arrays are not kept
    rows = streams.map { $0.receivers.map(\.positions).hull }
    offsets = rows.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    let values =
      switch definition {
      case .throughMLPs: try runThroughMLPs()
      case .direct: try streams.indices.map(sums)
      }
    var edits = [[Edit]](repeating: [], count: all.count)
    for (number, index) in order.enumerated() {
      edits[index] = zip(streams[number].receivers, values[number]).map {
        Edit(site: $0, values: $1, isOfSource: false, adds: definition == .direct)
      }
    }
    return edits
  }

  private func first(_ stream: PathStream) -> Int { stream.senders[0].hook.layer ?? 0 }

  // Wang et al.

  /// What receivers hear, in their hooks' shapes for all T positions.
  private func runThroughMLPs() throws -> [[Matrix]] {
    let heard = streams.map { stream in
      stream.receivers.map { site in
        Matrix(
          rows: 1,
          columns: config.valueCount(of: site.hook.kind, positions: stream.runs.length))
      }
    }
    let all = streams.flatMap(\.receivers)
    let toEnd = all.contains { $0.hook.kind == .residPost }
    let last = toEnd ? config.layers : all.compactMap(\.hook.layer).max() ?? 0
    let width = config.width
    let values = stream.need(offsets[streams.count] * width)
    var joined = 0
    for layer in (streams.first.map(first) ?? 0)..<last {
      hear(layer, streams: joined, values, into: heard)
      while joined < streams.count, first(streams[joined]) == layer {
        try copy(.residPre, layer, of: joined, to: values + offsets[joined] * width)
        joined += 1
      }
      let count = offsets[joined]
      try attentionHalf(layer, streams: joined)
      pb_add(values, branch.pointer, values, count * width)
      mlpHalf(layer, rows: count)
    }
    if !toEnd { hear(last, streams: joined, values, into: heard) }
    for (index, stream) in streams.enumerated() {
      for (site, target) in zip(stream.receivers, heard[index]) where site.hook.kind == .residPost {
        for position in site.positions {
          (target.pointer + position * width).update(
            from: values + (offsets[index] + position - rows[index].lowerBound) * width,
            count: width)
        }
      }
    }
    return heard
  }

  /// The attention's output [R, D]: computed anew where a sender of the layer has another z, and else the
  /// receiving run's.
  private func attentionHalf(_ layer: Int, streams count: Int) throws {
    let (width, inner) = (config.width, config.heads * config.headWidth)
    let hook = HookPoint(.z, layer: layer)
    let output = branch.need(offsets[count] * width)
    var changed: [Int] = []
    for index in 0..<count {
      if streams[index].senders.contains(where: { $0.hook == hook }) {
        changed.append(index)
      } else {
        try copy(.attnOut, layer, of: index, to: output + offsets[index] * width)
      }
    }
    let total = changed.reduce(0) { $0 + rows[$1].count }
    let (mixed, results) = (z.need(total * inner), input.need(total * width))
    var row = 0
    for index in changed {
      try copy(.z, layer, of: index, to: mixed + row * inner)
      for edit in streams[index].senders where edit.hook == hook {
        edit.apply(to: mixed + row * inner, rows: rows[index], config: config)
      }
      row += rows[index].count
    }
    model.blocks[layer].output.apply(mixed, rows: total, into: results, scratch: scratch)
    row = 0
    for index in changed {
      (output + offsets[index] * width).update(
        from: results + row * width, count: rows[index].count * width)
      row += rows[index].count
    }
  }

  private func mlpHalf(_ layer: Int, rows count: Int) {
    let block = model.blocks[layer]
    let normal = layerNorm(stream.pointer, rows: count, block.ln2)
    let hidden = hidden.need(count * config.mlpWidth)
    block.mlpIn.apply(normal, rows: count, into: hidden, scratch: scratch)
    pb_gelu_new(hidden, hidden, count * config.mlpWidth)
    let output = branch.need(count * config.width)
    block.mlpOut.apply(hidden, rows: count, into: output, scratch: scratch)
    pb_add(stream.pointer, output, stream.pointer, count * config.width)
  }

  // Direct edges.

  /// What receivers are given besides their input: the sum of what the senders before them write, at the
  /// rows of the stream. [T, D], one array for all receivers with the same senders.
  private func sums(_ index: Int) throws -> [Matrix] {
    let stream = streams[index]
    let width = config.width
    let first = rows[index].lowerBound * width
    var sums: [Matrix] = []
    for (number, sender) in stream.senders.enumerated() {
      let sum = Matrix(rows: stream.runs.length, columns: width)
      try write(sender, index, into: sum.pointer + first)
      if number > 0 {
        pb_add(
          sums[number - 1].pointer + first, sum.pointer + first, sum.pointer + first,
          rows[index].count * width)
      }
      sums.append(sum)
    }
    return stream.receivers.map { site in
      let isEnd = site.hook.kind == .residPost
      let before = stream.senders.count {
        isEnd || $0.hook.layer ?? 0 < site.hook.layer ?? 0
      }
      // The first sender is before every receiver.
      return sums[before - 1]
    }
  }

  /// (z_source − z_receiving) W_O of a sender at the rows of its stream. [rows, D]
  private func write(
    _ edit: Edit, _ index: Int, into written: UnsafeMutablePointer<Float>
  ) throws {
    let inner = config.heads * config.headWidth
    let head = edit.site.head ?? 0
    let own = head * config.headWidth..<(head + 1) * config.headWidth
    let count = rows[index].count
    let (before, after) = (branch.need(count * inner), z.need(count * inner))
    try copy(.z, edit.hook.layer ?? 0, of: index, to: before)
    after.update(from: before, count: count * inner)
    edit.apply(to: after, rows: rows[index], config: config)
    for i in 0..<count * inner { after[i] -= before[i] }
    model.blocks[edit.hook.layer ?? 0].output.multiply(
      after + own.lowerBound, rows: count, stride: inner, inner: own, columns: 0..<config.width,
      bias: nil, into: written, stride: config.width, scratch: scratch)
  }

  // The parts.

  /// Notes the q, k and v of receivers in a layer that the first streams have from their rows of the
  /// residual stream.
  private func hear(
    _ layer: Int, streams count: Int, _ values: UnsafeMutablePointer<Float>, into heard: [[Matrix]]
  ) {
    var listening: [Site: [(stream: Int, receiver: Int)]] = [:]
    for index in 0..<count {
      for (receiver, site) in streams[index].receivers.enumerated()
      where site.hook.layer == layer && site.hook.kind != .residPost {
        // Streams of different positions have the products in common.
        let head = Site(hook: site.hook, positions: 0..<0, head: site.head)
        listening[head, default: []].append((index, receiver))
      }
    }
    guard !listening.isEmpty else { return }
    let block = model.blocks[layer]
    let (width, inner, headWidth) = (
      config.width, config.heads * config.headWidth, config.headWidth
    )
    let total = offsets[count]
    let normal = layerNorm(values, rows: total, block.ln1)
    let output = projected.need(total * headWidth)
    for (site, ears) in listening {
      let weight =
        site.hook.kind == .q ? block.query : site.hook.kind == .k ? block.key : block.value
      let head = site.head ?? 0
      let columns = head * headWidth..<(head + 1) * headWidth
      weight.multiply(
        normal, rows: total, stride: width, inner: 0..<width, columns: columns, bias: weight.bias,
        into: output, stride: headWidth, scratch: scratch)
      for (index, receiver) in ears {
        let target = heard[index][receiver].pointer
        for position in streams[index].receivers[receiver].positions {
          let row = offsets[index] + position - rows[index].lowerBound
          (target + position * inner + columns.lowerBound).update(
            from: output + row * headWidth, count: headWidth)
        }
      }
    }
  }

  /// The rows of a stream in the receiving run's array of a hook.
  private func copy(
    _ kind: HookKind, _ layer: Int, of index: Int, to target: UnsafeMutablePointer<Float>
  ) throws {
    let unit = config.valueCount(of: kind, positions: 1)
    let array = try streams[index].runs.array(.receiving, HookPoint(kind, layer: layer))
    target.update(
      from: array.pointer + rows[index].lowerBound * unit, count: rows[index].count * unit)
  }

  private func layerNorm(
    _ x: UnsafePointer<Float>, rows: Int, _ weights: LayerNormWeights?
  ) -> UnsafeMutablePointer<Float> {
    let out = input.need(rows * config.width)
    pb_layernorm(x, rows, config.width, config.layerNormEpsilon, scale.need(rows), out)
    if let weights {
      pb_scale_shift(out, weights.weight.pointer, weights.bias.pointer, rows, config.width, out)
    }
    return out
  }
}
