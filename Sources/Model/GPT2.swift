import Glibc
import Parallel

/// A GPT-2: its configuration and float32 weights. Immutable, and safe to use from any thread.
public final class GPT2: Sendable {
  public let config: ModelConfig
  /// [V, D]
  public let tokenEmbedding: Matrix
  /// [C, D], C the context length
  public let positionEmbedding: Matrix
  public let blocks: [Block]
  /// nil where it is folded into the unembedding.
  public let lnFinal: LayerNormWeights?
  public let unembedding: Unembedding
  public let processing: WeightProcessing
  /// SHA-256 of model.safetensors in lower-case hexadecimal digits, as the hub shows it for the
  /// file; for a checkpoint in shards, SHA-256 of their digests' digits in the order of their
  /// names.
  public let weightsDigest: String

  /// Loads a model directory in Hugging Face's layout: config.json, and model.safetensors or its
  /// shards with model.safetensors.index.json.
  ///
  /// Unprocessed float32 embeddings are views of the file, which must not be changed while the
  /// model is in use.
  ///
  /// - Parameters:
  ///   - processing: what is done to the weights.
  ///   - threads: how many process the weights. The digest is computed on one more. The result
  ///     does not depend on it.
  /// - Throws: `ModelError`.
  public convenience init(
    directory: String, processing: WeightProcessing = .transformerlens,
    threads: Int = GPT2.defaultThreads
  ) throws(ModelError) {
    let config = try ModelConfig(directory: directory)
    let checkpoint = try Checkpoint(directory: directory, config: config)
    let digest = WeightsDigest(of: checkpoint)
    let source = try WeightSource(
      checkpoint, config: config, processing: processing, threads: threads)
    let blocks = try parallelMap(config.layers, threads: threads) { index throws(ModelError) in
      Block(try source.layer(index))
    }
    self.init(
      config: config, tokenEmbedding: source.tokenEmbedding,
      positionEmbedding: source.positionEmbedding, blocks: blocks, lnFinal: source.lnFinal,
      unembedding: source.unembedding, processing: processing, weightsDigest: digest.wait())
  }

  /// A model of weights from elsewhere, whose shapes fit the configuration.
  public convenience init(
    config: ModelConfig, weights: Weights, processing: WeightProcessing, weightsDigest: String,
    threads: Int = GPT2.defaultThreads
  ) {
    self.init(
      config: config, tokenEmbedding: weights.tokenEmbedding,
      positionEmbedding: weights.positionEmbedding,
      blocks: parallelMap(weights.layers.count, threads: threads) { Block(weights.layers[$0]) },
      lnFinal: weights.lnFinal,
      unembedding: Unembedding(
        weights.unembedding, bias: weights.unembeddingBias, threads: threads),
      processing: processing, weightsDigest: weightsDigest)
  }

  private init(
    config: ModelConfig, tokenEmbedding: Matrix, positionEmbedding: Matrix, blocks: [Block],
    lnFinal: LayerNormWeights?, unembedding: Unembedding, processing: WeightProcessing,
    weightsDigest: String
  ) {
    self.config = config
    self.tokenEmbedding = tokenEmbedding
    self.positionEmbedding = positionEmbedding
    self.blocks = blocks
    self.lnFinal = lnFinal
    self.unembedding = unembedding
    self.processing = processing
    self.weightsDigest = weightsDigest
  }

  /// The number of cores that are online.
  public static var defaultThreads: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
