import Parallel
import TestSupport
import Testing

@testable import Model

/// Models whose embeddings and blocks are made when they are first needed.
@Suite struct LazyModelTests {
  private static let tokens: [Int32] = [3, 1, 4, 1, 5]

  private func lastRow(_ model: GPT2) throws -> [Float] {
    let pass = ForwardPass(model)
    try pass.run(tokens: [LazyModelTests.tokens])
    let row = pass.lastRow(sequence: 0)
    return Array(UnsafeBufferPointer(start: row, count: model.config.width))
  }

  @Test(arguments: ["tiny", "odd"], WeightProcessing.allCases)
  func whatIsMadeLaterIsTheSame(folder: String, processing: WeightProcessing) throws {
    let directory = ReferenceArrays.path(folder)
    let whole = try GPT2(directory: directory, processing: processing)
    let late = try GPT2(directory: directory, processing: processing, preparing: .unembedding)
    #expect(late.weightsDigest == whole.weightsDigest)
    #expect(late.unembedding.column(2) == whole.unembedding.column(2))
    #expect(late.blocks.count == whole.config.layers)
    #expect(try lastRow(late) == lastRow(whole))
    #expect(
      Array(late.tokenEmbedding.values) == Array(whole.tokenEmbedding.values)
        && Array(late.positionEmbedding.values) == Array(whole.positionEmbedding.values))
  }

  @Test func threadsThatNeedItAtOnceGetTheSameOne() throws {
    let directory = ReferenceArrays.path("tiny")
    let expected = try lastRow(try GPT2(directory: directory))
    for _ in 0..<10 {
      let late = try GPT2(directory: directory, preparing: .unembedding)
      let found = try parallelMap(4, threads: 4) { _ in
        (UInt(bitPattern: late.tokenEmbedding.pointer), try lastRow(late))
      }
      #expect(found.allSatisfy { $0.0 == found[0].0 && $0.1 == expected })
    }
  }
}
