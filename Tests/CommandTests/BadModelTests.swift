import Foundation
import TestSupport
import Testing

/// What `capture` says of models that it cannot use.
@Suite struct BadModelTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// Captures with the tiny model after something was done to its directory.
  private func refuse(
    _ model: TinyModel = TinyModel(), _ arguments: String..., status: Int32, saying words: [String],
    sourceLocation: SourceLocation = #_sourceLocation, change: (String) throws -> Void = { _ in }
  ) throws {
    let directory = try model.write(to: folder.path("model"))
    try change(directory)
    let out = folder.path("cache")
    let answer = try Program.capture.run(
      ["--model", directory, "--prompts", shared.prompts, "--out", out] + arguments)
    #expect(answer.status == status, "\(answer)", sourceLocation: sourceLocation)
    #expect(answer.output == "", sourceLocation: sourceLocation)
    #expect(answer.errors.hasPrefix("capture: "), "\(answer)", sourceLocation: sourceLocation)
    for word in words {
      #expect(
        answer.sentence.contains(word), "no “\(word)” in \(answer)", sourceLocation: sourceLocation)
    }
    #expect(!exists(out), "a cache was begun", sourceLocation: sourceLocation)
  }

  private func replace(_ name: String, _ bytes: Data) -> (String) throws -> Void {
    { try bytes.write(to: URL(fileURLWithPath: "\($0)/\(name)")) }
  }

  private func remove(_ name: String) -> (String) throws -> Void {
    { try FileManager.default.removeItem(atPath: "\($0)/\(name)") }
  }

  @Test func aModelThatIsNotThere() throws {
    for name in ["no-such-model", "/no/such/model", "./model", "", "../..//no-such-model", "a/b/c"]
    {
      try Program.capture.refuse(
        "--model", name, "--prompts", shared.prompts, "--out", folder.path("cache"), status: 66,
        saying: ["there is no model \(name)", "--model examples/demo-model"],
        environment: ["HF_HUB_CACHE": folder.path("hub")])
    }
  }

  @Test(arguments: [
    ("config.json", "there is no file"), ("model.safetensors", "there is no model.safetensors in"),
    ("vocab.json", "tokenizer.json"), ("merges.txt", "merges.txt"),
  ])
  func aMissingFile(name: String, words: String) throws {
    try refuse(
      status: 66, saying: [folder.path("model"), words], change: remove(name))
  }

  @Test(arguments: [0, 4, 8, 500])
  func aWeightFileCutAtItsStart(length: Int) throws {
    try refuse(
      status: 65, saying: ["model/model.safetensors is not a sound safetensors file", "header"],
      change: replace("model.safetensors", TinyModel().weights.prefix(length)))
  }

  @Test func aWeightFileCutAtItsEnd() throws {
    let weights = TinyModel().weights
    try refuse(
      status: 65, saying: ["model/model.safetensors", "ends at byte", "download"],
      change: replace("model.safetensors", weights.dropLast(4)))
    try refuse(
      status: 65, saying: ["model/model.safetensors", "4 bytes after the last tensor"],
      change: replace("model.safetensors", weights + Data(count: 4)))
  }

  @Test(arguments: [
    Data("<!DOCTYPE html><html>404</html>".utf8), Data("version https://git-lfs.github.com".utf8),
    Data([0x50, 0x4B, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]), Data(repeating: 0xFF, count: 64),
    Data([2, 0, 0, 0, 0, 0, 0, 0]) + Data("{}".utf8),
  ])
  func afileThatIsNotOfWeights(bytes: Data) throws {
    let status: Int32 = bytes.count == 10 ? 78 : 65
    try refuse(
      status: status, saying: ["model/model.safetensors"],
      change: replace("model.safetensors", bytes))
  }

  struct Lie: Sendable {
    let entry: String
    let words: String
    var status: Int32 = 65
  }

  /// Headers that claim of ln_f.bias, 96 bytes at the very end, what is not so.
  @Test(arguments: [
    Lie(entry: #"{"dtype":"F32","shape":[24],"data_offsets":[0,96]}"#, words: "overlaps"),
    Lie(
      entry:
        #"{"dtype":"F32","shape":[24],"data_offsets":[9223372036854775000,9223372036854775096]}"#,
      words: "ln_f.bias"),
    Lie(
      entry: #"{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[START,END]}"#,
      words: "ln_f.bias"),
    Lie(entry: #"{"dtype":"F32","shape":[-24],"data_offsets":[START,END]}"#, words: "ln_f.bias"),
    Lie(
      entry: #"{"dtype":"F32","shape":[25],"data_offsets":[START,END]}"#, words: "its shape needs"),
    Lie(entry: #"{"dtype":"F32","shape":[24],"data_offsets":[END,START]}"#, words: "ends before"),
    Lie(entry: #"{"dtype":"F32","shape":[24]}"#, words: "malformed"),
    Lie(entry: #""F32""#, words: "malformed"),
    Lie(
      entry: #"{"dtype":"F32","shape":[2,12],"data_offsets":[START,END]}"#,
      words: "of shape [2, 12], and config.json calls for [24]", status: 78),
    Lie(
      entry: #"{"dtype":"I32","shape":[24],"data_offsets":[START,END]}"#,
      words: "save it as F32, F16 or BF16", status: 78),
  ])
  func aHeaderThatLies(lie: Lie) throws {
    let weights = TinyModel().weights
    let length = weights.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = String(decoding: weights.dropFirst(8).prefix(length), as: UTF8.self)
    let body = weights.dropFirst(8 + length)
    let end = body.count
    let truth = try #require(
      header.range(of: #""ln_f\.bias":\{[^}]*\}"#, options: .regularExpression))
    let entry = lie.entry.replacingOccurrences(of: "START", with: "\(end - 96)")
      .replacingOccurrences(of: "END", with: "\(end)")
    let lying = header.replacingCharacters(in: truth, with: "\"ln_f.bias\":\(entry)")
    let bytes = withUnsafeBytes(of: UInt64(lying.utf8.count).littleEndian) { Data($0) }
    try refuse(
      status: lie.status, saying: ["model/model.safetensors", lie.words],
      change: replace("model.safetensors", bytes + Data(lying.utf8) + body))
  }

  @Test func weightsOfAnotherShape() throws {
    var model = TinyModel()
    model.config["n_layer"] = 4
    try refuse(model, status: 78, saying: ["lacks the tensor 'h.3.", "config.json"])
    model.config["n_layer"] = 2
    try refuse(model, status: 78, saying: ["'h.2.", "no part of a GPT-2 of the shape"])
    model = TinyModel()
    model.config["vocab_size"] = 300
    try refuse(model, status: 78, saying: ["'wte.weight' of shape [257, 24]", "[300, 24]"])
  }

  struct Setting: @unchecked Sendable {
    let key: String
    let value: Any
    let status: Int32
    let words: String
  }

  @Test(arguments: [
    Setting(key: "model_type", value: "llama", status: 78, words: "only gpt2 is supported"),
    Setting(key: "model_type", value: "gpt_neo", status: 78, words: "'gpt_neo'"),
    Setting(key: "activation_function", value: "relu", status: 78, words: "'relu'"),
    Setting(key: "activation_function", value: "gelu", status: 78, words: "gelu_new"),
    Setting(key: "add_cross_attention", value: true, status: 78, words: "add_cross_attention"),
    Setting(key: "n_head", value: 5, status: 65, words: "n_head"),
    Setting(key: "n_head", value: 0, status: 65, words: "n_head"),
    Setting(key: "n_layer", value: -1, status: 65, words: "n_layer"),
    Setting(key: "n_embd", value: 1e300, status: 65, words: "n_embd"),
    Setting(key: "n_positions", value: "many", status: 65, words: "n_positions"),
    Setting(key: "vocab_size", value: Int.max, status: 65, words: "vocab_size"),
    Setting(key: "layer_norm_epsilon", value: "x", status: 65, words: "layer_norm_epsilon"),
  ])
  func aConfigurationThatIsRefused(setting: Setting) throws {
    var model = TinyModel()
    model.config[setting.key] = setting.value
    try refuse(
      model, status: setting.status, saying: [folder.path("model/config.json"), setting.words])
  }

  @Test(arguments: ["", "{", "[]", "null", "{\"n_layer\": 3}"])
  func aConfigurationThatIsNotOne(text: String) throws {
    try refuse(
      status: text.contains("n_layer") ? 78 : 65, saying: [folder.path("model/config.json")],
      change: replace("config.json", Data(text.utf8)))
  }

  @Test(arguments: ["", "[]", "{\"a\": 5}", "{\"a\": 0, \"b\": 0}", "{\"a\": \"x\"}"])
  func aVocabularyThatIsNotOne(text: String) throws {
    try refuse(
      status: 65, saying: [folder.path("model/vocab.json")],
      change: replace("vocab.json", Data(text.utf8)))
  }

  /// Tokens that the model has no embedding for.
  @Test func aTokenizerOfAnotherModel() throws {
    var model = TinyModel()
    model.config["vocab_size"] = 100
    try refuse(model, status: 78, saying: ["config.json"])
  }
}
