import Foundation
import TestSupport
import Testing

@testable import Patching

/// tools/make_statistics_reference.py describes the file.
struct StatisticsReference: Decodable {
  struct Generated: Decodable {
    let seed: UInt64
    let labels: [String]
    let bound: UInt32
    let first: [UInt32]
    let last: [UInt32]
  }
  struct Interval: Decodable {
    let statistic: String
    let seed: UInt64
    let confidence: Double
    let nResamples: UInt32
    let lower: Double
    let upper: Double
  }
  struct PValue: Decodable {
    let alternative: String
    let seed: UInt64
    let nPermutations: UInt32
    let p: Double
  }
  struct Cell: Decodable {
    let name: String
    let effects: [Double]
    let mean: Double
    let standardError: Double?
    let median: Double
    let intervals: [Interval]
    let pValues: [PValue]
  }
  struct FalseDiscovery: Decodable {
    let p: [Double]
    let bh: [Double]
    let by: [Double]
  }

  let generator: [Generated]
  let cells: [Cell]
  let falseDiscovery: [FalseDiscovery]

  static func read() throws -> StatisticsReference {
    let url = try #require(
      Bundle.module.url(forResource: "Fixtures/statistics", withExtension: "json"))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(StatisticsReference.self, from: Data(contentsOf: url))
  }
}

@Suite struct CellStatisticsTests {
  @Test func drawsAreThoseOfTorch() throws {
    for reference in try StatisticsReference.read().generator {
      var generator = MersenneTwister(seed: reference.seed, labels: reference.labels)
      let numbers = (0..<2000).map { _ in generator.next(below: reference.bound) }
      #expect(Array(numbers.prefix(8)) == reference.first, "\(reference.labels)")
      #expect(Array(numbers.suffix(8)) == reference.last, "\(reference.labels)")
    }
  }

  /// Sums are taken in another order than in torch.
  func isClose(_ value: Double?, _ expected: Double, _ effects: [Double]) -> Bool {
    let scale = effects.reduce(0) { max($0, abs($1)) }
    return value.map { abs($0 - expected) <= 4 * Double.ulpOfOne * scale } ?? false
  }

  @Test func cellsEqualTransformerLens() throws {
    let cells = try StatisticsReference.read().cells.filter { $0.effects.allSatisfy(\.isFinite) }
    #expect(cells.count == 67)
    for cell in cells {
      let statistics = CellStatistics(effects: cell.effects)
      #expect(statistics.count == cell.effects.count)
      #expect(isClose(statistics.mean, cell.mean, cell.effects), "mean, \(cell.name)")
      #expect(statistics.median == cell.median, "median, \(cell.name)")
      if let error = cell.standardError {
        #expect(
          isClose(statistics.standardError, error, cell.effects), "standard error, \(cell.name)")
      } else {
        #expect(statistics.standardError == nil)
      }
      for interval in cell.intervals {
        let resampling = Resampling(
          seed: interval.seed, statistic: try #require(.init(rawValue: interval.statistic)),
          confidence: interval.confidence, resamples: interval.nResamples)
        let found = CellStatistics(effects: cell.effects, resampling: resampling).interval
        // Medians are effects themselves, without a sum.
        let isEqual =
          if resampling.statistic == .median {
            found == CellStatistics.Interval(lower: interval.lower, upper: interval.upper)
          } else {
            isClose(found?.lower, interval.lower, cell.effects)
              && isClose(found?.upper, interval.upper, cell.effects)
          }
        #expect(isEqual, "\(interval) and \(String(describing: found)), \(cell.name)")
      }
      for pValue in cell.pValues {
        let resampling = Resampling(
          seed: pValue.seed, alternative: try #require(.init(rawValue: pValue.alternative)),
          permutations: pValue.nPermutations)
        let found = CellStatistics(effects: cell.effects, resampling: resampling).p
        #expect(found == pValue.p, "\(pValue), \(cell.name)")
      }
    }
  }

  @Test func effectsThatAreNotFiniteHaveNoStatistics() throws {
    let cells = try StatisticsReference.read().cells.filter { !$0.effects.allSatisfy(\.isFinite) }
    let others: [[Double]] = [[], [.nan], [1, -.infinity], [.greatestFiniteMagnitude, 1e308]]
    for effects in cells.map(\.effects) + others {
      let statistics = CellStatistics(effects: effects)
      #expect(statistics.count == effects.count)
      #expect(statistics.mean == nil && statistics.median == nil)
      #expect(statistics.standardError == nil && statistics.interval == nil)
      #expect(statistics.p == nil)
    }
    // The reason: a comparison with NaN is no hit, which makes it look like strong evidence.
    let exact = cells.filter { $0.name.hasPrefix("nan") && $0.effects.count <= 12 }
    #expect(exact.count == 4 && exact.allSatisfy { $0.pValues.allSatisfy { $0.p == 0 } })
  }

  @Test func whatIsLeftOutIsNil() {
    let effects = (0..<20).map { Double($0) - 3 }
    for confidence in [0, 1, -1, 2, Double.nan] {
      let statistics = CellStatistics(
        effects: effects, resampling: Resampling(confidence: confidence))
      #expect(statistics.interval == nil && statistics.p != nil && statistics.mean == 6.5)
    }
    let without = Resampling(resamples: 0, permutations: 0)
    let statistics = CellStatistics(effects: effects, resampling: without)
    #expect(statistics.interval == nil && statistics.p == nil && statistics.standardError != nil)
    #expect(CellStatistics(effects: [1, 2, 3], resampling: without).p == 0.25)
  }

  /// Whole numbers, whose sums have no rounding, with many ties.
  func wholeEffects(_ count: Int, _ generator: inout SeededGenerator) -> [Double] {
    (0..<count).map { _ in Double(Int.random(in: -4...6, using: &generator)) }
  }

  func isAsFar(_ sum: Double, _ observed: Double, _ alternative: Resampling.Alternative) -> Bool {
    switch alternative {
    case .twoSided: abs(sum) >= abs(observed)
    case .greater: sum >= observed
    case .less: sum <= observed
    }
  }

  @Test func exactPValuesCountAllPatterns() {
    func hits(
      _ effects: ArraySlice<Double>, sum: Double, observed: Double,
      _ alternative: Resampling.Alternative
    ) -> Int {
      guard let effect = effects.first else { return isAsFar(sum, observed, alternative) ? 1 : 0 }
      return [effect, -effect].reduce(0) {
        $0 + hits(effects.dropFirst(), sum: sum + $1, observed: observed, alternative)
      }
    }
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SeededGenerator(seed: seed)
    for count in 1...12 {
      let effects = wholeEffects(count, &generator)
      for alternative in Resampling.Alternative.allCases {
        let found = CellStatistics(
          effects: effects, resampling: Resampling(alternative: alternative))
        let expected = hits(effects[...], sum: 0, observed: effects.reduce(0, +), alternative)
        #expect(
          found.p == Double(expected) / Double(1 << count),
          "\(effects), \(alternative), seed \(seed)")
      }
    }
  }

  @Test func drawnPatternsAndResamplesAreThoseOfPlainLoops() throws {
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SeededGenerator(seed: seed)
    for count in [13, 14, 31, 300, 1000] {
      let effects = wholeEffects(count, &generator)
      for alternative in Resampling.Alternative.allCases {
        var random = MersenneTwister(seed: seed, labels: ["permutation"])
        let hits = (0..<500).count(where: { _ in
          let sum = effects.reduce(0) { $0 + (random.next(below: 2) == 1 ? $1 : -$1) }
          return isAsFar(sum, effects.reduce(0, +), alternative)
        })
        let found = CellStatistics(
          effects: effects,
          resampling: Resampling(seed: seed, alternative: alternative, permutations: 500))
        #expect(found.p == Double(hits + 1) / 501, "n = \(count), \(alternative), seed \(seed)")
      }
      for statistic in Resampling.Statistic.allCases {
        var random = MersenneTwister(seed: seed, labels: ["bootstrap", statistic.rawValue])
        let values = (0..<501).map { _ in
          let resample = (0..<count).map { _ in effects[Int(random.next(below: UInt32(count)))] }
          return statistic == .mean
            ? resample.reduce(0, +) / Double(count) : resample.sorted()[(count - 1) / 2]
        }.sorted()
        // Of 501 values the quartiles are values themselves.
        let found = try #require(
          CellStatistics(
            effects: effects,
            resampling: Resampling(
              seed: seed, statistic: statistic, confidence: 0.5, resamples: 501)
          ).interval)
        #expect(
          found.lower == values[125] && found.upper == values[375],
          "n = \(count), \(statistic), seed \(seed)")
      }
    }
  }

  @Test func cellsDoNotDependOnTheirCompany() {
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SeededGenerator(seed: seed)
    var cells = (0..<150).map { _ in
      wholeEffects(Int.random(in: 0...15, using: &generator), &generator)
    }
    cells[17] = [1, .nan, 3]
    for statistic in Resampling.Statistic.allCases {
      let resampling = Resampling(
        seed: seed, statistic: statistic, resamples: 40, permutations: 40)
      let alone = cells.map { CellStatistics(effects: $0, resampling: resampling) }
      for threads in [0, 1, 2, 7] {
        #expect(resampling.statistics(of: cells, threads: threads) == alone, "seed \(seed)")
      }
    }
    #expect(Resampling().statistics(of: [], threads: 2) == [])
  }
}
