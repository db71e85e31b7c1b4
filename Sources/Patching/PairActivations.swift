import CacheFormat
import Model

/// What the cells of one pair need of its two runs, read from the cache.
final class PairActivations: Sendable {
  /// T, the same for both runs.
  let length: Int
  /// The first position at which the runs' tokens differ; T if they do not. Before it, causal
  /// attention makes every activation of the two runs the same.
  let firstDifference: Int
  private let source: [HookPoint: Matrix]
  private let receiving: [HookPoint: Matrix]
  /// Keys and values of the receiving run, or nil where the cache does not hold them.
  let keyValues: KeyValues?

  /// Reads the arrays from the cache.
  ///
  /// - Throws: `CacheError`, or `PatchingError.hooksNotCached`.
  init(
    cache: CacheReader, config: ModelConfig, source: (prompt: Int, tokens: [Int32]),
    receiving: (prompt: Int, tokens: [Int32]), needs: Needs
  ) throws {
    length = receiving.tokens.count
    firstDifference =
      zip(source.tokens, receiving.tokens).enumerated().first { $1.0 != $1.1 }?.offset ?? length
    let positions = length
    func load(_ hook: HookPoint, of prompt: Int) throws -> Matrix {
      guard let index = cache.hookIndex(hook.name) else {
        throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
      }
      let count = config.valueCount(of: hook.kind, positions: positions)
      let matrix = Matrix(rows: 1, columns: count)
      try cache.read(
        hook: index, prompt: prompt,
        into: UnsafeMutableBufferPointer(start: matrix.pointer, count: count))
      return matrix
    }
    var arrays: [HookPoint: Matrix] = [:]
    for hook in needs.source { arrays[hook] = try load(hook, of: source.prompt) }
    self.source = arrays
    arrays = [:]
    for hook in needs.receiving { arrays[hook] = try load(hook, of: receiving.prompt) }
    self.receiving = arrays
    if needs.keyValues {
      let layers = needs.attentionLayers
      var keys = [Matrix?](repeating: nil, count: config.layers)
      var values = keys
      for layer in layers {
        keys[layer] = try load(HookPoint(.k, layer: layer), of: receiving.prompt)
        values[layer] = try load(HookPoint(.v, layer: layer), of: receiving.prompt)
      }
      keyValues = KeyValues(keys: keys, values: values)
    } else {
      keyValues = nil
    }
  }

  func source(_ hook: HookPoint) -> Matrix {
    guard let matrix = source[hook] else { preconditionFailure("\(hook.name) was not loaded") }
    return matrix
  }

  func receiving(_ hook: HookPoint) -> Matrix {
    guard let matrix = receiving[hook] else { preconditionFailure("\(hook.name) was not loaded") }
    return matrix
  }
}

/// The arrays that a sweep reads of each pair.
struct Needs {
  let source: Set<HookPoint>
  let receiving: Set<HookPoint>
  let attentionLayers: Range<Int>
  /// Whether the keys and values of `attentionLayers` are to be had, so that the positions before
  /// the first change need not be computed.
  let keyValues: Bool

  init(_ sweep: Sweep, layers: Int, cache: CacheReader) {
    var source: Set<HookPoint> = []
    var receiving: Set<HookPoint> = []
    var firstLayer = layers
    for layer in sweep.kind.isInBlock ? sweep.layers.map(Optional.some) : [nil] {
      let hook = HookPoint(sweep.kind, layer: layer)
      let plan = EntryPlan(hook, layers: layers)
      source.insert(hook)
      receiving.insert(plan.stream)
      if case .sourcePlus(let other) = plan.patchedRow { receiving.insert(other) }
      firstLayer = min(firstLayer, plan.attentionLayers(of: layers).lowerBound)
    }
    self.source = source
    self.receiving = receiving
    attentionLayers = firstLayer..<layers
    keyValues = attentionLayers.allSatisfy { layer in
      [HookKind.k, .v].allSatisfy { cache.hookIndex(HookPoint($0, layer: layer).name) != nil }
    }
  }

  /// Bytes that one pair of `positions` positions takes in memory.
  func bytes(positions: Int, config: ModelConfig) -> Int {
    let keyValueHooks = keyValues ? attentionLayers.map { HookPoint(.k, layer: $0) } : []
    let hooks =
      source.map(\.kind) + receiving.map(\.kind) + (keyValueHooks + keyValueHooks).map(\.kind)
    return 4 * hooks.reduce(0) { $0 + config.valueCount(of: $1, positions: positions) }
  }
}
