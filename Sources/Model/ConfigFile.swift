/// The entries of Hugging Face's config.json that bear on the forward pass of a GPT-2.
struct ConfigFile: Decodable {
  var modelType: String?
  var architectures: [String]?
  var width, hiddenSize: WholeNumber?
  var layers, hiddenLayers: WholeNumber?
  var heads, attentionHeads: WholeNumber?
  var positions, maxPositionEmbeddings, contextLength: WholeNumber?
  var mlpWidth: WholeNumber?
  var vocabulary: WholeNumber?
  var layerNormEpsilon: Double?
  var activationFunction: String?
  var scalesAttention: Bool?
  var scalesAttentionByInverseLayer: Bool?
  var tiesEmbeddings: Bool?
  var addsCrossAttention: Bool?
  var quantization: Quantization?
  var prunedHeads: [String: [Int]]?

  struct Quantization: Decodable {
    var method: String?

    enum CodingKeys: String, CodingKey {
      case method = "quant_method"
    }
  }

  enum CodingKeys: String, CodingKey {
    case modelType = "model_type"
    case architectures
    case width = "n_embd"
    case hiddenSize = "hidden_size"
    case layers = "n_layer"
    case hiddenLayers = "num_hidden_layers"
    case heads = "n_head"
    case attentionHeads = "num_attention_heads"
    case positions = "n_positions"
    case maxPositionEmbeddings = "max_position_embeddings"
    case contextLength = "n_ctx"
    case mlpWidth = "n_inner"
    case vocabulary = "vocab_size"
    case layerNormEpsilon = "layer_norm_epsilon"
    case activationFunction = "activation_function"
    case scalesAttention = "scale_attn_weights"
    case scalesAttentionByInverseLayer = "scale_attn_by_inverse_layer_idx"
    case tiesEmbeddings = "tie_word_embeddings"
    case addsCrossAttention = "add_cross_attention"
    case quantization = "quantization_config"
    case prunedHeads = "pruned_heads"
  }

  func refuseOtherModels(_ path: String) throws(ModelError) {
    if let modelType {
      guard modelType == "gpt2" else { throw .notGPT2(path: path, modelType: modelType) }
    } else {
      // The oldest files name their class only.
      let name = architectures?.first
      guard let name, name.hasPrefix("GPT2") else { throw .notGPT2(path: path, modelType: name) }
    }
  }

  func refuseUnsupportedOptions(_ path: String) throws(ModelError) {
    // `reorder_and_upcast_attn` needs no check: in float32 it is the same arithmetic.
    let activation = activationFunction ?? "gelu_new"
    guard ["gelu_new", "gelu_pytorch_tanh"].contains(activation) else {
      throw .unsupportedOption(
        path: path, key: "activation_function", value: activation,
        supported: "gelu_new and gelu_pytorch_tanh, which are the same function, are")
    }
    if addsCrossAttention == true {
      throw .unsupportedOption(
        path: path, key: "add_cross_attention", value: "true",
        supported: "only decoders without an encoder are")
    }
    if let quantization {
      throw .unsupportedOption(
        path: path, key: "quantization_config",
        value: quantization.method ?? "a method without a name",
        supported: "weights in F32, F16 or BF16 are")
    }
    if let prunedHeads, !prunedHeads.isEmpty {
      throw .unsupportedOption(
        path: path, key: "pruned_heads", value: "layers \(prunedHeads.keys.sorted())",
        supported: "only layers with all their heads are")
    }
  }
}

/// An integer. The decoder takes a number that does not fit an Int for a syntax error; this names
/// the entry.
struct WholeNumber: Decodable {
  let value: Int

  init(from decoder: any Decoder) throws {
    let number = try decoder.singleValueContainer().decode(Double.self)
    guard let value = Int(exactly: number) else {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(
          codingPath: decoder.codingPath, debugDescription: "\(number) is not an integer"))
    }
    self.value = value
  }
}
