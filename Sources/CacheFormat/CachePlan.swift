/// Which model a cache was made with.
public struct ModelIdentity: Codable, Sendable, Equatable {
  /// As the user gave it.
  public var name: String
  /// SHA-256 in hexadecimal digits.
  public var weightsDigest: String
  public var tokenizerDigest: String
  public var layers: Int
  public var heads: Int
  public var width: Int
  public var headWidth: Int
  public var mlpWidth: Int
  public var vocabulary: Int
  public var contextLength: Int
  /// Absent in caches of earlier versions, which did not say.
  public var arithmetic: ModelArithmetic?

  public init(
    name: String, weightsDigest: String, tokenizerDigest: String, layers: Int, heads: Int,
    width: Int, headWidth: Int, mlpWidth: Int, vocabulary: Int, contextLength: Int,
    arithmetic: ModelArithmetic? = nil
  ) {
    self.name = name
    self.weightsDigest = weightsDigest
    self.tokenizerDigest = tokenizerDigest
    self.layers = layers
    self.heads = heads
    self.width = width
    self.headWidth = headWidth
    self.mlpWidth = mlpWidth
    self.vocabulary = vocabulary
    self.contextLength = contextLength
    self.arithmetic = arithmetic
  }

  /// What a model's configuration says besides its weights, by name.
  public var configuration: [(name: String, value: String)] {
    func word(_ fact: Bool?) -> String { fact.map { $0 ? "yes" : "no" } ?? "unknown" }
    return [
      ("layers", "\(layers)"), ("heads", "\(heads)"), ("width", "\(width)"),
      ("head width", "\(headWidth)"), ("MLP width", "\(mlpWidth)"),
      ("vocabulary", "\(vocabulary)"), ("context length", "\(contextLength)"),
      ("LayerNorm epsilon", arithmetic.map { "\($0.layerNormEpsilon)" } ?? "unknown"),
      ("scores scaled by the head width", word(arithmetic?.scalesAttention)),
      ("scores scaled by the layer", word(arithmetic?.scalesAttentionByInverseLayer)),
      ("unembedding tied", word(arithmetic?.tiesEmbeddings)),
    ]
  }

  /// How the configuration differs from another model's, a phrase each.
  public func configurationDifferences(to other: ModelIdentity) -> [String] {
    zip(configuration, other.configuration).filter { $0.value != $1.value }.map {
      "\($0.name) was \($0.value), now \($1.value)"
    }
  }
}

/// What a model computes with besides its weights and sizes.
public struct ModelArithmetic: Codable, Sendable, Equatable {
  public var layerNormEpsilon: Float
  /// Whether attention scores are divided by √K, and those of layer l by l + 1.
  public var scalesAttention, scalesAttentionByInverseLayer: Bool
  /// Whether the unembedding is the token embedding.
  public var tiesEmbeddings: Bool

  public init(
    layerNormEpsilon: Float, scalesAttention: Bool, scalesAttentionByInverseLayer: Bool,
    tiesEmbeddings: Bool
  ) {
    self.layerNormEpsilon = layerNormEpsilon
    self.scalesAttention = scalesAttention
    self.scalesAttentionByInverseLayer = scalesAttentionByInverseLayer
    self.tiesEmbeddings = tiesEmbeddings
  }
}

/// Which arrays that are to be derived a writer computes and compares with the true ones.
public enum Proofs: String, Codable, Sendable, CaseIterable {
  /// Those of the first segment's first 32 prompts, and of the first prompt of every eighth segment after it.
  case sample
  case all
}

/// What was done to the runs whose activations a cache holds.
public struct PatchedRuns: Codable, Sendable, Equatable {
  /// In words, such as "clean runs, z L2 H3 END from zero".
  public var what: String
  /// SHA-256 of the plan of the cache that the runs come from.
  public var plan: String
  /// The command that ran them.
  public var command: [String]

  public init(what: String, plan: String, command: [String]) {
    (self.what, self.plan, self.command) = (what, plan, command)
  }
}

/// Everything that a capture fixes before its first prompt runs: `plan.json`. Never changed later.
public struct CachePlan: Codable, Sendable, Equatable {
  /// The format that this program writes, and the newest that it reads.
  public static let currentFormat = 5

  public var formatVersion: Int
  /// The writing program, such as "patchbay 0.1.0".
  public var tool: String
  public var model: ModelIdentity
  /// How the weights were processed: "transformerlens", "raw" or "transformerlens+refactor".
  public var weights: String
  public var prependBOS: Bool
  /// The name of the arithmetic that computed the activations, on which their last bits depend.
  public var kernel: String
  public var promptFileName: String
  public var promptFileDigest: String
  public var promptCount: Int
  public var pairCount: Int
  /// SHA-256 of `prompts.jsonl` and of `pairs.jsonl`; the writer fills them in.
  public var promptsDigest: String
  public var pairsDigest: String
  /// "compact" or "full", as the user asked. Which hooks are derived, their recipes say.
  public var store: String
  /// Which recipes the writer proves. Absent in format 1.
  public var proofs: Proofs?
  public var elementType: ElementType
  /// How many bytes of arrays a segment takes at most, unless one prompt alone has more.
  public var segmentBytes: Int
  public var hooks: [HookSpec]
  /// Absent where the runs are as the model makes them.
  public var patched: PatchedRuns?

  public init(
    formatVersion: Int = CachePlan.currentFormat, tool: String, model: ModelIdentity,
    weights: String, prependBOS: Bool, kernel: String, promptFileName: String,
    promptFileDigest: String, promptCount: Int, pairCount: Int, promptsDigest: String = "",
    pairsDigest: String = "", store: String = "full", proofs: Proofs = .sample,
    elementType: ElementType = .f32, segmentBytes: Int = 64 << 20, hooks: [HookSpec],
    patched: PatchedRuns? = nil
  ) {
    self.formatVersion = formatVersion
    self.tool = tool
    self.model = model
    self.weights = weights
    self.prependBOS = prependBOS
    self.kernel = kernel
    self.promptFileName = promptFileName
    self.promptFileDigest = promptFileDigest
    self.promptCount = promptCount
    self.pairCount = pairCount
    self.promptsDigest = promptsDigest
    self.pairsDigest = pairsDigest
    self.store = store
    self.proofs = proofs
    self.elementType = elementType
    self.segmentBytes = segmentBytes
    self.hooks = hooks
    self.patched = patched
  }

  /// Bytes of the array of one hook for a prompt of `T` positions, before encoding; nil when there
  /// are more than `Limits.arrayBytes`.
  public func byteCount(hook: Int, positions T: Int) -> Int? {
    HookSize(hooks[hook]).byteCount(positions: T, of: elementType)
  }

  /// Bytes of all arrays of a prompt of `T` positions, before encoding; `Int.max` on overflow.
  public func byteCount(positions T: Int) -> Int {
    var sum = 0
    for hook in hooks {
      guard let count = hook.count(positions: T) else { return .max }
      let (bytes, overflow) = count.multipliedReportingOverflow(by: elementType.size)
      let (next, overflow2) = sum.addingReportingOverflow(bytes)
      guard !overflow, !overflow2 else { return .max }
      sum = next
    }
    return sum
  }

  /// Consecutive runs of prompts, one a segment: as many prompts as have `segmentBytes` of arrays
  /// together, at least one. Depends on nothing but the plan and the token counts.
  public func segmentRanges(tokenCounts: [Int]) -> [Range<Int>] {
    var bytesByLength: [Int: Int] = [:]
    var ranges: [Range<Int>] = []
    var first = 0
    var bytes = 0
    for (prompt, T) in tokenCounts.enumerated() {
      let more = bytesByLength[T] ?? byteCount(positions: T)
      bytesByLength[T] = more
      let (sum, overflow) = bytes.addingReportingOverflow(more)
      if prompt > first, overflow || sum > segmentBytes {
        ranges.append(first..<prompt)
        first = prompt
        bytes = more
      } else {
        bytes = overflow ? .max : sum
      }
    }
    if first < tokenCounts.count { ranges.append(first..<tokenCounts.count) }
    return ranges
  }
}

/// The most that a reader accepts, checked before anything is allocated.
public enum Limits {
  /// Bytes of one array as float32.
  public static let arrayBytes = 1 << 31
  public static let manifestBytes = 64 << 20
  public static let planBytes = 16 << 20
  /// Bytes of `prompts.jsonl` and of `pairs.jsonl`.
  public static let textBytes = 1 << 30
  public static let hooks = 1 << 16
  public static let dimensions = 8
  /// K of derived attention scores, whose keys are laid out in tiles of sixteen positions.
  public static let headWidth = 1 << 16
  /// L, where all layers are gone through; a plan may say any number.
  public static let layers = 1 << 10
  public static let prompts = 1 << 31
  public static let positions = 1 << 24
}
