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
  let plan = reader.plan
  guard let processing = WeightProcessing(rawValue: plan.weights) else {
    throw CacheMismatch.unknownProcessing(cache: reader.directory, plan.weights)
  }
  let directory = try locateModel(name ?? plan.model.name, quiet: work.quiet)
  let gpt2 = try GPT2(
    directory: directory, processing: processing, preparing: preparing, threads: work.threads)
  guard gpt2.weightsDigest == plan.model.weightsDigest else {
    throw CacheMismatch.otherWeights(
      cache: reader.directory, captured: plan.model.weightsDigest, model: directory,
      given: gpt2.weightsDigest)
  }
  return gpt2
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
  case otherTokenizer(cache: String, captured: String, model: String, given: String)
  case unknownProcessing(cache: String, String)
  case unknownHook(cache: String, String)

  var description: String {
    switch self {
    case .otherWeights(let cache, let captured, let model, let given):
      "the cache \(cache) was captured with weights of sha256 \(captured), and those in \(model) "
        + "have \(given); give --model the directory that the cache was made with"
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
