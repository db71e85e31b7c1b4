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
  /// names. It is computed while the model is in use already, and waited for here.
  public var weightsDigest: String { digest.value }
  private let digest: WeightsDigest
  // Made when they are first needed: making them takes most of the time and the memory of loading a
  // model. What reads logits from a cache does without either, patched passes do without embeddings.
  private let embeddings: Lazy<Embeddings>
  private let madeBlocks: Lazy<[Block]>

  /// [V, D]
  public var tokenEmbedding: Matrix { embeddings.value.tokens }
  /// [C, D], C the context length
  public var positionEmbedding: Matrix { embeddings.value.positions }
  public var blocks: [Block] { madeBlocks.value }

  /// Which weights are made ready when a model is loaded; the embeddings are made when they are first
  /// asked for.
  public enum Preparation: Sendable {
    /// ln_final, the unembedding and the blocks.
    case blocks
    /// ln_final and the unembedding; the blocks too are made when they are first asked for.
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
  ///   - preparing: what is made ready now; of refactored weights, which can fail, the blocks always are.
  ///   - threads: how many process the weights. The digest is computed on one more. The result
  ///     does not depend on it.
  /// - Throws: `ModelError`.
  public convenience init(
    directory: String, processing: WeightProcessing = .transformerlens,
    preparing: Preparation = .blocks, threads: Int = GPT2.defaultThreads
  ) throws(ModelError) {
    let config = try ModelConfig(directory: directory)
    let checkpoint = try Checkpoint(directory: directory, config: config)
    let digest = WeightsDigest(of: checkpoint)
    let source = try WeightSource(
      checkpoint, config: config, processing: processing, threads: threads)
    let blocks =
      preparing == .blocks || processing == .refactored
      ? Lazy(try source.blocks(threads: threads)) : Lazy { source.checkedBlocks(threads: threads) }
    self.init(
      config: config, embeddings: Lazy { source.embeddings(threads: threads) }, blocks: blocks,
      lnFinal: source.lnFinal, unembedding: source.unembedding, processing: processing,
      digest: digest)
  }

  /// A model of weights from elsewhere, whose shapes fit the configuration.
  public convenience init(
    config: ModelConfig, weights: Weights, processing: WeightProcessing, weightsDigest: String,
    threads: Int = GPT2.defaultThreads
  ) {
    let blocks = parallelMap(weights.layers.count, threads: threads) { Block(weights.layers[$0]) }
    self.init(
      config: config,
      embeddings: Lazy(
        Embeddings(tokens: weights.tokenEmbedding, positions: weights.positionEmbedding)),
      blocks: Lazy(blocks), lnFinal: weights.lnFinal,
      unembedding: Unembedding(
        weights.unembedding, bias: weights.unembeddingBias, threads: threads),
      processing: processing, digest: WeightsDigest(weightsDigest))
  }

  private init(
    config: ModelConfig, embeddings: Lazy<Embeddings>, blocks: Lazy<[Block]>,
    lnFinal: LayerNormWeights?, unembedding: Unembedding, processing: WeightProcessing,
    digest: WeightsDigest
  ) {
    self.config = config
    self.embeddings = embeddings
    madeBlocks = blocks
    self.lnFinal = lnFinal
    self.unembedding = unembedding
    self.processing = processing
    self.digest = digest
  }

  /// The number of cores that are online.
  public static var defaultThreads: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
