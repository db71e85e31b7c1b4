import CacheFormat
import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Reading

@Suite struct RowStatisticsTests {
  /// A cache of 40 prompts of the odd model; pair i has the prompts i and 39 − i.
  private struct Many {
    let directory: TemporaryDirectory
    let cache: CacheReader
    let prompts: [Prompt]
    let pairs: [PatchingPair]
    let model: GPT2

    init(hooks: (HookPoint) -> Bool = { $0.kind.isDefault }) throws {
      model = try GPT2(directory: ReferenceArrays.path("odd"))
      var generator = SeededGenerator(seed: 5)
      prompts = (0..<40).map { number in
        let length = 4 + number % 3
        let tokens = (0..<length).map { _ in Int32.random(in: 0..<113, using: &generator) }
        return Prompt(text: "", tokens: tokens, pieces: tokens.map { "\($0)" })
      }
      directory = try TemporaryDirectory()
      cache = try writeCache(model, prompts, to: directory.path + "/cache", hooks: hooks)
      pairs = (0..<40).map {
        PatchingPair(clean: $0, corrupted: 39 - $0, answer: nil, wrongAnswer: nil)
      }
    }

    /// The rows by themselves.
    func rows(_ hook: HookPoint, _ prompt: Int, width: Int) throws -> [Double] {
      let index = try #require(cache.hookIndex(hook.name))
      return try cache.read(hook: index, prompt: prompt).suffix(width).map(Double.init)
    }
  }

  private func read(
    _ many: Many, _ hooks: [HookPoint], rows: RowStatistics.Rows = .run(.clean), head: Int? = nil,
    directions: Int = 0, threads: Int = 2
  ) throws -> [RowStatistics] {
    try RowStatistics.read(
      hooks, of: many.pairs, rows: rows, at: .index(-1), head: head, directions: directions,
      cache: many.cache, prompts: many.prompts, threads: threads)
  }

  /// Hooks with wide and with narrow heads, read together and alone.
  @Test func headsOfHooksOfDifferentWidth() throws {
    let many = try Many { $0.kind.isDefault || $0.kind == .result }
    let hooks = [
      HookPoint(.z, layer: 1), HookPoint(.result, layer: 1), HookPoint(.q, layer: 0),
    ]
    for order in [hooks, hooks.reversed()] {
      let together = try read(many, order, head: 3)
      for (hook, found) in zip(order, together) {
        #expect(found.mean == (try read(many, [hook], head: 3)[0].mean), "\(hook)")
      }
    }
    let width = many.model.config.width
    let means = try read(many, hooks, head: 3)[1].mean
    let index = try #require(many.cache.hookIndex(hooks[1].name))
    let heads = many.model.config.heads
    var expected = [Double](repeating: 0, count: width)
    for prompt in 0..<40 {
      let row = try many.cache.read(hook: index, prompt: prompt).suffix(heads * width)
      for (i, value) in row.dropFirst(3 * width).prefix(width).enumerated() {
        expected[i] += Double(value) / 40
      }
    }
    #expect(zip(means, expected).allSatisfy { abs($0 - $1) < 1e-6 })
  }

  /// Means, norms and variances against the plain formulas; principal directions against what they
  /// must be: orthonormal eigenvectors of the covariance, the largest of them.
  @Test func againstTheFormulas() throws {
    let many = try Many()
    let hook = HookPoint(.residPre, layer: 2)
    let width = 80
    let found = try read(many, [HookPoint(.q, layer: 0), hook], directions: 4)[1]
    let rows = try (0..<40).map { try many.rows(hook, $0, width: width) }
    let mean = (0..<width).map { i in rows.reduce(0) { $0 + $1[i] } / 40 }
    #expect(found.count == 40 && found.hook == hook)
    #expect(zip(found.mean, mean).allSatisfy { abs($0 - $1) < 1e-9 })
    let norms = rows.map { $0.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    let meanNorm = norms.reduce(0, +) / 40
    let deviation = (norms.reduce(0) { $0 + ($1 - meanNorm) * ($1 - meanNorm) } / 39).squareRoot()
    #expect(abs(found.meanNorm - meanNorm) < 1e-9)
    #expect(abs((found.normDeviation ?? .nan) - deviation) < 1e-9)
    let centred = rows.map { row in (0..<width).map { row[$0] - mean[$0] } }
    let variance = centred.joined().reduce(0) { $0 + $1 * $1 } / 39
    #expect(abs((found.variance ?? .nan) - variance) < 1e-8 * variance)
    for (number, direction) in found.directions.enumerated() {
      for (other, second) in found.directions.enumerated() {
        let product = zip(direction, second).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(abs(product - (number == other ? 1 : 0)) < 1e-10)
      }
      let products = centred.map { zip($0, direction).reduce(0) { $0 + $1.0 * $1.1 } }
      let value = found.directionVariances[number]
      #expect(abs(products.reduce(0) { $0 + $1 * $1 } / 39 - value) < 1e-8 * variance)
      for i in 0..<width {
        let image = zip(centred, products).reduce(0) { $0 + $1.0[i] * $1.1 } / 39
        #expect(abs(image - value * direction[i]) < 1e-8 * variance)
      }
      let largest = direction.reduce(0.0) { abs($1) > abs($0) ? $1 : $0 }
      #expect(largest > 0)
    }
    #expect(zip(found.directionVariances, found.directionVariances.dropFirst()).allSatisfy(>))
    // No direction at all has more variance: all of them sum to the whole.
    let all = try read(many, [hook], directions: 39)[0]
    #expect(abs(all.directionVariances.reduce(0, +) - variance) < 1e-7 * variance)
  }

  @Test func differencesHeadsAndThreads() throws {
    let many = try Many()
    let z = HookPoint(.z, layer: 1)
    let whole = try read(many, [z])[0]
    let head = try read(many, [z], head: 3)[0]
    #expect(head.mean == Array(whole.mean[48..<64]) && whole.mean.count == 80)
    let difference = try read(many, [z], rows: .difference, directions: 2)[0]
    // Every prompt is clean once and corrupted once.
    #expect(difference.normOfMean < 1e-6 && difference.meanNorm > 0.1)
    let other = try read(many, [z], rows: .difference, directions: 2, threads: 5)[0]
    #expect(other.directions == difference.directions && other.variance == difference.variance)
  }

  @Test func whatCannotBe() throws {
    let many = try Many()
    #expect(throws: ReadingError.noRows(.pattern)) {
      try read(many, [HookPoint(.pattern, layer: 0)])
    }
    #expect(throws: ReadingError.noRows(.residPre)) {
      try read(many, [HookPoint(.residPre, layer: 0)], head: 0)
    }
    #expect(throws: ReadingError.self) { try read(many, [HookPoint(.z, layer: 0)], head: 5) }
    #expect(throws: ReadingError.self) {
      try read(many, [HookPoint(.z, layer: 0)], directions: 40)
    }
    #expect(throws: ReadingError.self) { try read(many, [HookPoint(.result, layer: 0)]) }
  }
}
