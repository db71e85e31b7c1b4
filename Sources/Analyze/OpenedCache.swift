import CacheFormat
import Model
import Patching
import Terminal

/// A cache with its prompts and the rows of its prompt file, and the model that made it: what analyses of
/// one cache share.
final class OpenedCache {
  let reader: CacheReader
  /// All of the plan, whether they were captured or not.
  let prompts: [Prompt]
  let rows: [PromptPair]
  private let modelName: String?
  private let work: WorkOptions
  private var loaded: CacheModel?

  /// - Parameters:
  ///   - model: as for `loadModel`.
  ///   - keepsPages: whether as much of the cache may stay mapped as the reader likes; else 64 MiB, so
  ///     that the memory of a sweep is that of its batches.
  /// - Throws: `CacheError`.
  init(
    _ directory: String, model: String?, work: WorkOptions, io: AccessOption, keepsPages: Bool
  ) throws {
    reader =
      keepsPages
      ? try CacheReader(directory: directory, access: io.access)
      : try CacheReader(directory: directory, access: io.access, mappedBytes: 64 << 20)
    prompts = try reader.prompts()
    rows = try reader.pairs()
    modelName = model
    self.work = work
  }

  /// Takes the model that another cache has loaded, if it is the same with the same processing.
  func shareModel(of other: OpenedCache) {
    let (own, others) = (reader.plan, other.reader.plan)
    if own.model.weightsDigest == others.model.weightsDigest, own.weights == others.weights,
      own.model.configurationDifferences(to: others.model).isEmpty
    {
      loaded = other.loaded
    }
  }

  /// The model, loaded when it is first asked for.
  ///
  /// - Throws: what `loadModel` throws.
  func model() throws -> GPT2 {
    let model = try unconfirmed()
    try model.confirm()
    return model.gpt2
  }

  /// The same, to be confirmed by the caller.
  ///
  /// - Parameter preparing: what of it is made ready where it is loaded now.
  func unconfirmed(preparing: GPT2.Preparation = .blocks) throws -> CacheModel {
    if let loaded { return loaded }
    let model = try CacheModel(for: reader, name: modelName, preparing: preparing, work: work)
    loaded = model
    return model
  }

  /// The texts of tokens as labels: as they stand in the prompts, else by the model's tokenizer. Tokens
  /// are left out where that is not there.
  func tokenTexts(of tokens: [Int32]) -> [Int32: String] {
    var texts: [Int32: String] = [:]
    let wanted = Set(tokens)
    for prompt in prompts where texts.count < wanted.count {
      for (token, piece) in zip(prompt.tokens, prompt.pieces)
      where texts[token] == nil && wanted.contains(token) {
        texts[token] = tokenText(piece)
      }
    }
    guard texts.count < wanted.count,
      let tokenizer = try? loadTokenizer(for: reader, name: modelName, quiet: true)
    else { return texts }
    for token in wanted where texts[token] == nil {
      texts[token] = tokenText(tokenizer.piece(token))
    }
    return texts
  }

  /// What runs sweeps on this cache.
  func engine() throws -> PatchEngine {
    let model = try unconfirmed()
    return PatchEngine(
      cache: reader, model: model.gpt2, threads: work.threads, confirm: model.confirm)
  }
}
