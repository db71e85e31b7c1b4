/// How the array of a derived hook is computed from arrays of other hooks of the same prompt.
///
/// The associated names are hooks that stand earlier in the plan's table. `docs/format.md` has the
/// formulas and the order of every operation.
public enum Recipe: Hashable, Sendable {
  /// The arrays added up from left to right; the residual stream.
  case sum([String])
  /// GELU in its tanh form (Hendrycks & Gimpel 2016).
  case geluNew(String)
  /// LayerNorm's divisor, √(variance + epsilon), [T, 1] of [T, D] (Ba et al. 2016).
  case layerNormScale(String, epsilon: Float)
  /// (x − mean) ÷ that divisor, [T, D].
  case layerNorm(String, epsilon: Float)
  /// q·k ÷ divisor, −∞ above the diagonal, [H, T, T] of [T, H, K] (Vaswani et al. 2017).
  case attentionScores(q: String, k: String, divisor: Float)
  /// Softmax of each row up to the diagonal, [H, T, T].
  case causalSoftmax(String)
  /// Values weighed by a pattern, [T, H, K] of [H, T, T] and [T, H, K].
  case attentionMix(pattern: String, values: String)
  /// [T, H, D], H times the same [T, D].
  case repeatHeads(String, heads: Int)

  /// The hooks that it is computed from.
  public var sources: [String] {
    switch self {
    case .sum(let names): names
    case .geluNew(let x), .layerNormScale(let x, _), .layerNorm(let x, _), .causalSoftmax(let x),
      .repeatHeads(let x, _):
      [x]
    case .attentionScores(let q, let k, _): [q, k]
    case .attentionMix(let pattern, let values): [pattern, values]
    }
  }

  /// Whether each position's row follows from the same rows of the sources, where arrays have rows.
  var isRowByRow: Bool {
    switch self {
    case .sum, .geluNew, .layerNormScale, .layerNorm, .repeatHeads: true
    case .attentionScores, .causalSoftmax, .attentionMix: false
    }
  }

  /// Whether it gives an array of shape `result` from arrays of the shapes `sources`.
  func fits(_ sources: [[Dimension]], result: [Dimension]) -> Bool {
    guard let x = sources.first else { return false }
    switch self {
    case .sum, .geluNew: return sources.allSatisfy { $0 == result }
    case .layerNormScale:
      guard x.count == 2, case .fixed = x[1] else { return false }
      return x[0] == .positions && result == [.positions, .fixed(1)]
    case .layerNorm:
      guard x.count == 2, case .fixed = x[1] else { return false }
      return x[0] == .positions && result == x
    case .attentionScores:
      guard let (heads, width) = Recipe.headsAndWidth(x), width <= Limits.headWidth else {
        return false
      }
      return sources[1] == x && result == [.fixed(heads), .positions, .positions]
    case .causalSoftmax:
      guard x.count == 3, case .fixed = x[0] else { return false }
      return x[1] == .positions && x[2] == .positions && result == x
    case .attentionMix:
      guard let (heads, _) = Recipe.headsAndWidth(result) else { return false }
      return x == [.fixed(heads), .positions, .positions] && sources[1] == result
    case .repeatHeads(_, let heads):
      guard x.count == 2, case .fixed = x[1], x[0] == .positions else { return false }
      return heads > 0 && result == [x[0], .fixed(heads), x[1]]
    }
  }

  /// H and K of the shape [T, H, K].
  static func headsAndWidth(_ shape: [Dimension]) -> (heads: Int, width: Int)? {
    guard shape.count == 3, shape[0] == .positions, case .fixed(let heads) = shape[1],
      case .fixed(let width) = shape[2]
    else { return nil }
    return (heads, width)
  }
}

extension Recipe: Codable {
  private enum Key: String, CodingKey {
    case op, of, epsilon, divisor, heads
  }

  private enum Operation: String, Codable {
    case sum
    case geluNew = "gelu_new"
    case layerNormScale = "layernorm_scale"
    case layerNorm = "layernorm"
    case attentionScores = "attention_scores"
    case causalSoftmax = "causal_softmax"
    case attentionMix = "attention_mix"
    case repeatHeads = "repeat_heads"

    /// How many sources it has; nil for one or more.
    var sourceCount: Int? {
      switch self {
      case .sum: nil
      case .attentionScores, .attentionMix: 2
      default: 1
      }
    }
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    let operation = try container.decode(Operation.self, forKey: .op)
    let of = try container.decode([String].self, forKey: .of)
    guard of.count == operation.sourceCount ?? max(1, of.count) else {
      throw DecodingError.dataCorruptedError(
        forKey: .of, in: container, debugDescription: "\(operation.rawValue) of \(of.count) hooks")
    }
    func number(_ key: Key) throws -> Float { try container.decode(Float.self, forKey: key) }
    self =
      switch operation {
      case .sum: .sum(of)
      case .geluNew: .geluNew(of[0])
      case .layerNormScale: .layerNormScale(of[0], epsilon: try number(.epsilon))
      case .layerNorm: .layerNorm(of[0], epsilon: try number(.epsilon))
      case .attentionScores:
        .attentionScores(q: of[0], k: of[1], divisor: try number(.divisor))
      case .causalSoftmax: .causalSoftmax(of[0])
      case .attentionMix: .attentionMix(pattern: of[0], values: of[1])
      case .repeatHeads: .repeatHeads(of[0], heads: try container.decode(Int.self, forKey: .heads))
      }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    let operation: Operation
    switch self {
    case .sum: operation = .sum
    case .geluNew: operation = .geluNew
    case .layerNormScale(_, let epsilon):
      operation = .layerNormScale
      try container.encode(epsilon, forKey: .epsilon)
    case .layerNorm(_, let epsilon):
      operation = .layerNorm
      try container.encode(epsilon, forKey: .epsilon)
    case .attentionScores(_, _, let divisor):
      operation = .attentionScores
      try container.encode(divisor, forKey: .divisor)
    case .causalSoftmax: operation = .causalSoftmax
    case .attentionMix: operation = .attentionMix
    case .repeatHeads(_, let heads):
      operation = .repeatHeads
      try container.encode(heads, forKey: .heads)
    }
    try container.encode(operation, forKey: .op)
    try container.encode(sources, forKey: .of)
  }
}
