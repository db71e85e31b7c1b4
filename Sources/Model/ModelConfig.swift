/// The size and arithmetic of a GPT-2.
public struct ModelConfig: Sendable, Equatable {
  /// The function between the two matrices of the MLP.
  public enum Activation: String, Sendable {
    /// The tanh approximation of GELU: 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).
    case geluNew = "gelu_new"
  }

  public var layers: Int
  public var heads: Int
  /// D, the width of the residual stream.
  public var width: Int
  /// K = D / H.
  public var headWidth: Int
  public var mlpWidth: Int
  public var vocabulary: Int
  public var contextLength: Int
  public var layerNormEpsilon: Float
  public var activation: Activation
  /// Whether attention scores are divided by √K.
  public var scalesAttention: Bool
  /// Whether the attention scores of layer l are divided by l + 1 as well.
  public var scalesAttentionByInverseLayer: Bool
  /// Whether the unembedding is the token embedding.
  public var tiesEmbeddings: Bool
}
