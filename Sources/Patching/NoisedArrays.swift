import CacheFormat
import Model
import Synchronization

/// The arrays of runs with noise, kept from the baselines on for all sweeps over the same pairs, as far as they
/// fit into some bytes. Others are computed again where a sweep needs them.
public final class NoisedArrays: Sendable {
  private struct Entry: Sendable {
    let prompt: Int
    let noise: EmbeddingNoise?
    let arrays: [HookPoint: Matrix]
  }

  let hooks: Set<HookPoint>
  private let byteLimit: Int
  private let config: ModelConfig
  private let entries = Mutex<[Int: Entry]>([:])

  /// - Parameter byteLimit: of all arrays.
  public init(for sweeps: [Sweep], config: ModelConfig, byteLimit: Int = 128 << 20) {
    hooks = sweeps.reduce(into: []) {
      $0.formUnion(NoisedRuns.hooks(for: $1, config: config))
    }
    self.byteLimit = byteLimit
    self.config = config
  }

  /// The first of some pairs with noise, all whose arrays fit.
  func thatFit(_ pairs: [PatchingPair], prompts: [Prompt]) -> Range<Int> {
    var bytes = 0
    for (number, pair) in pairs.enumerated() where pair.noise != nil {
      let length = prompts[pair.corrupted].tokens.count
      for hook in hooks {
        bytes += config.valueCount(of: hook.kind, positions: length) * MemoryLayout<Float>.stride
      }
      if bytes > byteLimit { return 0..<number }
    }
    return pairs.indices
  }

  /// Those of a pair's corrupted run; nil if they are not kept.
  func arrays(of number: Int, _ pair: PatchingPair) -> [HookPoint: Matrix]? {
    guard let entry = entries.withLock({ $0[number] }) else { return nil }
    return entry.prompt == pair.corrupted && entry.noise == pair.noise ? entry.arrays : nil
  }

  func keep(_ arrays: [HookPoint: Matrix], of number: Int, _ pair: PatchingPair) {
    let entry = Entry(prompt: pair.corrupted, noise: pair.noise, arrays: arrays)
    entries.withLock { $0[number] = entry }
  }
}
