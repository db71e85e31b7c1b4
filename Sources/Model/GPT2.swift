import Glibc

/// A GPT-2: its configuration and float32 weights. Immutable, and safe to use from any thread.
public final class GPT2: Sendable {
  public let config: ModelConfig
  public let weights: Weights
  public let processing: WeightProcessing
  /// SHA-256 of model.safetensors in lower-case hexadecimal digits, as the hub shows it for the
  /// file; for a checkpoint in shards, SHA-256 of their digests' digits in the order of their
  /// names.
  public let weightsDigest: String

  /// Loads a model directory in Hugging Face's layout: config.json, and model.safetensors or its
  /// shards with model.safetensors.index.json.
  ///
  /// Unprocessed float32 weights are views of the file, which must not be changed while the model
  /// is in use.
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
    let weights = try Weights(
      checkpoint, config: config, processing: processing, threads: threads)
    self.init(
      config: config, weights: weights, processing: processing, weightsDigest: digest.wait())
  }

  /// A model of weights from elsewhere, whose shapes fit the configuration.
  public init(
    config: ModelConfig, weights: Weights, processing: WeightProcessing, weightsDigest: String
  ) {
    self.config = config
    self.weights = weights
    self.processing = processing
    self.weightsDigest = weightsDigest
  }

  /// The number of cores that are online.
  public static var defaultThreads: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
