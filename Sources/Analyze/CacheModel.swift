import CacheFormat
import FileIO
import Hub
import Model
import Terminal

/// The model that made a cache, with the weights processed as they were then.
///
/// - Parameters:
///   - name: a directory or name as for `capture`; the one that the cache names if nil.
///   - preparing: as for `GPT2`.
/// - Throws: `CacheMismatch` if the weights are others, and what loading throws.
func loadModel(
  for reader: CacheReader, name: String?, preparing: GPT2.Preparation = .blocks, work: WorkOptions
) throws -> GPT2 {
  let model = try CacheModel(for: reader, name: name, preparing: preparing, work: work)
  try model.confirm()
  return model.gpt2
}

/// A model that says itself to be a cache's. It can be used while the digest of its weights is still being
/// computed, which takes longer than making it ready where there are many cores; nothing that comes of it is
/// shown or kept before `confirm()`.
struct CacheModel: Sendable {
  let gpt2: GPT2
  private let directory: String
  private let cache: String
  private let captured: ModelIdentity

  /// - Throws: `CacheMismatch.unknownProcessing`, and what loading throws.
  init(
    for reader: CacheReader, name: String?, preparing: GPT2.Preparation, work: WorkOptions
  ) throws {
    let plan = reader.plan
    guard let processing = WeightProcessing(rawValue: plan.weights) else {
      throw CacheMismatch.unknownProcessing(cache: reader.directory, plan.weights)
    }
    directory = try locateModel(name ?? plan.model.name, quiet: work.quiet)
    gpt2 = try GPT2(
      directory: directory, processing: processing, preparing: preparing, threads: work.threads)
    (cache, captured) = (reader.directory, plan.model)
    // Two cores are busy with the sweep alone: the digest would only slow it down. A model of another
    // configuration is another one, and is said to be before anything else fails for it.
    if GPT2.defaultThreads <= 2 || !otherConfiguration.isEmpty { try confirm() }
  }

  /// Waits for the digest.
  ///
  /// - Throws: `CacheMismatch.otherWeights`, `.otherConfiguration`.
  func confirm() throws(CacheMismatch) {
    guard gpt2.weightsDigest == captured.weightsDigest else {
      throw .otherWeights(
        cache: cache, captured: captured.weightsDigest, model: directory,
        given: gpt2.weightsDigest)
    }
    let differences = otherConfiguration
    guard differences.isEmpty else {
      throw .otherConfiguration(cache: cache, model: directory, differences)
    }
  }

  /// What config.json says otherwise than when the cache was made.
  private var otherConfiguration: [String] {
    captured.configurationDifferences(to: captured.configured(as: gpt2.config))
  }
}

extension ModelIdentity {
  /// The same with the configuration of a model, as far as it is known of this one.
  fileprivate func configured(as config: ModelConfig) -> ModelIdentity {
    var other = self
    (other.layers, other.heads, other.width) = (config.layers, config.heads, config.width)
    (other.headWidth, other.mlpWidth) = (config.headWidth, config.mlpWidth)
    (other.vocabulary, other.contextLength) = (config.vocabulary, config.contextLength)
    other.arithmetic?.layerNormEpsilon = config.layerNormEpsilon
    other.arithmetic?.scalesAttention = config.scalesAttention
    other.arithmetic?.scalesAttentionByInverseLayer = config.scalesAttentionByInverseLayer
    other.arithmetic?.tiesEmbeddings = config.tiesEmbeddings
    return other
  }
}

/// The tokenizer that a cache was made with.
///
/// - Parameter name: as for `loadModel`.
/// - Throws: `CacheMismatch.otherTokenizer` if it is another, and what loading throws.
func loadTokenizer(for reader: CacheReader, name: String?, quiet: Bool) throws -> Tokenizer {
  let directory = try locateModel(name ?? reader.plan.model.name, for: .tokenizer, quiet: quiet)
  let tokenizer = try Tokenizer(directory: directory)
  guard tokenizer.digest == reader.plan.model.tokenizerDigest else {
    throw CacheMismatch.otherTokenizer(
      cache: reader.directory, captured: reader.plan.model.tokenizerDigest, model: directory,
      given: tokenizer.digest)
  }
  return tokenizer
}

/// A cache and a model that do not belong together.
enum CacheMismatch: ReportableError {
  case otherWeights(cache: String, captured: String, model: String, given: String)
  /// The same weights, used otherwise.
  case otherConfiguration(cache: String, model: String, [String])
  case otherTokenizer(cache: String, captured: String, model: String, given: String)
  case unknownProcessing(cache: String, String)
  case unknownHook(cache: String, String)

  var description: String {
    switch self {
    case .otherWeights(let cache, let captured, let model, let given):
      "the cache \(cache) was captured with weights of sha256 \(captured), and those in \(model) "
        + "have \(given); give --model the directory that the cache was made with"
    case .otherConfiguration(let cache, let model, let differences):
      "the cache \(cache) was captured with another config.json than \(model) has: "
        + differences.joined(separator: ", ")
        + "; give --model the directory that the cache was made with, as it was then"
    case .otherTokenizer(let cache, let captured, let model, let given):
      "the cache \(cache) was captured with a tokenizer of sha256 \(captured), and that in \(model) "
        + "has \(given); give --model the directory that the cache was made with"
    case .unknownProcessing(let cache, let name):
      "the cache \(cache) was captured with weights processed as \"\(name)\", which this program "
        + "does not know; use the version that wrote it"
    case .unknownHook(let cache, let name):
      "the cache \(cache) holds \(name), which this model does not have; use the version that wrote it"
    }
  }

  var exitCode: SysExit { .configuration }
}
