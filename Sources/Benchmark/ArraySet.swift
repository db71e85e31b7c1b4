import CacheFormat
import Foundation

/// Arrays like those of a transformer, for 16 tokens a prompt: a residual stream, N(0, 1) [16, 768];
/// GELU of N(−½, 1) [16, 3072]; causal attention patterns [12, 16, 16].
struct ArraySet: Sendable {
  static let T = 16
  static let hooks = [
    HookSpec(name: "blocks.0.hook_resid_pre", shape: [.positions, .fixed(768)]),
    HookSpec(name: "blocks.0.mlp.hook_post", shape: [.positions, .fixed(3072)]),
    HookSpec(name: "blocks.0.attn.hook_pattern", shape: [.fixed(12), .positions, .positions]),
  ]
  static let counts = hooks.map { $0.count(positions: T) ?? 0 }
  static let bytesPerPrompt = 4 * counts.reduce(0, +)

  let prompts: Int
  /// By hook, prompt after prompt.
  let values: [[Float]]
  var bytes: Int { prompts * ArraySet.bytesPerPrompt }

  /// The arrays of a prompt depend on the seed and its number, not on how many prompts there are.
  init(prompts: Int, seed: UInt64) {
    self.prompts = prompts
    values = ArraySet.counts.enumerated().map { hook, count in
      var all = [Float](repeating: 0, count: prompts * count)
      all.withUnsafeMutableBufferPointer { buffer in
        nonisolated(unsafe) let buffer = buffer
        onThreads(prompts) { prompt in
          var noise = Noise(seed: seed, stream: UInt64(prompt * ArraySet.hooks.count + hook))
          let part = UnsafeMutableBufferPointer(
            rebasing: buffer[prompt * count..<(prompt + 1) * count])
          ArraySet.fill(part, hook: hook, &noise)
        }
      }
      return all
    }
  }

  func array(hook: Int, prompt: Int) -> ArraySlice<Float> {
    let count = ArraySet.counts[hook]
    return values[hook][prompt * count..<(prompt + 1) * count]
  }

  private static func fill(
    _ part: UnsafeMutableBufferPointer<Float>, hook: Int, _ noise: inout Noise
  ) {
    switch hook {
    case 0: for i in part.indices { part[i] = noise.normal() }
    case 1:
      for i in part.indices {
        let x = noise.normal() - 0.5
        part[i] = 0.5 * x * (1 + tanh(0.7978845608 * (x + 0.044715 * x * x * x)))
      }
    default:
      for row in 0..<part.count / T {
        let seen = row % T + 1
        var total: Float = 0
        for column in 0..<T {
          part[row * T + column] = column < seen ? exp(2 * noise.normal()) : 0
          total += part[row * T + column]
        }
        for column in 0..<seen { part[row * T + column] /= total }
      }
    }
  }

  /// The plan of a cache of these arrays.
  func plan() -> CachePlan {
    let none = String(repeating: "0", count: 64)
    return CachePlan(
      tool: "patchbay-bench",
      model: ModelIdentity(
        name: "synthetic", weightsDigest: none, tokenizerDigest: none, layers: 1, heads: 12,
        width: 768, headWidth: 64, mlpWidth: 3072, vocabulary: 1, contextLength: ArraySet.T),
      weights: "raw", prependBOS: false, kernel: "none", promptFileName: "none",
      promptFileDigest: none, promptCount: prompts, pairCount: 0, segmentBytes: 32 << 20,
      hooks: ArraySet.hooks)
  }
}

/// SplitMix64.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}

/// Normal numbers, by Box and Muller's method.
struct Noise {
  private var random: SplitMix64
  private var spare: Float?

  /// Streams of one seed start at places of the generator that have nothing to do with each other:
  /// neighbouring states would give the same numbers, one place later.
  init(seed: UInt64, stream: UInt64) {
    var seeds = SplitMix64(seed: seed)
    var starts = SplitMix64(seed: seeds.next() ^ stream)
    random = SplitMix64(seed: starts.next())
  }

  private mutating func uniform() -> Float { Float(random.next() >> 40) / 16_777_216 }

  mutating func normal() -> Float {
    if let last = spare {
      spare = nil
      return last
    }
    let radius = (-2 * log(1 - uniform())).squareRoot()
    let angle = 2 * Float.pi * uniform()
    spare = radius * sin(angle)
    return radius * cos(angle)
  }
}
