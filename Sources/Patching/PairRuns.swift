import CacheFormat
import Model

/// The two runs of a pair, whose arrays are read from the cache when they are first asked for; those of
/// a run with noise are computed before.
///
/// Used by one thread at a time.
final class PairRuns {
  enum Run { case source, receiving }

  let config: ModelConfig
  /// T, the same for both runs.
  let length: Int
  /// The first position at which the runs' embeddings differ; T if they do not. Before it, causal
  /// attention makes every activation of the two runs the same.
  let firstDifference: Int
  private let cache: CacheReader
  /// Their numbers in the cache.
  let prompts: (source: Int, receiving: Int)
  /// The template of the pair's prompts.
  let template: String?
  private var made: [HookPoint: Matrix] = [:]
  private var arrays: (source: [HookPoint: Matrix], receiving: [HookPoint: Matrix]) = ([:], [:])
  /// The run that is not in the cache.
  private let computed: Run?

  /// - Parameter noised: the arrays of the corrupted run, where the pair's has noise.
  init(
    _ pair: PatchingPair, _ direction: Direction, cache: CacheReader, config: ModelConfig,
    prompts all: [Prompt], noised: [HookPoint: Matrix]? = nil
  ) {
    template = pair.template
    self.cache = cache
    self.config = config
    prompts =
      direction == .denoise ? (pair.clean, pair.corrupted) : (pair.corrupted, pair.clean)
    length = all[pair.clean].tokens.count
    firstDifference = pair.firstDifference(all)
    computed = noised == nil ? nil : direction == .denoise ? .receiving : .source
    switch computed {
    case .receiving: arrays.receiving = noised ?? [:]
    case .source: arrays.source = noised ?? [:]
    case nil: break
    }
  }

  /// Whether the cache holds a hook.
  func holds(_ hook: HookPoint) -> Bool { cache.hookIndex(hook.name) != nil }

  /// The array of a hook, in the hook's shape for T positions.
  ///
  /// - Throws: `CacheError`, or `PatchingError.hooksNotCached`.
  func array(_ run: Run, _ hook: HookPoint) throws -> Matrix {
    let known = run == .source ? arrays.source[hook] : arrays.receiving[hook]
    if let known { return known }
    precondition(run != computed, "\(hook.name) of a run with noise was not computed")
    guard let index = cache.hookIndex(hook.name) else {
      throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
    }
    let matrix = Matrix(rows: 1, columns: config.valueCount(of: hook.kind, positions: length))
    try cache.read(
      hook: index, prompt: run == .source ? prompts.source : prompts.receiving,
      into: UnsafeMutableBufferPointer(start: matrix.pointer, count: matrix.count))
    switch run {
    case .source: arrays.source[hook] = matrix
    case .receiving: arrays.receiving[hook] = matrix
    }
    return matrix
  }

  /// What is put into a hook of this pair again and again, made when it is first asked for.
  func made(_ hook: HookPoint, by make: () throws -> Matrix) rethrows -> Matrix {
    if let known = made[hook] { return known }
    let matrix = try make()
    made[hook] = matrix
    return matrix
  }

  /// Whether queries, keys and values of the blocks from `layer` on are cached, so that rows which a
  /// patch leaves alone need not be computed.
  func holdsKeysAndValues(from layer: Int) -> Bool {
    (layer..<max(layer, config.layers)).allSatisfy { layer in
      [HookKind.q, .k, .v].allSatisfy { holds(HookPoint($0, layer: layer)) }
    }
  }
}

extension PatchingPair {
  /// The first position at which the embeddings of the two runs differ; T if they do not.
  ///
  /// - Parameter prompts: those of the cache.
  func firstDifference(_ prompts: [Prompt]) -> Int {
    let (clean, corrupted) = (prompts[clean].tokens, prompts[corrupted].tokens)
    let tokens = zip(clean, corrupted).enumerated().first { $1.0 != $1.1 }?.offset
    return min(tokens ?? clean.count, noise?.positions.lowerBound ?? clean.count)
  }
}
