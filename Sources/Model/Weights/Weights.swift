/// Scale and shift of a LayerNorm.
public struct LayerNormWeights: Sendable {
  /// [1, D]
  public var weight: Matrix
  /// [1, D]
  public var bias: Matrix
}

/// The weights of one block.
///
/// Every matrix is applied from the right, y = x W + b. Heads lie side by side: head h has the
/// columns h·K ..< (h+1)·K of `query`, `key` and `value`, and the same rows of `output`.
public struct LayerWeights: Sendable {
  /// nil once it is folded into `query`, `key` and `value`.
  public var ln1: LayerNormWeights?
  /// [D, H·K]
  public var query: Matrix
  /// [D, H·K]
  public var key: Matrix
  /// [D, H·K]
  public var value: Matrix
  /// [1, H·K]
  public var queryBias: Matrix
  /// [1, H·K]
  public var keyBias: Matrix
  /// [1, H·K]
  public var valueBias: Matrix
  /// [H·K, D]
  public var output: Matrix
  /// [1, D]
  public var outputBias: Matrix
  /// nil once it is folded into `mlpIn`.
  public var ln2: LayerNormWeights?
  /// [D, M]
  public var mlpIn: Matrix
  /// [1, M]
  public var mlpInBias: Matrix
  /// [M, D]
  public var mlpOut: Matrix
  /// [1, D]
  public var mlpOutBias: Matrix
}

/// The float32 weights of a GPT-2.
public struct Weights: Sendable {
  /// [V, D]
  public var tokenEmbedding: Matrix
  /// [C, D], C the context length
  public var positionEmbedding: Matrix
  public var layers: [LayerWeights]
  /// nil once it is folded into the unembedding.
  public var lnFinal: LayerNormWeights?
  /// [V, D], the row of a token: logits = x Uᵀ + b. The transpose of TransformerLens's `W_U`.
  public var unembedding: Matrix
  /// [1, V]; nil stands for zeros.
  public var unembeddingBias: Matrix?
}

/// What is done to the weights of a checkpoint before they are used.
public enum WeightProcessing: String, Sendable, CaseIterable {
  /// LayerNorms folded, writing weights, unembedding and value biases centred or folded, as
  /// TransformerLens's `HookedTransformer.from_pretrained` does by default.
  case transformerlens
  /// The checkpoint as it is.
  case raw
  /// As `transformerlens`, and the query-key and value-output matrices of each head refactored
  /// (TransformerLens's `refactor_factored_attn_matrices`).
  case refactored = "transformerlens+refactor"
}
