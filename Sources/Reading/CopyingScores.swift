import CKernels
import Model
import Parallel

/// How far heads copy tokens that they attend to, from the weights alone (Wang et al. 2022, "Interpretability
/// in the Wild", section 3.1; ARENA 1.4.1).
///
/// A token's embedding x = W_E[t] + MLP₀(ln2₀(W_E[t])), as it is behind the first MLP without attention and
/// position, is sent through a head's OV matrix, ± x W_V W_O, and through ln_final and the unembedding. The
/// score is the share of tokens that are among the k largest of their own logits. Biases of the head are
/// left out, and so is ln1: where it is not folded into W_V (weights `raw`), its weight is missing.
public struct CopyingScores: Sendable {
  /// How many logits count as the largest: k.
  public let top: Int
  /// [L, H]; nil in layer 0, which does not hear the first MLP, and where a logit is not a finite number.
  public let copying: [Double?]
  /// The same with −x W_V W_O: heads that write against what they attend to.
  public let negative: [Double?]

  /// - Parameters:
  ///   - tokens: at least one, of the vocabulary.
  ///   - progress: called with the number of heads done.
  public init(
    _ model: GPT2, tokens: [Int32], top: Int = 5, threads: Int,
    progress: (Int) -> Void = { _ in }
  ) {
    precondition(!tokens.isEmpty)
    let config = model.config
    let embedded = CopyingScores.embeddings(model, tokens)
    var shares: [[Double?]] = [[], []]
    let heads = config.layers * config.heads
    parallelForEach(
      heads, threads: threads, with: { MultiplyScratch() },
      { number, scratch -> [Double?] in
        let (layer, head) = (number / config.heads, number % config.heads)
        guard layer > 0 else { return [nil, nil] }
        return [Float(1), -1].map { sign in
          let found = CopyingScores.count(
            model, tokens, embedded, layer, head, sign: sign, top: top, scratch)
          return found.map { Double($0) / Double(tokens.count) }
        }
      },
      then: { values in
        for (index, value) in values.enumerated() { shares[index].append(value) }
        progress(shares[0].count)
      })
    self.top = top
    (copying, negative) = (shares[0], shares[1])
  }

  /// Of each token what the first MLP makes of its embedding. [N, D]
  private static func embeddings(_ model: GPT2, _ tokens: [Int32]) -> Matrix {
    let (width, count) = (model.config.width, tokens.count)
    let (values, scratch) = (Matrix(rows: count, columns: width), MultiplyScratch())
    let embedding = model.tokenEmbedding
    for (row, token) in tokens.enumerated() {
      values.row(row).update(from: embedding.row(Int(token)), count: width)
    }
    let block = model.blocks[0]
    let normal = layerNorm(values, block.ln2, model.config)
    let hidden = Matrix(rows: count, columns: model.config.mlpWidth)
    block.mlpIn.apply(normal.pointer, rows: count, into: hidden.pointer, scratch: scratch)
    pb_gelu_new(hidden.pointer, hidden.pointer, hidden.count)
    let output = Matrix(rows: count, columns: width)
    block.mlpOut.apply(hidden.pointer, rows: count, into: output.pointer, scratch: scratch)
    pb_add(values.pointer, output.pointer, values.pointer, values.count)
    return values
  }

  /// How many tokens are among the largest of their own logits; nil where one cannot be said to be.
  private static func count(
    _ model: GPT2, _ tokens: [Int32], _ embedded: Matrix, _ layer: Int, _ head: Int, sign: Float,
    top: Int, _ scratch: MultiplyScratch
  ) -> Int? {
    let config = model.config
    let (width, headWidth, vocabulary) = (config.width, config.headWidth, config.vocabulary)
    let columns = head * headWidth..<(head + 1) * headWidth
    let values = Matrix(rows: tokens.count, columns: headWidth)
    model.blocks[layer].value.multiply(
      embedded.pointer, rows: tokens.count, stride: width, inner: 0..<width, columns: columns,
      bias: nil, into: values.pointer, stride: headWidth, scratch: scratch)
    for i in 0..<values.count { values.pointer[i] *= sign }
    let written = Matrix(rows: tokens.count, columns: width)
    model.blocks[layer].output.multiply(
      values.pointer, rows: tokens.count, stride: headWidth, inner: columns, columns: 0..<width,
      bias: nil, into: written.pointer, stride: width, scratch: scratch)
    let normal = layerNorm(written, model.lnFinal, config)
    // A few rows of logits at a time: [rows, V].
    let most = max(1, min(tokens.count, (1 << 22) / max(1, vocabulary)))
    let logits = Matrix(rows: most, columns: vocabulary)
    var found = 0
    for first in stride(from: 0, to: tokens.count, by: most) {
      let rows = min(most, tokens.count - first)
      model.unembedding.linear.apply(
        normal.row(first), rows: rows, into: logits.pointer, scratch: scratch)
      for row in 0..<rows {
        let all = UnsafeBufferPointer(start: logits.row(row), count: vocabulary)
        let own = all[Int(tokens[first + row])]
        guard own.isFinite, !all.contains(where: \.isNaN) else { return nil }
        let larger = all.reduce(0) { $0 + ($1 > own ? 1 : 0) }
        if larger < top { found += 1 }
      }
    }
    return found
  }

  private static func layerNorm(
    _ x: Matrix, _ weights: LayerNormWeights?, _ config: ModelConfig
  ) -> Matrix {
    let (out, scale) = (Matrix(rows: x.rows, columns: x.columns), Matrix(rows: x.rows, columns: 1))
    pb_layernorm(
      x.pointer, x.rows, x.columns, config.layerNormEpsilon, scale.pointer, out.pointer)
    if let weights {
      pb_scale_shift(
        out.pointer, weights.weight.pointer, weights.bias.pointer, x.rows, x.columns, out.pointer)
    }
    return out
  }
}
