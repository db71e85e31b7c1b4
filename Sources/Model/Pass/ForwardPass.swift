import CKernels

/// The forward pass of GPT-2 (Radford et al. 2019), as TransformerLens's HookedTransformer runs it.
///
/// A pass carries the rows of many sequences side by side, without padding: row r of a [R, D]
/// buffer belongs to one position of a sequence, or of several that are the same up to there, and a
/// matrix product takes all rows at once. Positions mix in attention only. What a row becomes does not
/// depend on the rows beside it, to the last bit. It is deliberately not parallel inside: run several
/// passes on several threads.
///
/// Letters: R rows of the batch, D width, H heads, K head width, M MLP width, V vocabulary, T
/// positions of a sequence. One pass is used by one thread at a time.
public final class ForwardPass {
  public let model: GPT2
  private let config: ModelConfig
  private let scratch = MultiplyScratch()

  private var layout = RowLayout()
  private var rows: Int { layout.rows }
  /// Of each sequence, the position from which on its scores are computed.
  private var firstQuery: [Int] = []
  /// Of each sequence, where its scores [H, T - firstQuery, T] lie.
  private var scoreRange: [Range<Int>] = []

  private let residual = PassBuffer()  // [R, D]
  private let normalized = PassBuffer()  // [R, D]
  private let scale = PassBuffer()  // [R]
  private let q = PassBuffer()  // [R, H·K]
  private let k = PassBuffer()  // [R, H·K]
  private let v = PassBuffer()  // [R, H·K]
  private let scores = PassBuffer()  // by sequence [H, T - firstQuery, T]
  private let z = PassBuffer()  // [R, H·K]
  private let branch = PassBuffer()  // [R, D]
  private let mlp = PassBuffer()  // [R, M]
  private let attention: CausalAttention
  private let packedKeys = CausalAttention.PackedKeys()
  private let perHead = PassBuffer()  // [R, H, D]
  private let perHeadScale = PassBuffer()  // [R, H]
  private let logits = PassBuffer()  // [R, V]
  private let assembled = PassBuffer()  // values of one sequence, where its rows lie apart

  public init(_ model: GPT2) {
    self.model = model
    config = model.config
    attention = CausalAttention(model.config)
  }

  /// Runs whole sequences from their tokens to ln_final.
  ///
  /// - Throws: `PassError`, or what a hook throws.
  public func run(tokens: [[Int32]], hooks: PassHooks = .none) throws {
    try embed(tokens, hooks)
    for layer in 0..<config.layers {
      try attentionHalf(layer, hooks)
      try mlpHalf(layer, hooks)
    }
    try finish(hooks)
  }

  /// The row [D] of ln_final.hook_normalized at the last position of a sequence, once a pass has run.
  /// Valid until the next run.
  public func lastRow(sequence: Int) -> UnsafePointer<Float> {
    UnsafePointer(normalized.pointer + layout.lastRow(sequence) * config.width)
  }

  /// Computes the logits of all positions of a sequence, [T, V], once a pass has run.
  public func allLogits(sequence: Int) -> UnsafeBufferPointer<Float> {
    let length = layout.length(sequence)
    let out = logits.need(length * config.vocabulary)
    let input = joined(
      normalized.pointer, layout.runs[sequence], unit: config.width, in: assembled)
    model.unembedding.linear.apply(input, rows: length, into: out, scratch: scratch)
    return UnsafeBufferPointer(start: out, count: length * config.vocabulary)
  }

  // The stages, in the order of the pass.

  private func embed(_ tokens: [[Int32]], _ hooks: PassHooks) throws {
    for sequence in tokens {
      guard !sequence.isEmpty else { throw PassError.empty }
      guard sequence.count <= config.contextLength else {
        throw PassError.tooLong(positions: sequence.count, contextLength: config.contextLength)
      }
      for token in sequence where token < 0 || token >= Int32(clamping: config.vocabulary) {
        throw PassError.unknownToken(token, vocabulary: config.vocabulary)
      }
    }
    layOut(tokens, hooks)
    let width = config.width
    let stream = residual.need(rows * width)  // token embeddings [R, D], then the stream
    let positions = branch.need(rows * width)  // [R, D]
    let (tokenEmbedding, positionEmbedding) = (model.tokenEmbedding, model.positionEmbedding)
    for row in 0..<rows {
      (stream + row * width).update(
        from: tokenEmbedding.row(Int(layout.tokens[row])), count: width)
      (positions + row * width).update(
        from: positionEmbedding.row(layout.positions[row]), count: width)
    }
    try visit(hooks, .embed, nil, stream)
    try visit(hooks, .posEmbed, nil, positions)
    pb_add(stream, positions, stream, rows * width)
  }

  /// residual += attention(ln1(residual))
  private func attentionHalf(_ layer: Int, _ hooks: PassHooks) throws {
    let block = model.blocks[layer]
    let stream = residual.pointer
    try visit(hooks, .residPre, layer, stream)

    let splitInputs = try visitSplitInputs(layer, hooks)
    let input = try layerNorm(
      stream, block.ln1, hooks, scale: .ln1Scale, normalized: .ln1Normalized, layer)
    try project(input, splitInputs[.qInput], block.query, into: q)
    try visit(hooks, .q, layer, q.pointer)
    try project(input, splitInputs[.kInput], block.key, into: k)
    try visit(hooks, .k, layer, k.pointer)
    try project(input, splitInputs[.vInput], block.value, into: v)
    try visit(hooks, .v, layer, v.pointer)

    attentionScores(layer)
    try visit(hooks, .attnScores, layer, scores.pointer)
    causalSoftmax()
    try visit(hooks, .pattern, layer, scores.pointer)
    mixValues()
    try visit(hooks, .z, layer, z.pointer)

    let output = branch.need(rows * config.width)  // [R, D]
    if try visitResult(layer, hooks) {
      sumHeads(adding: block.output.bias, into: output)
    } else {
      block.output.apply(z.pointer, rows: rows, into: output, scratch: scratch)
    }
    try visit(hooks, .attnOut, layer, output)
    pb_add(stream, output, stream, rows * config.width)
  }

  /// residual += mlp(ln2(residual))
  private func mlpHalf(_ layer: Int, _ hooks: PassHooks) throws {
    let block = model.blocks[layer]
    let stream = residual.pointer
    try visit(hooks, .residMid, layer, stream)

    var input = stream
    if hooks.contains(.mlpIn, layer) {
      input = branch.need(rows * config.width)
      input.update(from: stream, count: rows * config.width)
      try visit(hooks, .mlpIn, layer, input)
    }
    let normal = try layerNorm(
      input, block.ln2, hooks, scale: .ln2Scale, normalized: .ln2Normalized, layer)
    let hidden = mlp.need(rows * config.mlpWidth)  // [R, M]
    block.mlpIn.apply(normal, rows: rows, into: hidden, scratch: scratch)
    try visit(hooks, .mlpPre, layer, hidden)
    pb_gelu_new(hidden, hidden, rows * config.mlpWidth)
    try visit(hooks, .mlpPost, layer, hidden)
    let output = branch.need(rows * config.width)  // [R, D]
    block.mlpOut.apply(hidden, rows: rows, into: output, scratch: scratch)
    try visit(hooks, .mlpOut, layer, output)
    pb_add(stream, output, stream, rows * config.width)
    try visit(hooks, .residPost, layer, stream)
  }

  private func finish(_ hooks: PassHooks) throws {
    let input = try layerNorm(
      residual.pointer, model.lnFinal, hooks, scale: .finalScale, normalized: .finalNormalized,
      nil)
    if hooks.contains(.unembed) {
      let out = logits.need(rows * config.vocabulary)  // [R, V]
      model.unembedding.linear.apply(input, rows: rows, into: out, scratch: scratch)
      try visit(hooks, .unembed, nil, out)
    }
  }

  // The parts of the stages.

  /// (x - mean) / scale, and then w and b where they are not folded away. [R, D]
  private func layerNorm(
    _ x: UnsafePointer<Float>, _ weights: LayerNormWeights?, _ hooks: PassHooks,
    scale scaleKind: HookKind, normalized normalizedKind: HookKind, _ layer: Int?
  ) throws -> UnsafeMutablePointer<Float> {
    let out = normalized.need(rows * config.width)
    let divisors = scale.need(rows)
    pb_layernorm_centre(x, rows, config.width, config.layerNormEpsilon, divisors, out)
    try visit(hooks, scaleKind, layer, divisors)
    pb_divide_rows(out, divisors, rows, config.width)
    if let weights {
      pb_scale_shift(out, weights.weight.pointer, weights.bias.pointer, rows, config.width, out)
    }
    try visit(hooks, normalizedKind, layer, out)
    return out
  }

  /// q, k or v [R, H·K] of the shared input [R, D], or of an input of its own for each head
  /// [R, H, D].
  private func project(
    _ input: UnsafePointer<Float>, _ split: PassBuffer?, _ weight: Linear, into buffer: PassBuffer
  ) throws {
    let out = buffer.need(rows * weight.columns)
    guard let split else {
      weight.apply(input, rows: rows, into: out, scratch: scratch)
      return
    }
    for head in 0..<config.heads {
      let columns = head * config.headWidth..<(head + 1) * config.headWidth
      weight.multiply(
        split.pointer + head * config.width, rows: rows, stride: config.heads * config.width,
        inner: 0..<config.width, columns: columns, bias: weight.bias,
        into: out + columns.lowerBound, stride: weight.columns, scratch: scratch)
    }
  }

  /// Shows each head's own copy of the block's input to the hooks that ask for it, [R, H, D]. Those
  /// that were open to change are returned, normalised, as the inputs that q, k and v really have.
  private func visitSplitInputs(_ layer: Int, _ hooks: PassHooks) throws -> [HookKind: PassBuffer] {
    var inputs: [HookKind: PassBuffer] = [:]
    for kind in [HookKind.attnIn, .qInput, .kInput, .vInput] where hooks.contains(kind, layer) {
      let (width, heads) = (config.width, config.heads)
      let copies = perHead.need(rows * heads * width)
      for row in 0..<rows {
        for head in 0..<heads {
          (copies + (row * heads + head) * width).update(
            from: residual.pointer + row * width, count: width)
        }
      }
      try visit(hooks, kind, layer, copies)
      guard hooks.edits else { continue }
      let normal = PassBuffer()
      let out = normal.need(rows * heads * width)
      pb_layernorm(
        copies, rows * heads, width, config.layerNormEpsilon, perHeadScale.need(rows * heads), out)
      if let ln1 = model.blocks[layer].ln1 {
        pb_scale_shift(out, ln1.weight.pointer, ln1.bias.pointer, rows * heads, width, out)
      }
      for input in kind == .attnIn ? [HookKind.qInput, .kInput, .vInput] : [kind] {
        inputs[input] = normal
      }
    }
    return inputs
  }

  /// q · k / √K of every head, [H, T - firstQuery, T] for each sequence; -infinity for later
  /// positions.
  private func attentionScores(_ layer: Int) {
    let out = scores.need(scoreRange.last?.upperBound ?? 0)
    let stride = config.heads * config.headWidth
    for sequence in layout.sequences {
      let (first, length) = (firstQuery[sequence], layout.length(sequence))
      // Rows behind the first query are the sequence's own, and lie together, unless all are asked for.
      let queries =
        first == 0
        ? joined(q.pointer, layout.runs[sequence], unit: stride, in: assembled)
        : q.pointer + layout.own[sequence].lowerBound * stride
      let keys = attended(k, sequence)
      for head in 0..<config.heads {
        attention.pack(keys, head: head, count: length, into: packedKeys)
        attention.scores(
          head: head, layer: layer, q: queries, first: first, count: length - first,
          keys: packedKeys,
          into: out + scoreRange[sequence].lowerBound + head * (length - first) * length,
          columns: length)
      }
    }
  }

  /// The attention patterns, in the place of the scores.
  private func causalSoftmax() {
    for sequence in layout.sequences {
      let (first, length) = (firstQuery[sequence], layout.length(sequence))
      for head in 0..<config.heads {
        let values =
          scores.pointer + scoreRange[sequence].lowerBound + head * (length - first) * length
        attention.softmax(
          values, columns: length, first: first, count: length - first, into: values)
      }
    }
  }

  /// z [R, H·K]: each head's values, weighed by its pattern.
  private func mixValues() {
    let stride = config.heads * config.headWidth
    let out = z.need(rows * stride)
    for sequence in layout.sequences {
      let (own, length) = (layout.own[sequence], layout.length(sequence))
      let shared = length - own.count  // positions whose z another sequence has
      let values = attended(v, sequence)
      for head in 0..<config.heads {
        let firstRow = head * (length - firstQuery[sequence]) + shared - firstQuery[sequence]
        attention.mix(
          head: head, pattern: scores.pointer + scoreRange[sequence].lowerBound + firstRow * length,
          columns: length, first: shared, count: own.count, values: values,
          into: out + own.lowerBound * stride)
      }
    }
  }

  /// The keys or values of a sequence.
  private func attended(_ buffer: PassBuffer, _ sequence: Int) -> CausalAttention.Rows {
    let stride = config.heads * config.headWidth
    return .init(
      pieces: layout.runs[sequence].map {
        (UnsafePointer(buffer.pointer + $0.lowerBound * stride), $0.count)
      })
  }

  /// Shows what each head writes, z_h W_O[h], [R, H, D]. Returns whether it may have been changed.
  private func visitResult(_ layer: Int, _ hooks: PassHooks) throws -> Bool {
    guard hooks.contains(.result, layer) else { return false }
    let (width, heads, headWidth) = (config.width, config.heads, config.headWidth)
    let results = perHead.need(rows * heads * width)
    for head in 0..<heads {
      let inner = head * headWidth..<(head + 1) * headWidth
      model.blocks[layer].output.multiply(
        z.pointer + inner.lowerBound, rows: rows, stride: heads * headWidth, inner: inner,
        columns: 0..<width, bias: nil, into: results + head * width, stride: heads * width,
        scratch: scratch)
    }
    try visit(hooks, .result, layer, results)
    return hooks.edits
  }

  /// attn_out [R, D] as the sum of the heads' results and b_O.
  private func sumHeads(adding bias: Matrix?, into out: UnsafeMutablePointer<Float>) {
    for row in 0..<rows {
      config.sumHeads(
        perHead.pointer + row * config.heads * config.width, adding: bias,
        into: out + row * config.width)
    }
  }

  private func layOut(_ tokens: [[Int32]], _ hooks: PassHooks) {
    // What is changed in one sequence must not change another.
    layout = RowLayout(tokens, sharing: !hooks.edits)
    let wholeScores = hooks.points.contains { $0.kind == .attnScores || $0.kind == .pattern }
    var end = 0
    firstQuery = []
    scoreRange = []
    for sequence in layout.sequences {
      let length = layout.length(sequence)
      firstQuery.append(wholeScores ? 0 : length - layout.own[sequence].count)
      let count = config.heads * (length - firstQuery[sequence]) * length
      scoreRange.append(end..<end + count)
      end += count
    }
  }

  private func visit(
    _ hooks: PassHooks, _ kind: HookKind, _ layer: Int?, _ values: UnsafeMutablePointer<Float>
  ) throws {
    let point = HookPoint(kind, layer: layer)
    guard hooks.points.contains(point) else { return }
    switch kind {
    case .attnScores, .pattern:
      try hooks.visit(
        Activation(
          hook: point, values: values, pieces: scoreRange.map { [$0] }, unit: 1,
          assembled: assembled))
    default:
      let unit = config.valueCount(of: kind, positions: 1)
      try hooks.visit(
        Activation(
          hook: point, values: values, pieces: layout.runs, unit: unit, assembled: assembled))
    }
  }
}

extension ModelConfig {
  /// What attention scores are divided by: √K, unless the checkpoint's options say otherwise.
  public func attentionDivisor(layer: Int) -> Float {
    let root = scalesAttention ? Float(headWidth).squareRoot() : 1
    return scalesAttentionByInverseLayer ? root * Float(layer + 1) : root
  }
}

extension ModelConfig {
  /// attn_out [D] of one position as the sum of the heads' results [H, D] and b_O, in the order of the heads.
  package func sumHeads(
    _ results: UnsafePointer<Float>, adding bias: Matrix?, into sum: UnsafeMutablePointer<Float>
  ) {
    if let bias {
      sum.update(from: bias.pointer, count: width)
    } else {
      sum.update(repeating: 0, count: width)
    }
    for head in 0..<heads { pb_add(sum, results + head * width, sum, width) }
  }
}
