import CacheFormat
import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Reading

@Suite struct LogitLensTests {
  /// Every metric at every position against TransformerLens, prompts of 2, 6 and 11 tokens together.
  @Test(arguments: fixtureKinds)
  func equalsTransformerLens(folder: String, weights: WeightProcessing) throws {
    let fixture = try ReadFixture(folder, weights)
    let places = (0..<11).map { Place.index($0) }
    let lens = try LogitLens(fixture.cache, model: fixture.model, places: places)
    let tables = try lens.tables(
      of: try fixture.read(), metrics: AnswerMetric.allCases, keepsValues: true, threads: 2)
    #expect(lens.labels == (try ReadFixture.labels(folder, .accumulated)))
    for (metric, table) in zip(AnswerMetric.allCases, tables) {
      let expected = try referenceMeans(fixture, "lens/\(metric.rawValue)", columns: 11)
      #expect(
        table.quantity == metric.rawValue && table.counts == [3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1])
      let difference = largestDifference(table.means, expected)
      #expect(difference < 1e-4, "\(metric.rawValue): \(difference)")
      // Each prompt's own values, and a standard error of one's own making.
      let cells = table.means.count
      let own = (0..<3).map { Double(table.values[$0 * cells]) }
      let mean = own.reduce(0, +) / 3
      let error = (own.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 2 / 3).squareRoot()
      #expect(abs((table.standardErrors[0] ?? .nan) - error) < 1e-9 * max(1, error))
      #expect(table.standardErrors[10] == nil)
      #expect(table.values[cells - 1].isNaN && table.values[3 * cells - 1].isFinite)
    }
  }

  @Test(arguments: fixtureKinds)
  func largestLogitsAreThoseOfTransformerLens(folder: String, weights: WeightProcessing) throws {
    let fixture = try ReadFixture(folder, weights)
    let lens = try LogitLens(fixture.cache, model: fixture.model, places: [])
    for (number, prompt) in try fixture.read().enumerated() {
      let top = try lens.top(5, of: prompt, positions: [prompt.length - 1])
      let expected = try fixture.arrays.tokens("p\(number)/lens/top")
      #expect(top[0].flatMap { $0.map(\.token) } == expected)
      for row in top[0] {
        #expect(zip(row, row.dropFirst()).allSatisfy { $0.logit >= $1.logit })
      }
      // All of them together.
      let all = try lens.top(fixture.model.config.vocabulary, of: prompt, positions: [0])
      #expect(all[0].allSatisfy { abs($0.reduce(0) { $0 + $1.probability } - 1) < 2e-6 })
    }
  }

  /// A role of several positions is the mean over them; a prompt that lacks the place does not count.
  @Test func placesOfSeveralPositions() throws {
    let fixture = try ReadFixture("odd", .transformerlens)
    let both = [Place.role("S"), .index(3), .index(4), .index(-7), .role("none")]
    let lens = try LogitLens(fixture.cache, model: fixture.model, places: both)
    let tables = try lens.tables(
      of: try fixture.read(roles: ["S": 3..<5]), metrics: [AnswerMetric.logitDiff],
      keepsValues: true,
      threads: 1)
    let table = tables[0]
    #expect(table.counts == [2, 2, 2, 1, 0])
    for row in lens.labels.indices {
      let pair =
        (table.mean(row: row, column: 1) ?? .nan) + (table.mean(row: row, column: 2) ?? .nan)
      #expect(abs((table.mean(row: row, column: 0) ?? .nan) - pair / 2) < 1e-5)
      #expect(table.mean(row: row, column: 4) == nil)
    }
    // −7 is position 4 of the longest.
    let cells = table.means.count
    #expect(table.values[2 * cells + 3] == table.values[2 * cells + 2])
  }

  /// What threads and batches do not change: more prompts than a batch, to the bit.
  @Test func threadsChangeNothing() throws {
    let fixture = try ReadFixture("tiny", .raw)
    let prompts = try (0..<30).flatMap { _ in try fixture.read() }
    let lens = try LogitLens(fixture.cache, model: fixture.model, places: [.index(-1), .index(3)])
    let metrics: [any PatchMetric] = [AnswerMetric.logitDiff, AnswerMetric.klDivergence]
    let one = try lens.tables(of: prompts, metrics: metrics, keepsValues: true, threads: 1)
    let four = try lens.tables(of: prompts, metrics: metrics, keepsValues: true, threads: 4)
    for (a, b) in zip(one, four) {
      #expect(a.means == b.means && a.standardErrors == b.standardErrors && a.counts == [90, 60])
      #expect(a.values.map(\.bitPattern) == b.values.map(\.bitPattern))
    }
    // A mean of equal values is their value, and has no error.
    let same = try lens.tables(
      of: Array(repeating: prompts[2], count: 70), metrics: metrics, keepsValues: true, threads: 3)
    #expect(same[0].standardErrors.allSatisfy { $0 == 0 })
    #expect(
      same[0].means.map { Float($0 ?? .nan) } == Array(same[0].values.prefix(same[0].means.count)))
  }

  @Test func missingHooksAndImpossiblePromptsAreNamed() throws {
    let fixture = try ReadFixture("tiny", .raw)
    let directory = try TemporaryDirectory()
    let other = try GPT2(directory: ReferenceArrays.path("odd"))
    let cache = try writeCache(fixture.model, fixture.prompts, to: directory.path + "/cache")
    #expect(throws: ReadingError.self) { try LogitLens(cache, model: other, places: []) }
    let lens = try LogitLens(cache, model: fixture.model, places: [.index(0)])
    let long = ReadPrompt(
      try fixture.read()[0].pair, number: 0, length: fixture.model.config.contextLength + 1)
    #expect(throws: PassError.self) {
      try lens.tables(of: [long], metrics: [AnswerMetric.logitDiff], threads: 1)
    }
    // A prompt of another length than the cache has.
    let wrong = ReadPrompt(try fixture.read()[0].pair, number: 0, length: 3)
    #expect(throws: CacheError.self) {
      try lens.tables(of: [wrong], metrics: [AnswerMetric.logitDiff], threads: 1)
    }
  }
}
