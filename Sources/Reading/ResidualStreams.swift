import Model

/// The residual stream from the embedding on, in TransformerLens's order and words: `accumulated_resid`
/// with `incl_mid`.
enum ResidualStreams {
  /// 0_pre, 0_mid, 1_pre, … final_post.
  static func labels(layers: Int) -> [String] {
    (0..<layers).flatMap { ["\($0)_pre", "\($0)_mid"] } + ["final_post"]
  }

  /// The hooks of `labels`.
  static func hooks(layers: Int) -> [HookPoint] {
    (0..<layers).flatMap {
      [HookPoint(.residPre, layer: $0), HookPoint(.residMid, layer: $0)]
    } + [last(layers: layers)]
  }

  /// final_post.
  static func last(layers: Int) -> HookPoint { HookPoint(.residPost, layer: layers - 1) }
}
