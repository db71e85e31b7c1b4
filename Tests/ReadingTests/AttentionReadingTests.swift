import CacheFormat
import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Reading

@Suite struct AttentionReadingTests {
  private static let kinds = DetectionPattern.Kind.allCases

  /// Every kind, measure and exclusion against TransformerLens's head_detector.
  @Test(arguments: fixtureKinds, ["mul", "mul-first-current", "abs", "abs-first-current"])
  func detectionEqualsTransformerLens(
    kind: (String, WeightProcessing), measure: String
  ) throws {
    let fixture = try ReadFixture(kind.0, kind.1)
    let attention = try AttentionReading(fixture.cache)
    let excludes = measure.hasSuffix("current")
    let form = try #require(DetectionMeasure.Form(rawValue: String(measure.prefix(3))))
    let table = try attention.detect(
      AttentionReadingTests.kinds.map(\.rawValue), in: try fixture.read(), tokens: fixture.prompts,
      measure: DetectionMeasure(form, excludesFirst: excludes, excludesCurrent: excludes),
      keepsValues: true, threads: 2
    ) { tokens in AttentionReadingTests.kinds.map { DetectionPattern($0, tokens: tokens) } }
    let heads = fixture.model.config.layers * fixture.model.config.heads
    #expect(table.rows.count == heads && table.rows[1] == "L0H1")
    for number in 0..<3 {
      for (column, kind) in AttentionReadingTests.kinds.enumerated() {
        let expected = try fixture.arrays.floats(
          "p\(number)/detect/\(measure)/\(kind.rawValue)")
        let found = (0..<heads).map { table.values[(number * heads + $0) * 3 + column] }
        for (a, b) in zip(found, expected) {
          // Of two tokens nothing is left when both are excluded.
          #expect(a.isNaN && b.isNaN || abs(a - b) < 1e-4, "p\(number) \(kind): \(a) \(b)")
        }
      }
    }
  }

  @Test(arguments: fixtureKinds)
  func patternsOfOnesOwn(folder: String, weights: WeightProcessing) throws {
    let fixture = try ReadFixture(folder, weights)
    let values = try fixture.arrays.floats("custom")
    let length = fixture.tokens[1].count
    let own = try DetectionPattern(
      rows: (0..<length).map { Array(values[$0 * length..<($0 + 1) * length]) })
    #expect(own.isBinary && own.length == length)
    for form in DetectionMeasure.Form.allCases {
      let table = try AttentionReading(fixture.cache).detect(
        ["custom"], in: [try fixture.read()[1]], tokens: fixture.prompts,
        measure: DetectionMeasure(form), threads: 1
      ) { _ in [own] }
      let expected = try fixture.arrays.floats("p1/detect/\(form.rawValue)/custom")
      #expect(largestDifference(table.means, expected.map(Double.init)) < 1e-4)
    }
  }

  /// The kinds by their definitions, on random tokens of few kinds.
  @Test func kindsByDefinition() {
    var generator = SeededGenerator(seed: 11)
    for _ in 0..<50 {
      let length = Int.random(in: 1...14, using: &generator)
      let tokens = (0..<length).map { _ in Int32.random(in: 0..<4, using: &generator) }
      for kind in AttentionReadingTests.kinds {
        let pattern = DetectionPattern(kind, tokens: tokens)
        var dense = [Bool](repeating: false, count: length * length)
        for entry in pattern.entries { dense[entry.query * length + entry.key] = true }
        for query in 0..<length {
          for key in 0..<length {
            let expected =
              switch kind {
              case .previousToken: key == query - 1
              case .duplicateToken: key < query && tokens[key] == tokens[query]
              case .induction: key >= 1 && key <= query && tokens[key - 1] == tokens[query]
              }
            #expect(dense[query * length + key] == expected, "\(kind) \(tokens) seed 11")
          }
        }
      }
    }
  }

  @Test(arguments: fixtureKinds)
  func repeatedTokensAreThoseOfTheDemo(folder: String, weights: WeightProcessing) throws {
    let fixture = try ReadFixture(folder, weights)
    for (number, first) in [(3, 0), (4, 1)] {
      #expect(RepeatedTokens(fixture.tokens[number])?.first == first)
      let pair = PatchingPair(clean: number, corrupted: number, answer: nil, wrongAnswer: nil)
      let table = try AttentionReading(fixture.cache).repeatedTokens(
        in: [ReadPrompt(pair, run: .clean, prompts: fixture.prompts)], tokens: fixture.prompts,
        threads: 1)
      for (column, name) in RepeatedTokens.scores.enumerated() {
        let expected = try fixture.arrays.floats("\(ReadFixture.names[number])/repeated/\(name)")
        let found = table.rows.indices.map { table.mean(row: $0, column: column) }
        #expect(largestDifference(found, expected.map(Double.init)) < 1e-5)
      }
    }
    #expect(RepeatedTokens([1, 2, 3]) == nil && RepeatedTokens([]) == nil)
    #expect(RepeatedTokens([1, 1]) == nil && RepeatedTokens([9, 1, 2, 1, 2])?.period == 2)
    #expect(RepeatedTokens([1, 2, 1, 3]) == nil)
  }

  /// Sums over keys and means over queries, against the plain pattern.
  @Test func attentionBetweenPlaces() throws {
    let fixture = try ReadFixture("odd", .raw)
    let attention = try AttentionReading(fixture.cache)
    let roles = ["S": 1..<3, "END": 5..<6]
    let prompts = try fixture.read(roles: roles)
    let table = try attention.attention(
      from: [.role("END"), .index(-1)], to: [.role("S"), .index(0), .index(8)], in: prompts,
      threads: 2)
    #expect(table.columns == ["END→S", "END→0", "END→8", "-1→S", "-1→0", "-1→8"])
    #expect(table.counts == [2, 2, 1, 2, 3, 1])
    let heads = fixture.model.config.heads
    for row in [0, heads + 2] {
      var sum = 0.0
      for number in 1...2 {
        let length = prompts[number].length
        let pattern = try attention.pattern(
          layer: row / heads, head: row % heads, of: prompts[number])
        sum += Double(pattern[5 * length + 1]) + Double(pattern[5 * length + 2])
      }
      #expect(abs((table.mean(row: row, column: 0) ?? .nan) - sum / 2) < 1e-6)
    }
  }

  /// A table of every pair of a long prompt's positions would not fit into memory.
  @Test func tooManyPlacesAreRefused() throws {
    let fixture = try ReadFixture("odd", .raw)
    let attention = try AttentionReading(fixture.cache)
    let places = (0..<65).map { Place.index($0) }
    #expect(throws: ReadingError.tooManyPlaces(4225, limit: 4096)) {
      try attention.attention(from: places, to: places, in: try fixture.read(), threads: 1)
    }
  }

  @Test func patternsThatCannotBe() {
    for rows in [[[Float]](), [[1]], [[1, 0]], [[1, 1], [1, 1]], [[1, 0], [.nan, 1]]] {
      #expect(throws: ReadingError.self) { try DetectionPattern(rows: rows) }
    }
  }
}
