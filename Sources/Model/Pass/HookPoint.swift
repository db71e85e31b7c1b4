/// A place in the forward pass whose values can be read or changed, by TransformerLens's name.
public struct HookPoint: Hashable, Sendable {
  public let kind: HookKind
  /// The block, or nil for the hooks outside the blocks.
  public let layer: Int?

  public init(_ kind: HookKind, layer: Int? = nil) {
    self.kind = kind
    self.layer = layer
  }

  /// TransformerLens's name, such as `blocks.5.attn.hook_z`.
  public var name: String {
    if let layer { "blocks.\(layer).\(kind.rawValue)" } else { kind.rawValue }
  }

  /// The hook of that name, or nil.
  public init?(name: String) {
    if let kind = HookKind(rawValue: name), !kind.isInBlock {
      self.init(kind)
      return
    }
    let parts = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "blocks", let layer = Int(parts[1]), layer >= 0,
      String(layer) == parts[1], let kind = HookKind(rawValue: String(parts[2])), kind.isInBlock
    else { return nil }
    self.init(kind, layer: layer)
  }
}

/// The kinds of hook points, in the order in which a pass reaches them. The raw value is the name
/// behind `blocks.{layer}.`, or the whole name outside the blocks.
public enum HookKind: String, CaseIterable, Sendable {
  case embed = "hook_embed"
  case posEmbed = "hook_pos_embed"
  case residPre = "hook_resid_pre"
  case attnIn = "hook_attn_in"
  case qInput = "hook_q_input"
  case kInput = "hook_k_input"
  case vInput = "hook_v_input"
  case ln1Scale = "ln1.hook_scale"
  case ln1Normalized = "ln1.hook_normalized"
  case q = "attn.hook_q"
  case k = "attn.hook_k"
  case v = "attn.hook_v"
  case attnScores = "attn.hook_attn_scores"
  case pattern = "attn.hook_pattern"
  case z = "attn.hook_z"
  case result = "attn.hook_result"
  case attnOut = "hook_attn_out"
  case residMid = "hook_resid_mid"
  case mlpIn = "hook_mlp_in"
  case ln2Scale = "ln2.hook_scale"
  case ln2Normalized = "ln2.hook_normalized"
  case mlpPre = "mlp.hook_pre"
  case mlpPost = "mlp.hook_post"
  case mlpOut = "hook_mlp_out"
  case residPost = "hook_resid_post"
  case finalScale = "ln_final.hook_scale"
  case finalNormalized = "ln_final.hook_normalized"
  /// The logits. TransformerLens 2 returns them beside the cache; 3 and later name them so.
  case unembed = "hook_unembed"

  /// Whether every block has one.
  public var isInBlock: Bool {
    switch self {
    case .embed, .posEmbed, .finalScale, .finalNormalized, .unembed: false
    default: true
    }
  }

  /// Whether it is among those that TransformerLens's `run_with_cache` keeps by default.
  public var isDefault: Bool {
    switch self {
    case .attnIn, .qInput, .kInput, .vInput, .result, .mlpIn, .unembed: false
    default: true
    }
  }

  /// The shape for one prompt, TransformerLens's without the batch axis.
  public var axes: [HookAxis] {
    switch self {
    case .embed, .posEmbed, .residPre, .ln1Normalized, .attnOut, .residMid, .mlpIn, .ln2Normalized,
      .mlpOut, .residPost, .finalNormalized:
      [.position, .width]
    case .attnIn, .qInput, .kInput, .vInput, .result: [.position, .head, .width]
    case .ln1Scale, .ln2Scale, .finalScale: [.position, .one]
    case .q, .k, .v, .z: [.position, .head, .headWidth]
    case .attnScores, .pattern: [.head, .position, .keyPosition]
    case .mlpPre, .mlpPost: [.position, .mlpWidth]
    case .unembed: [.position, .vocabulary]
    }
  }

  public var hasHeadAxis: Bool { axes.contains(.head) }

  /// TransformerLens's short name, such as `resid_pre`, `z` or `post`; those of the LayerNorms keep
  /// their module, `ln1.scale`.
  public var shortName: String {
    var name = Substring(rawValue)
    for module in ["attn.", "mlp."] where name.hasPrefix(module) {
      name = name.dropFirst(module.count)
    }
    guard let mark = name.firstRange(of: "hook_") else { return String(name) }
    name.removeSubrange(mark)
    return String(name)
  }
}

/// An axis of an activation. The raw value is the letter that stands for its length.
public enum HookAxis: String, Sendable {
  case position = "T"
  /// The position that is attended to; as long as `position`.
  case keyPosition = "T_k"
  case head = "H"
  case width = "D"
  case headWidth = "K"
  case mlpWidth = "M"
  case vocabulary = "V"
  case one = "1"

  /// The length of the axis, or nil where it is the prompt's number of positions.
  public func length(in config: ModelConfig) -> Int? {
    switch self {
    case .position, .keyPosition: nil
    case .head: config.heads
    case .width: config.width
    case .headWidth: config.headWidth
    case .mlpWidth: config.mlpWidth
    case .vocabulary: config.vocabulary
    case .one: 1
    }
  }
}

extension HookPoint {
  /// Every hook point of a model in the order in which a pass reaches them.
  package static func all(layers: Int) -> [HookPoint] {
    let blocks = HookKind.allCases.filter(\.isInBlock)
    let before = [HookPoint(.embed), HookPoint(.posEmbed)]
    let inside = (0..<layers).flatMap { layer in blocks.map { HookPoint($0, layer: layer) } }
    let after = [HookPoint(.finalScale), HookPoint(.finalNormalized), HookPoint(.unembed)]
    return before + inside + after
  }
}

extension ModelConfig {
  /// Every hook point of the model in the order in which a pass reaches them.
  public var hookPoints: [HookPoint] { HookPoint.all(layers: layers) }

  /// Number of values of a hook for a prompt of `positions` positions.
  public func valueCount(of kind: HookKind, positions: Int) -> Int {
    kind.axes.reduce(1) { $0 * ($1.length(in: self) ?? positions) }
  }
}
