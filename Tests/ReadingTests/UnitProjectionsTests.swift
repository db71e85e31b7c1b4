import Model
import Patching
import TestSupport
import Testing

@testable import Reading

@Suite struct UnitProjectionsTests {
  /// Against sums of products in double precision, while tokens come and go: more than there is room
  /// for, and more at once than ever before.
  @Test func equalsPlainSums() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("equalsPlainSums: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    let model = try ReadFixture("odd", .transformerlens).model
    let (config, columns) = (model.config, TokenColumns(model.unembedding))
    let weights = model.blocks.map { $0.mlpOut.transposed() }
    let units = config.layers * config.mlpWidth
    let projections = UnitProjections(
      weights, of: model, columns: columns, mostBytes: 4 * units * 5)
    let vocabulary = Int32(config.vocabulary)
    for count in [1, 3, 5, 2, 9, 4, 4, 9, 1, 12] {
      var tokens: Set<Int32> = []
      while tokens.count < count {
        tokens.insert(Int32.random(in: 0..<vocabulary, using: &generator))
      }
      projections.prepare(tokens)
      let known = tokens.sorted()
      for answer in known {
        for wrong in [nil, known.randomElement(using: &generator)] {
          let pair = LogitTokens(answer: answer, wrong: wrong)
          let direction = LogitDirection(pair, of: model, columns: columns).values
          let layer = Int.random(in: 0..<config.layers, using: &generator)
          let found = projections.values(layer: layer, pair)
          for unit in 0..<config.mlpWidth {
            let row = model.blocks[layer].mlpOut.values(
              rows: unit..<unit + 1, columns: 0..<config.width)
            let sum = (0..<config.width).reduce(0.0) {
              $0 + Double(row.pointer[$1]) * Double(direction[$1])
            }
            #expect(abs(Double(found[unit]) - sum) < 1e-4, "seed \(seed)")
          }
        }
      }
    }
  }
}
