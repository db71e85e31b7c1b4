import CacheFormat
import Model
import Terminal

/// How much a capture will write, known before the model is run.
struct CaptureSize {
  let tokens: Int
  /// Bytes of all activations before compression.
  let bytes: Int
  private let promptCount: Int
  private let longest: Int
  private let points: [HookPoint]
  private let byKind: [(name: String, arrays: Int, bytes: Int)]

  init(prompts: [Prompt], points: [HookPoint], config: ModelConfig, dtype: ElementType) {
    let lengths = prompts.map(\.tokens.count)
    tokens = lengths.reduce(0, +)
    promptCount = prompts.count
    longest = lengths.max() ?? 0
    self.points = points
    var kinds: [HookKind] = []
    for point in points where !kinds.contains(point.kind) { kinds.append(point.kind) }
    byKind = kinds.map { kind in
      let arrays = points.count { $0.kind == kind }
      let values = lengths.reduce(0) { $0 + config.valueCount(of: kind, positions: $1) }
      return (kind.rawValue, arrays, values * arrays * dtype.size)
    }
    bytes = byKind.reduce(0) { $0 + $1.bytes }
  }

  func lines(out: String) -> [String] {
    var table = Table([.left, .right, .right])
    for kind in byKind {
      table.add([kind.name, kind.arrays == 1 ? "" : "× \(kind.arrays)", byteSize(kind.bytes)])
    }
    return [
      "\(grouped(promptCount)) prompts, \(grouped(tokens)) tokens, the longest prompt \(longest)",
      "\(points.count) hooks:",
    ] + table.lines().map { "  " + $0 } + [
      "\(byteSize(bytes)) of activations would go to \(out) (the size before compression, "
        + "\(byteSize(bytes / max(1, tokens))) a token)"
    ]
  }
}

extension ModelIdentity {
  init(name: String, weightsDigest: String, tokenizerDigest: String, _ config: ModelConfig) {
    self.init(
      name: name, weightsDigest: weightsDigest, tokenizerDigest: tokenizerDigest,
      layers: config.layers, heads: config.heads, width: config.width,
      headWidth: config.headWidth, mlpWidth: config.mlpWidth, vocabulary: config.vocabulary,
      contextLength: config.contextLength)
  }
}
