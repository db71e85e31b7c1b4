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

  /// The sizes of GPT-2 small, "gpt2" (Radford et al. 2019).
  public static let gpt2Small = ModelConfig(
    layers: 12, heads: 12, width: 768, headWidth: 64, mlpWidth: 3072, vocabulary: 50257,
    contextLength: 1024, layerNormEpsilon: 1e-5, activation: .geluNew, scalesAttention: true,
    scalesAttentionByInverseLayer: false, tiesEmbeddings: true)
}

extension ModelConfig {
  /// The most layers that a configuration may ask for.
  static let layerLimit = 1024

  /// Reads config.json of a model directory in Hugging Face's layout.
  ///
  /// What the file leaves out has the value of `transformers`' GPT2Config. An option that would
  /// change the arithmetic is honoured, or refused by name.
  ///
  /// - Throws: `ModelError` if the file is missing, is not JSON, describes another kind of model,
  ///   contradicts itself, or asks for arithmetic that is not implemented.
  public init(directory: String) throws(ModelError) {
    let path = directory + "/config.json"
    let file = try decodeJSONFile(ConfigFile.self, path: path)
    try file.refuseOtherModels(path)
    try file.refuseUnsupportedOptions(path)

    let sizes = SizeReader(path: path)
    width = try sizes.size("n_embd", file.width, "hidden_size", file.hiddenSize, default: 768)
    layers = try sizes.size(
      "n_layer", file.layers, "num_hidden_layers", file.hiddenLayers, default: 12)
    heads = try sizes.size(
      "n_head", file.heads, "num_attention_heads", file.attentionHeads, default: 12)
    vocabulary = try sizes.size("vocab_size", file.vocabulary, default: 50257)
    let positions = try sizes.size(
      "n_positions", file.positions, "max_position_embeddings", file.maxPositionEmbeddings,
      default: 1024)
    // TransformerLens takes n_ctx, where there is one, and cuts the position embedding to it.
    contextLength = try sizes.size("n_ctx", file.contextLength, default: positions)
    let (fourfold, overflow) = width.multipliedReportingOverflow(by: 4)
    mlpWidth = try sizes.size("n_inner", file.mlpWidth, default: overflow ? 0 : fourfold)
    headWidth = width / heads

    guard layers <= ModelConfig.layerLimit else {
      throw sizes.error("n_layer", "is \(layers), more than \(ModelConfig.layerLimit)")
    }
    guard width % heads == 0 else {
      throw sizes.error("n_head", "is \(heads), which does not divide n_embd, \(width)")
    }
    guard contextLength <= positions else {
      throw sizes.error("n_ctx", "is \(contextLength), more than n_positions, \(positions)")
    }
    try sizes.checkProducts(
      width: width, others: [3 * width, mlpWidth, vocabulary, positions])

    let epsilon = Float(file.layerNormEpsilon ?? 1e-5)
    guard epsilon.isFinite, epsilon > 0 else {
      throw sizes.error("layer_norm_epsilon", "is not a positive number")
    }
    layerNormEpsilon = epsilon
    activation = .geluNew
    scalesAttention = file.scalesAttention ?? true
    scalesAttentionByInverseLayer = file.scalesAttentionByInverseLayer ?? false
    tiesEmbeddings = file.tiesEmbeddings ?? true
  }
}

/// Reads sizes, which a file may give under either of two names.
private struct SizeReader {
  let path: String

  func error(_ key: String, _ problem: String) -> ModelError {
    .badEntry(path: path, key: key, problem: problem)
  }

  func size(
    _ key: String, _ given: WholeNumber?, _ alias: String? = nil,
    _ aliasGiven: WholeNumber? = nil,
    default standard: Int
  ) throws(ModelError) -> Int {
    let (value, aliasValue) = (given?.value, aliasGiven?.value)
    if let alias, let value, let aliasValue, value != aliasValue {
      throw error(key, "is \(value), and '\(alias)', its other name, is \(aliasValue)")
    }
    let size = value ?? aliasValue ?? standard
    // OpenBLAS counts rows and columns in 32 bits.
    guard size > 0, size <= Int(Int32.max) else {
      throw error(key, "is \(size), which is not a size")
    }
    return size
  }

  /// Makes sure that the bytes of each matrix with `width` rows or columns can be counted.
  func checkProducts(width: Int, others: [Int]) throws(ModelError) {
    for other in others {
      let (count, overflow) = width.multipliedReportingOverflow(by: other)
      guard !overflow, !count.multipliedReportingOverflow(by: 4).overflow else {
        throw error("n_embd", "is \(width), which makes matrices too large to address")
      }
    }
  }
}
