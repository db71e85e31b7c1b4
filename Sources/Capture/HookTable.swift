import CacheFormat
import Model

/// The hook table of a cache: what is captured, and what of it is derived from the rest.
struct HookTable {
  /// The residual stream is stored after every so many blocks, so that no array is a sum of more
  /// than twice as many others and one: for GPT-2 small 2.7 % more bytes, a fifth of the time to
  /// read the stream of a late layer (docs/benchmarks.md).
  static let landmarkLayers = 4

  let specs: [HookSpec]

  /// - Parameters:
  ///   - points: the hooks to capture, in the order of the pass.
  ///   - isCompact: whether hooks are derived where all that they are derived from is captured too.
  ///     If not, every array is stored.
  ///   - foldsLayerNorm: whether the weights of LayerNorm are folded into the matrices after it. If
  ///     not, normalised values depend on them and are stored.
  init(points: [HookPoint], config: ModelConfig, isCompact: Bool, foldsLayerNorm: Bool) {
    var captured: Set<String> = []
    specs = points.map { point in
      defer { captured.insert(point.name) }
      var spec = HookSpec(
        name: point.name,
        shape: point.kind.axes.map { $0.length(in: config).map(Dimension.fixed) ?? .positions })
      if isCompact, let recipe = point.recipe(in: config, foldsLayerNorm: foldsLayerNorm),
        recipe.sources.allSatisfy(captured.contains)
      {
        spec.recipe = recipe
      }
      return spec
    }
  }
}

extension HookPoint {
  /// How the forward pass computes these values from those of earlier hooks, where no matrix is
  /// needed for it; nil where one is.
  fileprivate func recipe(in config: ModelConfig, foldsLayerNorm: Bool) -> Recipe? {
    let layer = layer ?? config.layers
    func here(_ kind: HookKind) -> String { HookPoint(kind, layer: layer).name }
    /// The residual stream before block `layer`.
    let stream = HookPoint(.residPost, layer: layer - 1).name
    let epsilon = config.layerNormEpsilon
    switch kind {
    case .residPre:
      return layer == 0
        ? .sum([HookPoint(.embed).name, HookPoint(.posEmbed).name]) : .sum([stream])
    case .residMid: return .sum([here(.residPre), here(.attnOut)])
    case .residPost:
      let isLandmark = (layer + 1) % HookTable.landmarkLayers == 0
      return isLandmark ? nil : .sum([here(.residMid), here(.mlpOut)])
    case .mlpIn: return .sum([here(.residMid)])
    case .attnIn, .qInput, .kInput, .vInput:
      return .repeatHeads(here(.residPre), heads: config.heads)
    case .ln1Scale: return .layerNormScale(here(.residPre), epsilon: epsilon)
    case .ln2Scale: return .layerNormScale(here(.residMid), epsilon: epsilon)
    case .finalScale: return .layerNormScale(stream, epsilon: epsilon)
    case .ln1Normalized:
      return foldsLayerNorm ? .layerNorm(here(.residPre), epsilon: epsilon) : nil
    case .ln2Normalized:
      return foldsLayerNorm ? .layerNorm(here(.residMid), epsilon: epsilon) : nil
    case .finalNormalized: return foldsLayerNorm ? .layerNorm(stream, epsilon: epsilon) : nil
    case .attnScores:
      return .attentionScores(
        q: here(.q), k: here(.k), divisor: config.attentionDivisor(layer: layer))
    case .pattern: return .causalSoftmax(here(.attnScores))
    case .z: return .attentionMix(pattern: here(.pattern), values: here(.v))
    case .mlpPost: return .geluNew(here(.mlpPre))
    case .embed, .posEmbed, .q, .k, .v, .result, .attnOut, .mlpPre, .mlpOut, .unembed: return nil
    }
  }
}
