import Foundation
import Model
import Reading
import TestSupport
import Testing

/// Scores from weights, held against TransformerLens (tools/make_circuit_reference.py).
@Suite struct HeadScoresTests {
  private func reference(_ folder: String) throws -> ReferenceArrays {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent()
    return try ReferenceArrays(
      path: tests.appendingPathComponent("PatchingTests/Fixtures/circuits-\(folder).safetensors")
        .path)
  }

  @Test(arguments: ["tiny", "odd"], [WeightProcessing.transformerlens, .raw])
  func scoresEqualTransformerLens(folder: String, processing: WeightProcessing) throws {
    let reference = try reference(folder)
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    func expect(_ scores: [Double?], _ name: String) throws {
      let expected = try reference.floats("scores/\(processing.rawValue)/\(name)")
      try #require(scores.count == expected.count)
      for (found, expected) in zip(scores, expected) {
        #expect((found == nil) == expected.isNaN, "\(name)")
        if let found { #expect(abs(found - Double(expected)) < 1e-4, "\(name)") }
      }
    }
    let copying = CopyingScores(
      model, tokens: try reference.tokens("scores/tokens"), threads: 2)
    try expect(copying.copying, "copying")
    try expect(copying.negative, "negative")
    let eigenvalues = try EigenvalueScores(model, threads: 2)
    try expect(eigenvalues.ov, "ov")
    try expect(eigenvalues.qk, "qk")
  }

  /// Among all logits every token is one of the largest.
  @Test func allOfTheVocabularyIsLargeEnough() throws {
    let model = try GPT2(directory: ReferenceArrays.path("tiny"))
    let scores = CopyingScores(model, tokens: [0, 5, 96], top: 97, threads: 1)
    #expect(scores.copying == [nil, nil, nil, nil, 1, 1, 1, 1])
    #expect(scores.negative == scores.copying)
  }

  @Test func copyingByLogitsThatAreNotNumbersIsUnknown() throws {
    let directory = ReferenceArrays.path("tiny")
    let config = try ModelConfig(directory: directory)
    var weights = try Weights(directory: directory, processing: .raw)
    let values = Matrix(
      rows: weights.unembedding.rows, columns: weights.unembedding.columns,
      values: Array(weights.unembedding.values))
    values.pointer[7] = .nan
    weights.unembedding = values
    let model = GPT2(config: config, weights: weights, processing: .raw, weightsDigest: "")
    let scores = CopyingScores(model, tokens: [0, 5, 96], threads: 1)
    #expect(scores.copying.allSatisfy { $0 == nil } && scores.negative.allSatisfy { $0 == nil })
  }

  @Test func weightsThatAreNotNumbersAreAnError() throws {
    let directory = ReferenceArrays.path("tiny")
    let config = try ModelConfig(directory: directory)
    var weights = try Weights(directory: directory, processing: .raw)
    let value = Matrix(
      rows: config.width, columns: config.width,
      values: Array(weights.layers[1].value.values))
    value.pointer[3] = .nan
    weights.layers[1].value = value
    let model = GPT2(config: config, weights: weights, processing: .raw, weightsDigest: "")
    #expect(throws: ReadingError.noEigenvalues(layer: 1, head: 0)) {
      try EigenvalueScores(model, threads: 1)
    }
  }
}
