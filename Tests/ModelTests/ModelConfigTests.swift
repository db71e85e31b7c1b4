import FileIO
import TestSupport
import Testing

@testable import Model

@Suite struct ModelConfigTests {
  let directory: TemporaryDirectory
  var path: String { directory.path + "/config.json" }

  init() throws { directory = try TemporaryDirectory() }

  private func config(_ json: String) throws -> ModelConfig {
    try directory.write("config.json", json.utf8)
    return try ModelConfig(directory: directory.path)
  }

  @Test func whatIsLeftOutIsAsInGPT2Config() throws {
    let config = try config(#"{"model_type": "gpt2", "n_inner": null}"#)
    #expect(
      config
        == ModelConfig(
          layers: 12, heads: 12, width: 768, headWidth: 64, mlpWidth: 3072, vocabulary: 50257,
          contextLength: 1024, layerNormEpsilon: 1e-5, activation: .geluNew,
          scalesAttention: true, scalesAttentionByInverseLayer: false, tiesEmbeddings: true))
  }

  @Test func everyOptionIsRead() throws {
    let config = try config(
      """
      {"model_type": "gpt2", "n_layer": 3, "n_head": 5, "n_embd": 80, "n_inner": 112,
       "vocab_size": 113, "n_positions": 37, "n_ctx": 30, "layer_norm_epsilon": 1e-4,
       "activation_function": "gelu_pytorch_tanh", "scale_attn_weights": false,
       "scale_attn_by_inverse_layer_idx": true, "reorder_and_upcast_attn": true,
       "tie_word_embeddings": false, "add_cross_attention": false, "pruned_heads": {},
       "quantization_config": null, "task_specific_params": {"a": [1, {"b": null}]}}
      """)
    #expect(
      config
        == ModelConfig(
          layers: 3, heads: 5, width: 80, headWidth: 16, mlpWidth: 112, vocabulary: 113,
          contextLength: 30, layerNormEpsilon: 1e-4, activation: .geluNew,
          scalesAttention: false, scalesAttentionByInverseLayer: true, tiesEmbeddings: false))
  }

  @Test func sizesMayGoByTheirOtherNames() throws {
    let config = try config(
      """
      {"architectures": ["GPT2LMHeadModel"], "hidden_size": 16, "num_hidden_layers": 2,
       "num_attention_heads": 4, "max_position_embeddings": 8}
      """)
    #expect(config.width == 16)
    #expect(config.layers == 2)
    #expect(config.heads == 4)
    #expect(config.contextLength == 8)
    #expect(config.mlpWidth == 64)
  }

  @Test func missingFileIsNamed() {
    let error = #expect(throws: ModelError.self) { try ModelConfig(directory: directory.path) }
    #expect(error == .missingFile(path: path))
    #expect(error?.exitCode == .noInput)
    #expect(error?.description.contains(path) == true)
  }

  @Test(arguments: ["", "{", "[]", "null", "{\"model_type\": \"gpt2\"} x", "\u{0}\u{1}"])
  func whatIsNotAnObjectIsRefused(_ json: String) {
    let error = #expect(throws: ModelError.self) { try config(json) }
    #expect(error == .notJSON(path: path))
    #expect(error?.exitCode == .badData)
  }

  @Test func aKeyMustNotOccurTwice() {
    #expect(throws: ModelError.duplicateKey(path: path, key: "n_head")) {
      try config(#"{"model_type": "gpt2", "n_head": 12, "n_layer": 2, "n_head": 6}"#)
    }
    #expect(throws: ModelError.duplicateKey(path: path, key: "n_head")) {
      try config(#"{"model_type": "gpt2", "n_head": 12, "n_layer": 2, "n\u005fhead": 6}"#)
    }
    // The same key in two objects is nothing unusual, nor is a string that looks like one.
    #expect(throws: Never.self) {
      try config(#"{"model_type": "gpt2", "a": {"b": 1}, "c": [{"b": "a"}, "b", "b"]}"#)
    }
  }

  @Test(arguments: [
    ("n_embd", #""n_embd": "768""#, "is missing or of the wrong kind"),
    ("n_layer", #""n_layer": 1.5"#, "is missing or of the wrong kind"),
    ("n_layer", #""n_layer": 1e30"#, "is missing or of the wrong kind"),
    ("scale_attn_weights", #""scale_attn_weights": 1"#, "is missing or of the wrong kind"),
    ("n_head", #""n_head": 0"#, "is 0, which is not a size"),
    ("n_head", #""n_head": -12"#, "is -12, which is not a size"),
    ("n_inner", #""n_inner": 0"#, "is 0, which is not a size"),
    ("vocab_size", #""vocab_size": 2147483648"#, "is 2147483648, which is not a size"),
    ("n_head", #""n_head": 7"#, "is 7, which does not divide n_embd, 768"),
    ("n_layer", #""n_layer": 1025"#, "is 1025, more than 1024"),
    ("n_ctx", #""n_ctx": 1025"#, "is 1025, more than n_positions, 1024"),
    (
      "n_embd", #""n_embd": 1024, "hidden_size": 768"#,
      "is 1024, and 'hidden_size', its other name, is 768"
    ),
    (
      "n_embd", #""n_embd": 2147483640, "n_inner": 2147483640"#,
      "is 2147483640, which makes matrices too large to address"
    ),
    ("layer_norm_epsilon", #""layer_norm_epsilon": 0"#, "is not a positive number"),
    ("layer_norm_epsilon", #""layer_norm_epsilon": -1e-5"#, "is not a positive number"),
    ("layer_norm_epsilon", #""layer_norm_epsilon": 1e300"#, "is not a positive number"),
  ])
  func impossibleEntriesAreNamed(_ key: String, _ json: String, _ problem: String) {
    let error = #expect(throws: ModelError.self) {
      try config(#"{"model_type": "gpt2", \#(json)}"#)
    }
    #expect(error == .badEntry(path: path, key: key, problem: problem))
    #expect(error?.exitCode == .badData)
  }

  @Test(arguments: [
    (#"{"model_type": "llama"}"#, "llama"),
    (#"{"model_type": "gpt_neo", "architectures": ["GPT2LMHeadModel"]}"#, "gpt_neo"),
    (#"{"architectures": ["BertModel"]}"#, "BertModel"),
    ("{}", nil),
  ])
  func otherModelsAreRefusedByName(_ json: String, _ type: String?) {
    let error = #expect(throws: ModelError.self) { try config(json) }
    #expect(error == .notGPT2(path: path, modelType: type))
    #expect(error?.exitCode == .configuration)
    #expect(error?.description.contains(type ?? "model_type") == true)
  }

  @Test(arguments: [
    ("activation_function", #""relu""#, "relu"),
    ("activation_function", #""gelu""#, "gelu"),
    ("add_cross_attention", "true", "true"),
    ("quantization_config", #"{"quant_method": "gptq", "bits": 4}"#, "gptq"),
    ("quantization_config", "{}", "a method without a name"),
    ("pruned_heads", #"{"3": [0, 2]}"#, #"layers ["3"]"#),
  ])
  func unsupportedOptionsAreRefusedByName(_ key: String, _ json: String, _ value: String) {
    let error = #expect(throws: ModelError.self) {
      try config(#"{"model_type": "gpt2", "\#(key)": \#(json)}"#)
    }
    guard case .unsupportedOption(path, key, value, _) = error else {
      Issue.record("\(String(describing: error)) does not name \(key) and \(value)")
      return
    }
    #expect(error?.exitCode == .configuration)
  }
}
