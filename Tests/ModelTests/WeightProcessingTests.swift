import FileIO
import TestSupport
import Testing

@testable import Model

/// The processing against the definition of each step, in double precision, and against what
/// TransformerLens 2.18 makes of the same checkpoint.
@Suite struct WeightProcessingTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func load(
    _ checkpoint: TinyCheckpoint, _ processing: WeightProcessing
  ) throws -> Weights {
    try checkpoint.write(directory)
    return try Weights(directory: directory.path, processing: processing)
  }

  @Test(arguments: [true, false])
  func foldingAndCentringStepByStep(tied: Bool) throws {
    let checkpoint = TinyCheckpoint(tied: tied)
    let weights = try load(checkpoint, .transformerlens)
    let naive = try NaiveProcessing(checkpoint)

    #expect(distance(weights.tokenEmbedding, naive.tokenEmbedding) < 1e-6)
    #expect(distance(weights.positionEmbedding, naive.positionEmbedding) < 1e-6)
    #expect(distance(weights.unembedding, naive.unembedding) < 1e-6)
    let unembeddingBias = try #require(weights.unembeddingBias)
    #expect(distance(unembeddingBias, [naive.unembeddingBias]) < 1e-6)
    #expect(weights.lnFinal == nil)
    for (layer, expected) in zip(weights.layers, naive.layers) {
      #expect(layer.ln1 == nil)
      #expect(layer.ln2 == nil)
      let found = [
        layer.query, layer.key, layer.value, layer.queryBias, layer.keyBias, layer.valueBias,
        layer.output, layer.outputBias, layer.mlpIn, layer.mlpInBias, layer.mlpOut,
        layer.mlpOutBias,
      ]
      for (index, matrix) in found.enumerated() {
        #expect(distance(matrix, expected[index]) < 1e-6, "matrix \(index)")
      }
    }
  }

  /// processed.safetensors has embeddings, unembedding and layer 1 as HookedTransformer has them.
  @Test func processedWeightsAreTransformerLenss() throws {
    let odd = #filePath.split(separator: "/").dropLast().joined(separator: "/")
    let folder = "/" + odd + "/Fixtures/odd"
    let config = try ModelConfig(directory: folder)
    let weights = try Weights(directory: folder)
    let reference = try SafetensorsFile(path: folder + "/processed.safetensors")
    let (D, H, K) = (config.width, config.heads, config.headWidth)
    func expected(_ name: String) throws -> [Float] {
      let tensor = try #require(reference.tensors[name], "\(name)")
      let bytes = reference.bytes(of: tensor)
      return (0..<bytes.count / 4).map {
        bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self)
      }
    }
    /// [H, D, K] to [D, H·K].
    func byHeads(_ name: String) throws -> [Float] {
      let values = try expected(name)
      return (0..<D * H * K).map { index in
        let (d, h, k) = (index / (H * K), index / K % H, index % K)
        return values[(h * D + d) * K + k]
      }
    }
    /// [D, V] to [V, D].
    func unembedding() throws -> [Float] {
      let (values, V) = (try expected("unembed.W_U"), config.vocabulary)
      return (0..<V * D).map { values[$0 % D * V + $0 / D] }
    }
    let (layer, name) = (weights.layers[1], "blocks.1.")
    let bias = try #require(weights.unembeddingBias)
    let pairs = [
      (weights.tokenEmbedding, try expected("embed.W_E")),
      (weights.positionEmbedding, try expected("pos_embed.W_pos")),
      (weights.unembedding, try unembedding()), (bias, try expected("unembed.b_U")),
      (layer.query, try byHeads(name + "attn.W_Q")),
      (layer.key, try byHeads(name + "attn.W_K")),
      (layer.value, try byHeads(name + "attn.W_V")),
      (layer.queryBias, try expected(name + "attn.b_Q")),
      (layer.keyBias, try expected(name + "attn.b_K")),
      (layer.valueBias, try expected(name + "attn.b_V")),
      (layer.output, try expected(name + "attn.W_O")),
      (layer.outputBias, try expected(name + "attn.b_O")),
      (layer.mlpIn, try expected(name + "mlp.W_in")),
      (layer.mlpInBias, try expected(name + "mlp.b_in")),
      (layer.mlpOut, try expected(name + "mlp.W_out")),
      (layer.mlpOutBias, try expected(name + "mlp.b_out")),
    ]
    for (index, (matrix, values)) in pairs.enumerated() {
      #expect(matrix.count == values.count, "pair \(index)")
      let largest = zip(matrix.values, values).map { abs($0 - $1) }.max() ?? .infinity
      #expect(largest < 2e-6, "pair \(index)")
    }
  }

  @Test func refactoredHeadsHaveTheSameProducts() throws {
    let folded = try load(TinyCheckpoint(), .transformerlens)
    let refactored = try load(TinyCheckpoint(), .refactored)
    let (D, H, K) = (12, 3, 4)
    for (before, after) in zip(folded.layers, refactored.layers) {
      #expect(Array(after.outputBias.values) == Array(before.outputBias.values))
      #expect(after.valueBias.values.allSatisfy { $0 == 0 })
      for head in 0..<H {
        let columns = head * K..<(head + 1) * K
        func queryKey(_ layer: LayerWeights, _ d: Int, _ e: Int) -> Double {
          columns.reduce(0) { sum, k in
            let q = d < D ? layer.query[d, k] : layer.queryBias[0, k]
            return sum + Double(q) * Double(e < D ? layer.key[e, k] : layer.keyBias[0, k])
          }
        }
        func valueOutput(_ layer: LayerWeights, _ d: Int, _ e: Int) -> Double {
          columns.reduce(0) { $0 + Double(layer.value[d, $1]) * Double(layer.output[$1, e]) }
        }
        var (queryKeyError, valueOutputError) = (0.0, 0.0)
        for d in 0...D {
          for e in 0...D {
            let error = abs(queryKey(before, d, e) - queryKey(after, d, e))
            queryKeyError = max(queryKeyError, error)
            guard d < D, e < D else { continue }
            valueOutputError = max(
              valueOutputError, abs(valueOutput(before, d, e) - valueOutput(after, d, e)))
          }
        }
        #expect(queryKeyError < 1e-5)
        #expect(valueOutputError < 1e-5)
      }
    }
  }

  @Test func refactoredHeadsAreEven() throws {
    let layers = try load(TinyCheckpoint(), .refactored).layers
    let (D, H, K) = (12, 3, 4)
    func column(_ matrix: Matrix, _ bias: Matrix?, _ k: Int) -> [Double] {
      (0..<D).map { Double(matrix[$0, k]) } + (bias.map { [Double($0[0, k])] } ?? [])
    }
    func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    for layer in layers {
      for head in 0..<H {
        var previous = Double.infinity
        for k in head * K..<(head + 1) * K {
          let query = column(layer.query, layer.queryBias, k)
          let key = column(layer.key, layer.keyBias, k)
          // Each singular value is shared out evenly, and they fall.
          let norm = dot(query, query)
          #expect(abs(norm - dot(key, key)) < 1e-4 * norm)
          #expect(norm < previous)
          previous = norm
          for other in head * K..<(head + 1) * K {
            let rows = (layer.output.row(k), layer.output.row(other))
            let product = (0..<D).reduce(0) { $0 + Double(rows.0[$1]) * Double(rows.1[$1]) }
            #expect(abs(product - (k == other ? 1 : 0)) < 1e-5)
            guard other != k else { continue }
            let otherQuery = column(layer.query, layer.queryBias, other)
            #expect(abs(dot(query, otherQuery)) < 1e-5 * norm.squareRoot() * 10)
          }
        }
      }
    }
  }

  @Test func aHeadThatIsNotFiniteCannotBeRefactored() throws {
    var checkpoint = TinyCheckpoint()
    var values = try #require(checkpoint.tensors["h.1.attn.c_attn.weight"]).floats
    values[5] = .nan  // column 5 of query: head 1
    checkpoint.tensors["h.1.attn.c_attn.weight"] = TinyTensor(shape: [12, 36], values: values)
    let error = #expect(throws: ModelError.self) { try load(checkpoint, .refactored) }
    #expect(error == .notDecomposable(layer: 1, head: 1))
    #expect(error?.exitCode == .badData)
  }
}

private func distance(_ matrix: Matrix, _ expected: [[Double]]) -> Double {
  guard matrix.rows == expected.count, matrix.columns == expected.first?.count else {
    return .infinity
  }
  return zip(matrix.values, expected.joined()).map { abs(Double($0) - $1) }.max() ?? .infinity
}

/// The processing as it is defined, one step after the other on arrays of rows.
private struct NaiveProcessing {
  var tokenEmbedding, positionEmbedding, unembedding: [[Double]]
  var unembeddingBias: [Double]
  /// query, key, value, their biases, output, its bias, MLP in, its bias, MLP out, its bias.
  var layers: [[[[Double]]]] = []

  init(_ checkpoint: TinyCheckpoint) throws {
    func rows(_ name: String) throws -> [[Double]] {
      let tensor = try #require(checkpoint.tensors[name])
      let columns = try #require(tensor.shape.last)
      let values = tensor.floats.map(Double.init)
      return stride(from: 0, to: values.count, by: columns).map {
        Array(values[$0..<$0 + columns])
      }
    }
    func vector(_ name: String) throws -> [Double] { try rows(name).joined().map { $0 } }

    let head = checkpoint.tensors["lm_head.weight"] == nil ? "wte.weight" : "lm_head.weight"
    var (matrix, bias) = fold(
      (try vector("ln_f.weight"), try vector("ln_f.bias")), transposed(try rows(head)),
      Array(repeating: 0, count: 31))
    matrix = matrix.map(centred)  // over the vocabulary
    bias = centred(bias)
    unembedding = transposed(matrix)
    unembeddingBias = bias
    tokenEmbedding = try rows("wte.weight").map(centred)
    positionEmbedding = try rows("wpe.weight").map(centred)
    for layer in ["h.0.", "h.1."] {
      let ln1 = (try vector(layer + "ln_1.weight"), try vector(layer + "ln_1.bias"))
      let ln2 = (try vector(layer + "ln_2.weight"), try vector(layer + "ln_2.bias"))
      let attention = try rows(layer + "attn.c_attn.weight")
      let attentionBias = try vector(layer + "attn.c_attn.bias")
      let parts = (0..<3).map { part in
        let columns = part * 12..<(part + 1) * 12
        return fold(ln1, attention.map { Array($0[columns]) }, Array(attentionBias[columns]))
      }
      let output = try rows(layer + "attn.c_proj.weight").map(centred)
      var outputBias = centred(try vector(layer + "attn.c_proj.bias"))
      for (factor, row) in zip(parts[2].1, output) {
        for i in 0..<12 { outputBias[i] += factor * row[i] }
      }
      let mlpIn = fold(
        ln2, try rows(layer + "mlp.c_fc.weight"), try vector(layer + "mlp.c_fc.bias"))
      layers.append([
        parts[0].0, parts[1].0, parts[2].0, [parts[0].1], [parts[1].1],
        [Array(repeating: 0, count: 12)], output, [outputBias], mlpIn.0, [mlpIn.1],
        try rows(layer + "mlp.c_proj.weight").map(centred),
        [centred(try vector(layer + "mlp.c_proj.bias"))],
      ])
    }
  }
}

private func centred(_ values: [Double]) -> [Double] {
  let mean = values.reduce(0, +) / Double(values.count)
  return values.map { $0 - mean }
}

private func transposed(_ rows: [[Double]]) -> [[Double]] {
  rows[0].indices.map { column in rows.map { $0[column] } }
}

private func fold(
  _ ln: (weight: [Double], bias: [Double]), _ matrix: [[Double]], _ bias: [Double]
) -> ([[Double]], [Double]) {
  var bias = bias
  for (row, shift) in zip(matrix, ln.bias) {
    for j in row.indices { bias[j] += shift * row[j] }
  }
  let scaled = zip(matrix, ln.weight).map { row, weight in row.map { $0 * weight } }
  return (transposed(transposed(scaled).map(centred)), bias)
}
