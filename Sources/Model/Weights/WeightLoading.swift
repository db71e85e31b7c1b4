import COpenBLAS
import Parallel

/// The weights of one block as the checkpoint has them.
struct CheckpointLayer {
  let ln1, ln2: LayerNormWeights
  /// [D, 3·D]: query, key and value side by side.
  let attention: Matrix
  /// [1, 3·D]
  let attentionBias: Matrix
  /// [D, D]
  let output: Matrix
  /// [1, D]
  let outputBias: Matrix
  /// [D, M]
  let mlpIn: Matrix
  /// [1, M]
  let mlpInBias: Matrix
  /// [M, D]
  let mlpOut: Matrix
  /// [1, D]
  let mlpOutBias: Matrix

  init(_ layer: Int, of checkpoint: Checkpoint) throws(ModelError) {
    let name = "h.\(layer)."
    ln1 = try LayerNormWeights(name + "ln_1", of: checkpoint)
    attention = try checkpoint.matrix(name + "attn.c_attn.weight")
    attentionBias = try checkpoint.matrix(name + "attn.c_attn.bias")
    output = try checkpoint.matrix(name + "attn.c_proj.weight")
    outputBias = try checkpoint.matrix(name + "attn.c_proj.bias")
    ln2 = try LayerNormWeights(name + "ln_2", of: checkpoint)
    mlpIn = try checkpoint.matrix(name + "mlp.c_fc.weight")
    mlpInBias = try checkpoint.matrix(name + "mlp.c_fc.bias")
    mlpOut = try checkpoint.matrix(name + "mlp.c_proj.weight")
    mlpOutBias = try checkpoint.matrix(name + "mlp.c_proj.bias")
  }
}

extension LayerNormWeights {
  init(_ name: String, of checkpoint: Checkpoint) throws(ModelError) {
    weight = try checkpoint.matrix(name + ".weight")
    bias = try checkpoint.matrix(name + ".bias")
  }
}

struct Embeddings: Sendable {
  /// [V, D]
  let tokens: Matrix
  /// [C, D], C the context length
  let positions: Matrix
}

/// The weights of a checkpoint, processed as asked. What ln_final and the unembedding need is there; the
/// embeddings are made when they are asked for, and blocks one by one, so that what makes other matrices of
/// them need not hold both.
struct WeightSource: Sendable {
  private let checkpoint: Checkpoint
  private let config: ModelConfig
  private let processing: WeightProcessing
  /// As the checkpoint has them: [V, D], [C, D].
  private let tokens, positions: Matrix
  let lnFinal: LayerNormWeights?
  let unembedding: Unembedding

  init(
    _ checkpoint: Checkpoint, config: ModelConfig, processing: WeightProcessing, threads: Int
  ) throws(ModelError) {
    self.checkpoint = checkpoint
    self.config = config
    self.processing = processing
    tokens = try checkpoint.matrix("wte.weight")
    positions = try checkpoint.matrix("wpe.weight", rowLimit: config.contextLength)
    let head = checkpoint.hasUnembedding ? try checkpoint.matrix("lm_head.weight") : tokens
    let ln = try LayerNormWeights("ln_f", of: checkpoint)
    switch processing {
    case .raw:
      lnFinal = ln
      unembedding = Unembedding(head, bias: nil, threads: threads)
    case .transformerlens, .refactored:
      lnFinal = nil
      unembedding = Unembedding(head, folding: ln, threads: threads)
    }
  }

  func embeddings(threads: Int) -> Embeddings {
    switch processing {
    case .raw:
      // Views of the file where the file has float32.
      Embeddings(tokens: tokens, positions: positions)
    case .transformerlens, .refactored:
      Embeddings(
        tokens: tokens.withCentredRows(threads: threads),
        positions: positions.withCentredRows(threads: threads))
    }
  }

  /// A block's weights.
  ///
  /// - Throws: `ModelError.notDecomposable` of refactored weights, and nothing of others: the checkpoint
  ///   has been checked.
  func layer(_ index: Int) throws(ModelError) -> LayerWeights {
    let layer = try CheckpointLayer(index, of: checkpoint)
    switch processing {
    case .raw: return LayerWeights(unprocessed: layer)
    case .transformerlens: return LayerWeights(folding: layer)
    case .refactored:
      openblas_set_num_threads(1)  // each layer has a thread of its own
      return try LayerWeights(folding: layer).refactored(heads: config.heads, layer: index)
    }
  }

  /// - Throws: as `layer`.
  func blocks(threads: Int) throws(ModelError) -> [Block] {
    try parallelMap(config.layers, threads: threads) { index throws(ModelError) in
      Block(try layer(index))
    }
  }

  /// - Precondition: the weights are not refactored.
  func checkedBlocks(threads: Int) -> [Block] {
    do throws(ModelError) {
      return try blocks(threads: threads)
    } catch {
      preconditionFailure("a checkpoint that was checked lacks something: \(error)")
    }
  }
}

extension Weights {
  /// The weights in a model's directory, processed as asked.
  ///
  /// - Throws: `ModelError`.
  public init(
    directory: String, processing: WeightProcessing = .transformerlens,
    threads: Int = GPT2.defaultThreads
  ) throws(ModelError) {
    let config = try ModelConfig(directory: directory)
    let source = try WeightSource(
      try Checkpoint(directory: directory, config: config), config: config,
      processing: processing, threads: threads)
    let embeddings = source.embeddings(threads: threads)
    self.init(
      tokenEmbedding: embeddings.tokens, positionEmbedding: embeddings.positions,
      layers: try parallelMap(config.layers, threads: threads) { index throws(ModelError) in
        try source.layer(index)
      },
      lnFinal: source.lnFinal, unembedding: source.unembedding.matrix(),
      unembeddingBias: source.unembedding.bias)
  }
}

extension LayerWeights {
  fileprivate init(unprocessed layer: CheckpointLayer) {
    let width = layer.attention.rows
    let parts = (0..<3).map { part in
      let columns = part * width..<(part + 1) * width
      return (
        layer.attention.copy(columns: columns), layer.attentionBias.copy(columns: columns)
      )
    }
    ln1 = layer.ln1
    (query, queryBias) = parts[0]
    (key, keyBias) = parts[1]
    (value, valueBias) = parts[2]
    output = layer.output
    outputBias = layer.outputBias
    ln2 = layer.ln2
    mlpIn = layer.mlpIn
    mlpInBias = layer.mlpInBias
    mlpOut = layer.mlpOut
    mlpOutBias = layer.mlpOutBias
  }
}

extension Matrix {
  /// Some of the columns, in a matrix of their own.
  func copy(columns range: Range<Int>) -> Matrix {
    let copy = Matrix(rows: rows, columns: range.count)
    for index in 0..<rows {
      copy.row(index).update(from: row(index) + range.lowerBound, count: range.count)
    }
    return copy
  }
}
