import Glibc
import Parallel

/// A GPT-2: its configuration and float32 weights. Immutable, and safe to use from any thread.
public final class GPT2: Sendable {
  public let config: ModelConfig
  /// nil where it is folded into the unembedding.
  public let lnFinal: LayerNormWeights?
  public let unembedding: Unembedding
  public let processing: WeightProcessing
  /// SHA-256 of model.safetensors in lower-case hexadecimal digits, as the hub shows it for the
  /// file; for a checkpoint in shards, SHA-256 of their digests' digits in the order of their
  /// names.
  public let weightsDigest: String
  private let body: LazyBody

  /// [V, D]
  public var tokenEmbedding: Matrix { body.value.tokenEmbedding }
  /// [C, D], C the context length
  public var positionEmbedding: Matrix { body.value.positionEmbedding }
  public var blocks: [Block] { body.value.blocks }

  /// Which weights are made ready when a model is loaded.
  public enum Preparation: Sendable {
    /// All that a forward pass needs.
    case whole
    /// ln_final and the unembedding. The embeddings and the blocks are made when they are first asked for.
    case unembedding
  }

  /// Loads a model directory in Hugging Face's layout: config.json, and model.safetensors or its
  /// shards with model.safetensors.index.json.
  ///
  /// Unprocessed float32 embeddings are views of the file, which must not be changed while the
  /// model is in use.
  ///
  /// - Parameters:
  ///   - processing: what is done to the weights.
  ///   - preparing: what is made ready now; of refactored weights, which can fail, it is the whole.
  ///   - threads: how many process the weights. The digest is computed on one more. The result
  ///     does not depend on it.
  /// - Throws: `ModelError`.
  public convenience init(
    directory: String, processing: WeightProcessing = .transformerlens,
    preparing: Preparation = .whole, threads: Int = GPT2.defaultThreads
  ) throws(ModelError) {
    let config = try ModelConfig(directory: directory)
    let checkpoint = try Checkpoint(directory: directory, config: config)
    let digest = WeightsDigest(of: checkpoint)
    let source = try WeightSource(
      checkpoint, config: config, processing: processing, threads: threads)
    let body =
      preparing == .whole || processing == .refactored
      ? LazyBody(try source.body(threads: threads)) : LazyBody(from: source, threads: threads)
    self.init(
      config: config, body: body, lnFinal: source.lnFinal, unembedding: source.unembedding,
      processing: processing, weightsDigest: digest.wait())
  }

  /// A model of weights from elsewhere, whose shapes fit the configuration.
  public convenience init(
    config: ModelConfig, weights: Weights, processing: WeightProcessing, weightsDigest: String,
    threads: Int = GPT2.defaultThreads
  ) {
    let body = ModelBody(
      tokenEmbedding: weights.tokenEmbedding, positionEmbedding: weights.positionEmbedding,
      blocks: parallelMap(weights.layers.count, threads: threads) { Block(weights.layers[$0]) })
    self.init(
      config: config, body: LazyBody(body), lnFinal: weights.lnFinal,
      unembedding: Unembedding(
        weights.unembedding, bias: weights.unembeddingBias, threads: threads),
      processing: processing, weightsDigest: weightsDigest)
  }

  private init(
    config: ModelConfig, body: LazyBody, lnFinal: LayerNormWeights?, unembedding: Unembedding,
    processing: WeightProcessing, weightsDigest: String
  ) {
    self.config = config
    self.body = body
    self.lnFinal = lnFinal
    self.unembedding = unembedding
    self.processing = processing
    self.weightsDigest = weightsDigest
  }

  /// The number of cores that are online.
  public static var defaultThreads: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
