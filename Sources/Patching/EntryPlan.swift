import CKernels
import Model

/// How a patched pass is entered: at the latest stage at which the patched hook can still be put
/// in place, with the residual stream of the receiving run.
///
/// Hooks that stand on the residual stream, or are added to it, need no stage of their own: the
/// patched rows are put together from cached arrays in the order of the sums of the forward pass,
/// so that no bit differs from a full pass. Hooks inside attention or the MLP are changed while the
/// pass runs that half.
struct EntryPlan {
  let entry: ForwardPass.Entry
  /// The receiving run's residual stream at `entry`.
  let stream: HookPoint
  /// What a patched row consists of, for hooks on the stream; nil for hooks inside a half.
  let patchedRow: PatchedRow?

  enum PatchedRow: Equatable {
    /// The row of the source run's hook itself.
    case source
    /// The source run's row, plus the receiving run's row of another hook.
    case sourcePlus(HookPoint)
  }

  init(_ hook: HookPoint, layers: Int) {
    let layer = hook.layer ?? 0
    let afterBlock: ForwardPass.Entry = layer + 1 < layers ? .block(layer + 1) : .final
    switch hook.kind {
    case .embed:
      self.init(.block(0), .init(.residPre, layer: 0), .sourcePlus(.init(.posEmbed)))
    case .posEmbed:
      self.init(.block(0), .init(.residPre, layer: 0), .sourcePlus(.init(.embed)))
    case .residPre:
      self.init(.block(layer), hook, .source)
    case .attnOut:
      self.init(
        .mlp(layer), .init(.residMid, layer: layer),
        .sourcePlus(.init(.residPre, layer: layer)))
    case .residMid:
      self.init(.mlp(layer), hook, .source)
    case .mlpOut:
      self.init(
        afterBlock, .init(.residPost, layer: layer),
        .sourcePlus(.init(.residMid, layer: layer)))
    case .residPost:
      self.init(afterBlock, hook, .source)
    case .mlpIn, .ln2Scale, .ln2Normalized, .mlpPre, .mlpPost:
      self.init(.mlp(layer), .init(.residMid, layer: layer), nil)
    case .finalScale, .finalNormalized, .unembed:
      self.init(.final, .init(.residPost, layer: layers - 1), nil)
    default:
      self.init(.block(layer), .init(.residPre, layer: layer), nil)
    }
  }

  private init(_ entry: ForwardPass.Entry, _ stream: HookPoint, _ patchedRow: PatchedRow?) {
    self.entry = entry
    self.stream = stream
    self.patchedRow = patchedRow
  }

  /// The blocks whose attention the pass runs.
  func attentionLayers(of layers: Int) -> Range<Int> {
    switch entry {
    case .block(let layer): layer..<layers
    case .mlp(let layer): (layer + 1)..<max(layer + 1, layers)
    case .final: layers..<layers
    }
  }
}
