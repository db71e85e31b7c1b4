import FileIO
import FoundationEssentials
import TestSupport
import Testing

@testable import Model

@Suite struct WeightLoadingTests {
  let directory: TemporaryDirectory
  var path: String { directory.path + "/model.safetensors" }
  var index: String { directory.path + "/model.safetensors.index.json" }

  init() throws { directory = try TemporaryDirectory() }

  private func load(
    _ checkpoint: TinyCheckpoint, processing: WeightProcessing = .raw, padding: Int = 0,
    threads: Int = 2
  ) throws -> GPT2 {
    try checkpoint.write(directory, padding: padding)
    return try GPT2(directory: directory.path, processing: processing, threads: threads)
  }

  private func loadWeights(
    _ checkpoint: TinyCheckpoint, processing: WeightProcessing = .raw, padding: Int = 0,
    threads: Int = 2
  ) throws -> Weights {
    try checkpoint.write(directory, padding: padding)
    return try Weights(directory: directory.path, processing: processing, threads: threads)
  }

  private func expect(
    _ expected: ModelError, exitCode: SysExit, from checkpoint: TinyCheckpoint,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: ModelError.self, sourceLocation: sourceLocation) {
      try load(checkpoint)
    }
    #expect(error == expected, sourceLocation: sourceLocation)
    #expect(error?.exitCode == exitCode, sourceLocation: sourceLocation)
  }

  // MARK: - What is read

  @Test func rawWeightsAreTheCheckpoints() throws {
    let checkpoint = TinyCheckpoint()
    let weights = try loadWeights(checkpoint)
    func stored(_ name: String) throws -> [Float] { try #require(checkpoint.tensors[name]).floats }

    #expect(Array(weights.tokenEmbedding.values) == (try stored("wte.weight")))
    #expect(Array(weights.positionEmbedding.values) == (try stored("wpe.weight")))
    #expect(weights.unembedding === weights.tokenEmbedding)
    #expect(weights.unembeddingBias == nil)
    #expect((weights.lnFinal?.weight.values).map(Array.init) == (try stored("ln_f.weight")))
    #expect((weights.lnFinal?.bias.values).map(Array.init) == (try stored("ln_f.bias")))
    for (layer, block) in weights.layers.enumerated() {
      let attention = try stored("h.\(layer).attn.c_attn.weight")
      let bias = try stored("h.\(layer).attn.c_attn.bias")
      let parts = [
        (block.query, block.queryBias), (block.key, block.keyBias), (block.value, block.valueBias),
      ]
      for (part, (matrix, vector)) in parts.enumerated() {
        #expect((matrix.rows, matrix.columns) == (12, 12))
        #expect((vector.rows, vector.columns) == (1, 12))
        let columns = part * 12..<(part + 1) * 12
        #expect(Array(vector.values) == Array(bias[columns]))
        for row in 0..<12 {
          let expected = attention[row * 36..<(row + 1) * 36].dropFirst(part * 12).prefix(12)
          #expect((0..<12).map { matrix[row, $0] } == Array(expected))
        }
      }
      let rest: [(Matrix?, String)] = [
        (block.output, "attn.c_proj.weight"), (block.outputBias, "attn.c_proj.bias"),
        (block.mlpIn, "mlp.c_fc.weight"), (block.mlpInBias, "mlp.c_fc.bias"),
        (block.mlpOut, "mlp.c_proj.weight"), (block.mlpOutBias, "mlp.c_proj.bias"),
        (block.ln1?.weight, "ln_1.weight"), (block.ln1?.bias, "ln_1.bias"),
        (block.ln2?.weight, "ln_2.weight"), (block.ln2?.bias, "ln_2.bias"),
      ]
      for (matrix, name) in rest {
        let matrix = try #require(matrix)
        #expect(Array(matrix.values) == (try stored("h.\(layer).\(name)")), "\(name)")
        #expect(matrix.isView)
      }
      #expect((block.mlpIn.rows, block.mlpIn.columns) == (12, 20))
      #expect((block.mlpOut.rows, block.mlpOut.columns) == (20, 12))
    }
  }

  @Test func namesMayHaveAPrefix() throws {
    let plain = try loadWeights(TinyCheckpoint())
    let digest = try load(TinyCheckpoint()).weightsDigest
    var prefixed = TinyCheckpoint()
    prefixed.tensors = prefixed.prefixed
    #expect(areIdentical(try loadWeights(prefixed), plain))
    #expect(try load(prefixed).weightsDigest != digest)
  }

  @Test func shardsAreTheSameModel() throws {
    for processing in WeightProcessing.allCases {
      let single = try loadWeights(TinyCheckpoint(), processing: processing)
      let shards = try TemporaryDirectory()
      try TinyCheckpoint().writeShards(shards)
      let sharded = try Weights(directory: shards.path, processing: processing)
      #expect(areIdentical(sharded, single))
    }
  }

  /// As `sha256sum` has them: of the file; and of the digits of both shards' digests.
  @Test func digestsAreThoseOfTheFiles() throws {
    #expect(
      try load(TinyCheckpoint()).weightsDigest
        == "b1f97bb354b873fa88c5e021ca196e3ecae585a07f6f669fc1a336baab717762")
    let shards = try TemporaryDirectory()
    try TinyCheckpoint().writeShards(shards)
    #expect(
      try GPT2(directory: shards.path).weightsDigest
        == "f2516d4bcbf9d4c58d568da96d9a7558adfa66d14cc915bf7bf0be8aea048f2c")
  }

  @Test func theNumberOfThreadsChangesNothing() throws {
    for processing in WeightProcessing.allCases {
      let one = try loadWeights(TinyCheckpoint(tied: false), processing: processing, threads: 1)
      let three = try loadWeights(TinyCheckpoint(tied: false), processing: processing, threads: 3)
      #expect(areIdentical(one, three))
    }
  }

  @Test func unalignedDataIsCopied() throws {
    let aligned = try loadWeights(TinyCheckpoint())
    for padding in 1...3 {
      let unaligned = try loadWeights(TinyCheckpoint(), padding: padding)
      #expect(areIdentical(unaligned, aligned))
      #expect(!unaligned.tokenEmbedding.isView)
    }
  }

  @Test(arguments: ["F16", "BF16"])
  func narrowWeightsAreWidened(_ type: String) throws {
    var narrow = TinyCheckpoint()
    narrow.tensors = narrow.tensors.mapValues { $0.narrowed(to: type) }
    var wide = narrow
    wide.tensors = narrow.tensors.mapValues { tensor in
      let halves = tensor.bytes.withUnsafeBytes { bytes in
        (0..<bytes.count / 2).map { bytes.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self) }
      }
      let values = halves.map { half in
        type == "F16" ? Float(Float16(bitPattern: half)) : Float(bitPattern: UInt32(half) << 16)
      }
      return TinyTensor(shape: tensor.shape, values: values)
    }
    for processing in WeightProcessing.allCases {
      let expected = try loadWeights(wide, processing: processing)
      let found = try loadWeights(narrow, processing: processing)
      #expect(areIdentical(found, expected))
    }
  }

  @Test func wideningIsExactForEveryHalf() {
    let wide = Matrix(rows: 1, columns: 65536)
    let halves = (0..<65536).map { UInt16($0) }
    halves.withUnsafeBytes { widenFloat16($0, into: wide) }
    let wrongFloat16 = halves.filter { half in
      let (expected, found) = (Float(Float16(bitPattern: half)), wide[0, Int(half)])
      return expected.isNaN ? !found.isNaN : found.bitPattern != expected.bitPattern
    }
    #expect(wrongFloat16.isEmpty)
    halves.withUnsafeBytes { widenBFloat16($0, into: wide) }
    let wrongBFloat16 = halves.filter { wide[0, Int($0)].bitPattern != UInt32($0) << 16 }
    #expect(wrongBFloat16.isEmpty)
  }

  @Test func theContextMayBeShorterThanTheEmbedding() throws {
    var checkpoint = TinyCheckpoint()
    checkpoint.options["n_ctx"] = "5"
    for processing in WeightProcessing.allCases {
      let weights = try loadWeights(checkpoint, processing: processing)
      #expect((weights.positionEmbedding.rows, weights.positionEmbedding.columns) == (5, 12))
    }
  }

  @Test func buffersAndHeadsOfOtherTasksAreIgnored() throws {
    let plain = try loadWeights(TinyCheckpoint())
    var checkpoint = TinyCheckpoint()
    let mask = TinyTensor(type: "BOOL", shape: [1, 1, 2, 2], bytes: [1, 0, 1, 1])
    checkpoint.tensors["h.0.attn.bias"] = mask
    checkpoint.tensors["h.1.attn.masked_bias"] = TinyTensor(shape: [], values: [-1e4])
    checkpoint.tensors["score.weight"] = TinyTensor(
      shape: [2, 12], values: Array(repeating: 1, count: 24))
    checkpoint.tensors["lm_head.weight"] = checkpoint.tensors["wte.weight"]
    let found = try loadWeights(checkpoint)
    #expect(areIdentical(found, plain))
  }

  @Test func anUntiedUnembeddingIsRead() throws {
    let checkpoint = TinyCheckpoint(tied: false)
    let weights = try loadWeights(checkpoint)
    #expect(Array(weights.unembedding.values) == checkpoint.tensors["lm_head.weight"]?.floats)
    #expect(Array(weights.tokenEmbedding.values) == checkpoint.tensors["wte.weight"]?.floats)
  }

  // MARK: - What is refused

  @Test func missingTensor() {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors["h.1.mlp.c_fc.bias"] = nil
    expect(
      .missingTensor(path: path, tensor: "h.1.mlp.c_fc.bias"), exitCode: .configuration,
      from: checkpoint)
    checkpoint = TinyCheckpoint()
    checkpoint.options["tie_word_embeddings"] = "false"
    expect(
      .missingTensor(path: path, tensor: "lm_head.weight"), exitCode: .configuration,
      from: checkpoint)
  }

  @Test func wrongShape() {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors["h.0.attn.c_proj.weight"]?.shape = [6, 24]
    expect(
      .wrongShape(
        path: path, tensor: "h.0.attn.c_proj.weight", shape: [6, 24], expected: [12, 12]),
      exitCode: .configuration, from: checkpoint)
    checkpoint = TinyCheckpoint()
    checkpoint.options["vocab_size"] = "32"
    expect(
      .wrongShape(path: path, tensor: "wte.weight", shape: [31, 12], expected: [32, 12]),
      exitCode: .configuration, from: checkpoint)
    checkpoint = TinyCheckpoint()
    checkpoint.options["n_positions"] = "10"
    expect(
      .wrongShape(path: path, tensor: "wpe.weight", shape: [9, 12], expected: [10, 12]),
      exitCode: .configuration, from: checkpoint)
    checkpoint = TinyCheckpoint()
    checkpoint.tensors["lm_head.weight"] = TinyTensor(
      shape: [12], values: Array(repeating: 1, count: 12))
    expect(
      .wrongShape(path: path, tensor: "lm_head.weight", shape: [12], expected: [31, 12]),
      exitCode: .configuration, from: checkpoint)
  }

  @Test func wrongElementType() {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors["ln_f.bias"] = TinyTensor(
      type: "F64", shape: [12], bytes: Array(repeating: 0, count: 96))
    expect(
      .unsupportedElementType(path: path, tensor: "ln_f.bias", type: "F64"),
      exitCode: .configuration, from: checkpoint)
  }

  @Test(arguments: [
    "h.0.crossattention.c_attn.weight", "h.2.ln_1.weight", "h.2.attn.bias",
    "h.0.attn.c_attn.lora_A.weight", "base_model.model.wte.weight", "h.0.attn.c_attn.qweight",
  ])
  func unexpectedTensor(_ name: String) {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors[name] = TinyTensor(shape: [1], values: [1])
    expect(
      .unexpectedTensor(path: path, tensor: name), exitCode: .configuration, from: checkpoint)
  }

  @Test func contradictoryUnembedding() {
    var checkpoint = TinyCheckpoint(tied: false)
    checkpoint.options["tie_word_embeddings"] = "true"
    expect(.contradictoryUnembedding(path: path), exitCode: .configuration, from: checkpoint)
  }

  @Test func oneTensorUnderTwoNames() {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors["transformer.ln_f.bias"] = checkpoint.tensors["ln_f.bias"]
    expect(
      .duplicateTensor(tensor: "ln_f.bias", paths: [path]), exitCode: .badData, from: checkpoint)
  }

  @Test func oneTensorInTwoShards() throws {
    let checkpoint = TinyCheckpoint()
    try checkpoint.writeShards(directory)
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    try directory.write(second, safetensors(checkpoint.tensors))
    #expect(
      throws: ModelError.duplicateTensor(
        tensor: "h.0.attn.c_attn.bias",
        paths: [directory.path + "/" + first, directory.path + "/" + second])
    ) { try GPT2(directory: directory.path) }
  }

  @Test func weightsAreMissing() throws {
    try directory.write("config.json", TinyCheckpoint().config.utf8)
    let error = #expect(throws: ModelError.self) { try GPT2(directory: directory.path) }
    #expect(error == .missingWeights(directory: directory.path))
    #expect(error?.exitCode == .noInput)
  }

  @Test func aShardIsMissing() throws {
    try TinyCheckpoint().writeShards(directory)
    let second = directory.path + "/model-00002-of-00002.safetensors"
    try FileManager.default.removeItem(atPath: second)
    #expect(throws: ModelError.missingFile(path: second)) { try GPT2(directory: directory.path) }
  }

  @Test func theIndexMustBeRight() throws {
    let checkpoint = TinyCheckpoint()
    try directory.write("config.json", checkpoint.config.utf8)
    try directory.write("a.safetensors", safetensors(checkpoint.tensors))

    func expect(_ expected: ModelError, index json: String) throws {
      try directory.write("model.safetensors.index.json", json.utf8)
      #expect(throws: expected) { try GPT2(directory: directory.path) }
    }
    try expect(.notJSON(path: index), index: "")
    try expect(
      .badEntry(path: index, key: "weight_map", problem: "is missing or of the wrong kind"),
      index: "{}")
    try expect(
      .badEntry(path: index, key: "weight_map.a", problem: "is missing or of the wrong kind"),
      index: #"{"weight_map": {"a": 1}}"#)
    try expect(
      .duplicateKey(path: index, key: "a"), index: #"{"weight_map": {"a": "x", "a": "y"}}"#)
    try expect(
      .misplacedTensor(path: directory.path + "/a.safetensors", tensor: "transformer.wte.weight"),
      index: #"{"weight_map": {"transformer.wte.weight": "a.safetensors"}}"#)
    for name in ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "", "a.bin"] {
      let problem = "names '\(name)', which is not the plain name of a safetensors file"
      try expect(
        .badEntry(path: index, key: "weight_map", problem: problem),
        index: #"{"weight_map": {"wte.weight": "\#(name)"}}"#)
    }
    try expect(.missingTensor(path: index, tensor: "wte.weight"), index: #"{"weight_map": {}}"#)
  }

  @Test func namesFromAFileAreShownOnOneLine() {
    var checkpoint = TinyCheckpoint()
    checkpoint.tensors["x\\n\\u001b[31m"] = TinyTensor(shape: [1], values: [1])
    let error = #expect(throws: ModelError.self) { try load(checkpoint) }
    let description = error?.description ?? ""
    #expect(description.contains("'x\u{FFFD}\u{FFFD}[31m'"), "\(description)")
  }
}

private func areIdentical(_ first: Weights, _ second: Weights) -> Bool {
  bits(first) == bits(second)
}

/// Every value of the weights, as bits.
private func bits(_ weights: Weights) -> [[UInt32]] {
  var matrices: [Matrix?] = [
    weights.tokenEmbedding, weights.positionEmbedding, weights.unembedding,
    weights.unembeddingBias, weights.lnFinal?.weight, weights.lnFinal?.bias,
  ]
  for layer in weights.layers {
    matrices += [
      layer.ln1?.weight, layer.ln1?.bias, layer.ln2?.weight, layer.ln2?.bias, layer.query,
      layer.key, layer.value, layer.queryBias, layer.keyBias, layer.valueBias, layer.output,
      layer.outputBias, layer.mlpIn, layer.mlpInBias, layer.mlpOut, layer.mlpOutBias,
    ]
  }
  return matrices.map { $0.map { $0.values.map(\.bitPattern) } ?? [] }
}
