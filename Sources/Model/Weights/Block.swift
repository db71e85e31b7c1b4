/// The weights of one block as a pass uses them.
public struct Block: Sendable {
  /// nil where it is folded into `query`, `key` and `value`.
  public let ln1: LayerNormWeights?
  /// [D, H·K] each; head h has the columns h·K ..< (h+1)·K.
  public let query, key, value: Linear
  /// [H·K, D]; head h has the rows h·K ..< (h+1)·K.
  public let output: Linear
  /// nil where it is folded into `mlpIn`.
  public let ln2: LayerNormWeights?
  /// [D, M]
  public let mlpIn: Linear
  /// [M, D]
  public let mlpOut: Linear

  init(_ weights: LayerWeights) {
    ln1 = weights.ln1
    query = Linear(weights.query, bias: weights.queryBias)
    key = Linear(weights.key, bias: weights.keyBias)
    value = Linear(weights.value, bias: weights.valueBias)
    output = Linear(weights.output, bias: weights.outputBias)
    ln2 = weights.ln2
    mlpIn = Linear(weights.mlpIn, bias: weights.mlpInBias)
    mlpOut = Linear(weights.mlpOut, bias: weights.mlpOutBias)
  }
}
