import CacheFormat
import Glibc
import Model
import Parallel

/// Normal noise for hooks, the same for every cell of a sweep.
final class NoiseActivations: Sendable {
  private let config: ModelConfig
  private let scale: Float
  private let seed: UInt64
  /// By hook, over all values that are finite; those of scores and patterns at attended positions only.
  private let deviations: [HookPoint: Double]

  /// Reads the arrays of all prompts, one hook after the other.
  ///
  /// - Parameter prompts: number and length of each, each once.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`, `.noNoise`.
  init(
    of hooks: [HookPoint], cache: CacheReader, config: ModelConfig,
    prompts: [(number: Int, length: Int)], scale: Float, seed: UInt64, threads: Int
  ) throws {
    let deviations = try parallelMap(hooks.count, threads: threads) { number in
      let hook = hooks[number]
      guard hook.kind.hasPlainRows || hook.kind.isAttention else {
        throw PatchingError.noNoise(hook.kind)
      }
      guard let index = cache.hookIndex(hook.name) else {
        throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
      }
      var (sum, squares, count) = (0.0, 0.0, 0.0)
      for prompt in prompts {
        let values = try cache.read(hook: index, prompt: prompt.number)
        for (i, value) in values.enumerated()
        where value.isFinite && isRead(i, of: hook.kind, length: prompt.length) {
          sum += Double(value)
          squares += Double(value) * Double(value)
          count += 1
        }
      }
      let mean = sum / max(1, count)
      return max(0, squares / max(1, count) - mean * mean).squareRoot()
    }
    self.deviations = Dictionary(uniqueKeysWithValues: zip(hooks, deviations))
    self.config = config
    self.scale = scale
    self.seed = seed
  }

  /// In the hook's shape for `length` positions; 0 where a pattern has no attended position.
  ///
  /// - Precondition: the hook is among those that it was made for.
  func array(_ hook: HookPoint, prompt: Int, length: Int) -> Matrix {
    guard let deviation = deviations[hook] else {
      preconditionFailure("no deviation of \(hook.name) was taken")
    }
    var generator = SplitMix64(state: state(hook, prompt))
    func uniform() -> Double { Double(generator.next() >> 11) * 0x1p-53 }
    let size = Double(scale) * deviation
    let count = config.valueCount(of: hook.kind, positions: length)
    let values = (0..<count).map { i in
      // Box and Muller 1958; 1 - u is never 0.
      let normal = (-2 * log(1 - uniform())).squareRoot() * cos(2 * .pi * uniform())
      return isRead(i, of: hook.kind, length: length) ? Float(size * normal) : 0
    }
    return Matrix(rows: 1, columns: count, values: values)
  }

  /// The generator's state for a hook of a prompt: FNV-1a over seed, prompt and name.
  private func state(_ hook: HookPoint, _ prompt: Int) -> UInt64 {
    "\(seed) \(prompt) \(hook.name)".utf8.reduce(0xCBF2_9CE4_8422_2325) {
      ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
    }
  }
}

/// Whether a value of a hook is one that attention may read: all but those of later positions.
private func isRead(_ index: Int, of kind: HookKind, length: Int) -> Bool {
  guard kind.isAttention, length > 0 else { return true }
  return index % length <= index / length % length
}
