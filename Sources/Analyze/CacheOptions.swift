import ArgumentParser
import Terminal

/// Which cache is analysed, and the model that made it.
struct CacheOptions: ParsableArguments {
  @Option(name: .long, help: "The cache that capture wrote.")
  var cache: String

  @OptionGroup var own: ModelOption

  var model: String? { own.model }

  /// - Throws: `CacheError`.
  func open(_ work: WorkOptions, _ io: AccessOption) throws -> OpenedCache {
    try OpenedCache(cache, model: model, work: work, io: io, keepsPages: false)
  }
}

/// The model that made a cache, where it has moved.
struct ModelOption: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "The model's directory; by default the one the cache names.", valueName: "dir"))
  var model: String?
}
