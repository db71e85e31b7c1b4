import CacheFormat
import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Reading

@Suite struct LogitAttributionTests {
  private func run(
    _ fixture: ReadFixture, _ split: LogitAttribution.Split, _ target: LogitTarget = .logitDiff,
    at places: [Place], threads: Int = 2
  ) throws -> LogitAttribution.Result {
    try LogitAttribution(
      fixture.cache, model: fixture.model, split: split, target: target, places: places
    ).run(try fixture.read(), keepsValues: true, threads: threads)
  }

  /// Every part at every position, of neurons at the last one, by TransformerLens's names.
  @Test(arguments: fixtureKinds, LogitAttribution.Split.allCases)
  func equalsTransformerLens(
    kind: (String, WeightProcessing), split: LogitAttribution.Split
  ) throws {
    let (folder, weights) = kind
    let fixture = try ReadFixture(folder, weights)
    let isFew = split.hasNeurons
    let places = isFew ? [Place.index(-1)] : (0..<11).map { .index($0) }
    let result = try run(fixture, split, at: places)
    #expect(result.parts.rows == (try ReadFixture.labels(folder, split)))
    let cells = result.parts.means.count
    for number in 0..<3 {
      let expected = try fixture.arrays.floats("p\(number)/\(ReadFixture.key(split))")
      let length = isFew ? 1 : fixture.tokens[number].count
      let found = Array(result.parts.values[number * cells..<(number + 1) * cells])
      let own = (0..<cells).filter { $0 % places.count < length }.map { found[$0] }
      let difference = TestSupport.largestDifference(own, expected)
      #expect(difference < 1e-4, "p\(number): \(difference)")
      #expect((0..<cells).allSatisfy { ($0 % places.count < length) == !found[$0].isNaN })
    }
    // Parts and constant are the logit difference of the model itself.
    let sums = result.sums
    #expect(sums.rows == ["parts", "constant", "logit-diff"])
    for number in 0..<3 {
      let logits = try fixture.arrays.floats("p\(number)/logit_diff")
      for column in places.indices where isFew || column < logits.count {
        let first = number * sums.means.count + column
        let (parts, constant, target) = (
          sums.values[first], sums.values[first + places.count],
          sums.values[first + 2 * places.count]
        )
        #expect(abs(target - (isFew ? logits[logits.count - 1] : logits[column])) < 1e-4)
        #expect(abs(parts + constant - target) < 2e-5 * Float(max(10, abs(target))))
      }
    }
  }

  /// One token's logit: the model's own, and TransformerLens's parts.
  @Test(arguments: fixtureKinds)
  func partsOfOneLogit(folder: String, weights: WeightProcessing) throws {
    let fixture = try ReadFixture(folder, weights)
    let result = try run(fixture, .layer, .logit, at: [.index(-1)])
    for number in 0..<3 {
      let length = fixture.tokens[number].count
      let expected = try fixture.arrays.floats("p\(number)/layer/logit")
      let cells = result.parts.means.count
      for row in 0..<cells {
        let found = result.parts.values[number * cells + row]
        #expect(abs(found - expected[row * length + length - 1]) < 1e-4)
      }
      let logit = try fixture.arrays.floats("p\(number)/logit")[length - 1]
      #expect(abs(result.sums.values[number * 3 + 2] - logit) < 1e-4)
    }
  }

  /// Without folding TransformerLens passes over ln_final's weight; we do not, and give of raw weights
  /// what folding gives.
  @Test(arguments: ["tiny", "odd"])
  func rawWeightsGiveTheNumbersOfFoldedOnes(folder: String) throws {
    let (raw, folded) = (
      try ReadFixture(folder, .raw), try ReadFixture(folder, .transformerlens)
    )
    // The same prompts and answers in both.
    let both = try folded.read()
    func parts(_ fixture: ReadFixture) throws -> [Float] {
      try LogitAttribution(
        fixture.cache, model: fixture.model, split: .layer, target: .logitDiff, places: [.index(-1)]
      ).run(both, keepsValues: true, threads: 1).parts.values
    }
    let (a, b) = (try parts(raw), try parts(folded))
    #expect(TestSupport.largestDifference(a, b) < 1e-4)
    let unweighted = try raw.arrays.floats("p0/layer/unweighted")
    #expect(TestSupport.largestDifference(unweighted, try raw.arrays.floats("p0/layer")) > 1e-2)
  }

  @Test func threadsChangeNothing() throws {
    let fixture = try ReadFixture("odd", .transformerlens)
    for split in LogitAttribution.Split.allCases {
      let attribution = try LogitAttribution(
        fixture.cache, model: fixture.model, split: split, target: .logitDiff,
        places: [.index(1)])
      let prompts = try (0..<14).flatMap { _ in try fixture.read() }
      let one = try attribution.run(prompts, threads: 1)
      let three = try attribution.run(prompts, threads: 3)
      #expect(one.parts.means == three.parts.means && one.sums.means == three.sums.means)
      #expect(one.parts.standardErrors == three.parts.standardErrors && one.parts.counts == [42])
      #expect(one.parts.values.isEmpty)
    }
  }

  @Test func neuronsAreReadAtOnePlace() throws {
    let fixture = try ReadFixture("tiny", .raw)
    #expect(throws: ReadingError.onePlaceOnly("neuron")) {
      try LogitAttribution(
        fixture.cache, model: fixture.model, split: .neuron, target: .logit,
        places: [.index(0), .index(1)])
    }
  }
}
