import CKernels

/// Memory that one thread uses over and over while it derives arrays.
final class ScratchPool {
  private var free: [ByteBuffer] = []

  /// Calls `body` with room for `count` values, which are not initialised.
  func with<Result, Failure: Error>(
    _ count: Int, _ body: (UnsafeMutableBufferPointer<Float>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let buffer = free.popLast() ?? ByteBuffer(capacity: 0)
    defer { free.append(buffer) }
    buffer.reserve(4 * count)
    return try body(buffer.values(count))
  }
}

extension ByteBuffer {
  /// The first `count` values of the buffer's memory, for which there must be room.
  func values(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
    UnsafeMutableBufferPointer(start: base.assumingMemoryBound(to: Float.self), count: count)
  }
}

extension HookGraph.Step {
  /// Computes the array with the kernels of the forward pass, bit for bit as the pass does.
  ///
  /// - Parameters:
  ///   - shapes: of the sources, for the prompt's T positions.
  ///   - load: fills memory with the array of a source.
  ///   - result: as many values as the hook's shape has.
  func derive<Failure: Error>(
    into result: UnsafeMutableBufferPointer<Float>, shapes: [[Int]], scratch: ScratchPool,
    load: (Int, UnsafeMutableBufferPointer<Float>) throws(Failure) -> Void
  ) throws(Failure) {
    guard let out = result.baseAddress else { return }
    let count = result.count
    let shape = shapes[0]
    switch recipe {
    case .sum:
      try load(sources[0], result)
      for source in sources.dropFirst() {
        try scratch.with(count) { (term) throws(Failure) in
          try load(source, term)
          guard let term = term.baseAddress else { return }
          pb_add(out, term, out, count)
        }
      }
    case .geluNew:
      try load(sources[0], result)
      pb_gelu_new(out, out, count)
    case .layerNormScale(_, let epsilon):
      try scratch.with(shape[0] * shape[1]) { (x) throws(Failure) in
        try load(sources[0], x)
        guard let x = x.baseAddress else { return }
        pb_layernorm_centre(x, shape[0], shape[1], epsilon, out, x)
      }
    case .layerNorm(_, let epsilon):
      try load(sources[0], result)
      scratch.with(shape[0]) { scale in
        guard let scale = scale.baseAddress else { return }
        pb_layernorm_centre(out, shape[0], shape[1], epsilon, scale, out)
        pb_divide_rows(out, scale, shape[0], shape[1])
      }
    case .attentionScores(_, _, let divisor):
      try scratch.with(shape[0] * shape[1] * shape[2]) { (q) throws(Failure) in
        try load(sources[0], q)
        try scratch.with(q.count) { (k) throws(Failure) in
          try load(sources[1], k)
          attentionScores(q, k, shape: shape, divisor: divisor, into: out, scratch: scratch)
        }
      }
    case .causalSoftmax:
      try load(sources[0], result)
      let T = shape[1]
      for head in 0..<shape[0] {
        pb_causal_softmax(out + head * T * T, T, T, 0, out + head * T * T)
      }
    case .attentionMix:
      try scratch.with(shape[0] * shape[1] * shape[2]) { (pattern) throws(Failure) in
        try load(sources[0], pattern)
        try scratch.with(count) { (values) throws(Failure) in
          try load(sources[1], values)
          mix(pattern, values, shape: shapes[1], into: result)
        }
      }
    case .repeatHeads(_, let heads):
      try scratch.with(shape[0] * shape[1]) { (x) throws(Failure) in
        try load(sources[0], x)
        guard let x = x.baseAddress else { return }
        let width = shape[1]
        for copy in 0..<shape[0] * heads {
          (out + copy * width).update(from: x + copy / heads * width, count: width)
        }
      }
    }
  }
}

/// - Parameter shape: [T, H, K], of `q` and `k`.
private func attentionScores(
  _ q: UnsafeMutableBufferPointer<Float>, _ k: UnsafeMutableBufferPointer<Float>, shape: [Int],
  divisor: Float, into out: UnsafeMutablePointer<Float>, scratch: ScratchPool
) {
  guard let q = q.baseAddress, let k = k.baseAddress else { return }
  let (T, heads, width) = (shape[0], shape[1], shape[2])
  let stride = heads * width
  // Without heads there is nothing to bound the room for a head's keys.
  guard heads > 0 else { return }
  scratch.with((T + 15) / 16 * 16 * width) { packed in
    guard let packed = packed.baseAddress else { return }
    for head in 0..<heads {
      pb_pack_keys(k + head * width, stride, T, width, packed, 0)
      pb_attention_scores(
        q + head * width, stride, T, 0, width, packed, divisor, out + head * T * T, T)
    }
  }
}

/// - Parameter shape: [T, H, K], of `values` and `z`.
private func mix(
  _ pattern: UnsafeMutableBufferPointer<Float>, _ values: UnsafeMutableBufferPointer<Float>,
  shape: [Int], into z: UnsafeMutableBufferPointer<Float>
) {
  guard let pattern = pattern.baseAddress, let values = values.baseAddress,
    let out = z.baseAddress
  else { return }
  let (T, heads, width) = (shape[0], shape[1], shape[2])
  let stride = heads * width
  for head in 0..<heads {
    pb_attention_mix(
      pattern + head * T * T, T, T, 0, values + head * width, stride, 0, T, width,
      out + head * width, stride)
  }
}
