import CacheFormat
import Model
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
  private var loaded: GPT2?

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
    if own.model.weightsDigest == others.model.weightsDigest, own.weights == others.weights {
      loaded = other.loaded
    }
  }

  /// The model, loaded when it is first asked for.
  ///
  /// - Parameter preparing: what of it is made ready then.
  /// - Throws: what `loadModel` throws.
  func model(preparing: GPT2.Preparation = .blocks) throws -> GPT2 {
    if let loaded { return loaded }
    let model = try loadModel(for: reader, name: modelName, preparing: preparing, work: work)
    loaded = model
    return model
  }
}
