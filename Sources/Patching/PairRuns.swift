import CacheFormat
import Model
import Synchronization

/// The two runs of a pair, whose arrays are read from the cache when they are first asked for; those of
/// a run with noise are computed before. Of threads that ask for the same array at once, one reads it.
final class PairRuns: Sendable {
  enum Run: Sendable { case source, receiving }

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
  /// The run that is not in the cache.
  private let computed: Run?

  private struct Arrays {
    var source: [HookPoint: Matrix] = [:]
    var receiving: [HookPoint: Matrix] = [:]
    var made: [HookPoint: Matrix] = [:]
  }
  private let arrays: Mutex<Arrays>

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
    let known =
      switch computed {
      case .receiving: Arrays(receiving: noised ?? [:])
      case .source: Arrays(source: noised ?? [:])
      case nil: Arrays()
      }
    arrays = Mutex(known)
  }

  /// Whether the cache holds a hook.
  func holds(_ hook: HookPoint) -> Bool { cache.hookIndex(hook.name) != nil }

  /// The array of a hook, in the hook's shape for T positions.
  ///
  /// - Throws: `CacheError`, or `PatchingError.hooksNotCached`.
  func array(_ run: Run, _ hook: HookPoint) throws -> Matrix {
    try arrays.withLock { arrays in
      if let known = run == .source ? arrays.source[hook] : arrays.receiving[hook] { return known }
      let matrix = try read(run, hook)
      switch run {
      case .source: arrays.source[hook] = matrix
      case .receiving: arrays.receiving[hook] = matrix
      }
      return matrix
    }
  }

  private func read(_ run: Run, _ hook: HookPoint) throws -> Matrix {
    precondition(run != computed, "\(hook.name) of a run with noise was not computed")
    guard let index = cache.hookIndex(hook.name) else {
      throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
    }
    let matrix = Matrix(rows: 1, columns: config.valueCount(of: hook.kind, positions: length))
    try cache.read(
      hook: index, prompt: run == .source ? prompts.source : prompts.receiving,
      into: UnsafeMutableBufferPointer(start: matrix.pointer, count: matrix.count))
    return matrix
  }

  /// What is put into a hook of this pair again and again, made when it is first asked for.
  func made(_ hook: HookPoint, by make: () throws -> Matrix) rethrows -> Matrix {
    if let known = arrays.withLock({ $0.made[hook] }) { return known }
    let matrix = try make()
    return arrays.withLock { arrays in
      if let known = arrays.made[hook] { return known }
      arrays.made[hook] = matrix
      return matrix
    }
  }

  /// Whether queries, keys and values of the blocks from `layer` on are cached, so that rows which a
  /// patch leaves alone need not be computed.
  func holdsKeysAndValues(from layer: Int) -> Bool {
    (layer..<max(layer, config.layers)).allSatisfy { layer in
      [HookKind.q, .k, .v].allSatisfy { holds(HookPoint($0, layer: layer)) }
    }
  }
}

/// The runs of pairs that some thread works on, the same ones for all threads.
final class RunsInUse: Sendable {
  private struct Entry {
    weak var runs: PairRuns?
  }
  private let entries = Mutex<[Int: Entry]>([:])

  /// Those of a pair, or nil if no thread holds them.
  subscript(_ pair: Int) -> PairRuns? { entries.withLock { $0[pair]?.runs } }

  /// Those of a pair, made where no thread holds them.
  func runs(of pair: Int, make: () -> PairRuns) -> PairRuns {
    entries.withLock { entries in
      if let known = entries[pair]?.runs { return known }
      entries = entries.filter { $0.value.runs != nil }
      let made = make()
      entries[pair] = Entry(runs: made)
      return made
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
