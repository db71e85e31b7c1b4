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
    width = try sizes.size("n_embd", file.n_embd, "hidden_size", file.hidden_size, default: 768)
    layers = try sizes.size(
      "n_layer", file.n_layer, "num_hidden_layers", file.num_hidden_layers, default: 12)
    heads = try sizes.size(
      "n_head", file.n_head, "num_attention_heads", file.num_attention_heads, default: 12)
    vocabulary = try sizes.size("vocab_size", file.vocab_size, default: 50257)
    let positions = try sizes.size(
      "n_positions", file.n_positions, "max_position_embeddings", file.max_position_embeddings,
      default: 1024)
    // TransformerLens takes n_ctx, where there is one, and cuts the position embedding to it.
    contextLength = try sizes.size("n_ctx", file.n_ctx, default: positions)
    let (fourfold, overflow) = width.multipliedReportingOverflow(by: 4)
    mlpWidth = try sizes.size("n_inner", file.n_inner, default: overflow ? 0 : fourfold)
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

    let epsilon = Float(file.layer_norm_epsilon ?? 1e-5)
    guard epsilon.isFinite, epsilon > 0 else {
      throw sizes.error("layer_norm_epsilon", "is not a positive number")
    }
    layerNormEpsilon = epsilon
    activation = .geluNew
    scalesAttention = file.scale_attn_weights ?? true
    scalesAttentionByInverseLayer = file.scale_attn_by_inverse_layer_idx ?? false
    tiesEmbeddings = file.tie_word_embeddings ?? true
  }
}

/// Reads sizes, which a file may give under either of two names.
private struct SizeReader {
  let path: String

  func error(_ key: String, _ problem: String) -> ModelError {
    .badEntry(path: path, key: key, problem: problem)
  }

  func size(
    _ key: String, _ value: Int?, _ alias: String? = nil, _ aliasValue: Int? = nil,
    default standard: Int
  ) throws(ModelError) -> Int {
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

/// The entries of config.json that bear on the forward pass, by their own names.
private struct ConfigFile: Decodable {
  var model_type: String?
  var architectures: [String]?
  var n_embd, hidden_size: Int?
  var n_layer, num_hidden_layers: Int?
  var n_head, num_attention_heads: Int?
  var n_positions, max_position_embeddings, n_ctx: Int?
  var n_inner: Int?
  var vocab_size: Int?
  var layer_norm_epsilon: Double?
  var activation_function: String?
  var scale_attn_weights: Bool?
  var scale_attn_by_inverse_layer_idx: Bool?
  var tie_word_embeddings: Bool?
  var add_cross_attention: Bool?
  var quantization_config: Quantization?
  var pruned_heads: [String: [Int]]?

  struct Quantization: Decodable {
    var quant_method: String?
  }

  func refuseOtherModels(_ path: String) throws(ModelError) {
    if let model_type {
      guard model_type == "gpt2" else { throw .notGPT2(path: path, modelType: model_type) }
    } else {
      // The oldest files name their class only.
      let name = architectures?.first
      guard let name, name.hasPrefix("GPT2") else { throw .notGPT2(path: path, modelType: name) }
    }
  }

  func refuseUnsupportedOptions(_ path: String) throws(ModelError) {
    // `reorder_and_upcast_attn` needs no check: in float32 it is the same arithmetic.
    let activation = activation_function ?? "gelu_new"
    guard ["gelu_new", "gelu_pytorch_tanh"].contains(activation) else {
      throw .unsupportedOption(
        path: path, key: "activation_function", value: activation,
        supported: "gelu_new and gelu_pytorch_tanh, which are the same function, are")
    }
    if add_cross_attention == true {
      throw .unsupportedOption(
        path: path, key: "add_cross_attention", value: "true",
        supported: "only decoders without an encoder are")
    }
    if let quantization_config {
      throw .unsupportedOption(
        path: path, key: "quantization_config",
        value: quantization_config.quant_method ?? "a method without a name",
        supported: "weights in F32, F16 or BF16 are")
    }
    if let pruned = pruned_heads, !pruned.isEmpty {
      throw .unsupportedOption(
        path: path, key: "pruned_heads", value: "layers \(pruned.keys.sorted())",
        supported: "only layers with all their heads are")
    }
  }
}
