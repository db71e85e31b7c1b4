import TestSupport
import Testing

@testable import Patching

@Suite struct FalseDiscoveryTests {
  @Test func qValuesEqualSciPyAndStatsmodels() throws {
    for family in try StatisticsReference.read().falseDiscovery {
      for (method, expected) in [
        (FalseDiscoveryMethod.benjaminiHochberg, family.bh), (.benjaminiYekutieli, family.by),
      ] {
        let found = falseDiscovery(family.p, method: method)
        #expect(found.count == expected.count)
        for (q, reference) in zip(found, expected) {
          #expect(abs((q ?? .nan) - reference) <= 1e-14 * reference, "\(method), \(family.p)")
        }
      }
    }
  }

  /// m = 4, so that c = 1 + 1/2 + 1/3 + 1/4 = 25/12. From the largest p down, m p / rank is 0.5,
  /// 4 · 0.03 / 3 = 0.04, 4 · 0.025 / 2 = 0.05 and 4 · 0.002 / 1 = 0.008, of which each rank takes the
  /// least so far: 0.5, 0.04, 0.04, 0.008.
  @Test func qValuesByHand() {
    let p = [0.03, 0.002, 0.5, 0.025]
    for (method, expected) in [
      (FalseDiscoveryMethod.benjaminiHochberg, [0.04, 0.008, 0.5, 0.04]),
      // 0.04 · 25/12 = 1/12, 0.008 · 25/12 = 1/60, and 0.5 · 25/12 is above 1.
      (.benjaminiYekutieli, [1.0 / 12, 1.0 / 60, 1, 1.0 / 12]),
    ] {
      for (q, value) in zip(falseDiscovery(p, method: method), expected) {
        #expect(abs((q ?? .nan) - value) < 1e-15, "\(method)")
      }
    }
  }

  /// Benjamini and Hochberg's procedure itself: at level α the k smallest p-values are discoveries,
  /// for the largest k with p(k) ≤ α k / (c m).
  @Test func discoveriesAreThoseOfTheStepUpProcedure() {
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SeededGenerator(seed: seed)
    for count in [1, 2, 9, 120] {
      let p = (0..<count).map { _ in Double(Int.random(in: 1...400, using: &generator)) / 1001 }
      let harmonic = (1...count).reduce(0) { $0 + 1 / Double($1) }
      for (method, penalty) in [
        (FalseDiscoveryMethod.benjaminiHochberg, 1), (.benjaminiYekutieli, harmonic),
      ] {
        let q = falseDiscovery(p, method: method)
        for level in [0.0101, 0.0503, 0.2007, 0.5011] {
          let sorted = p.sorted()
          let discovered = (1...count).last {
            sorted[$0 - 1] <= level * Double($0) / (penalty * Double(count))
          }
          let expected = discovered.map { rank in p.map { $0 <= sorted[rank - 1] } }
          #expect(
            q.map { ($0 ?? .nan) <= level } == expected ?? p.map { _ in false },
            "\(method), \(count) tests at \(level), seed \(seed)")
        }
      }
    }
  }

  @Test func whatIsNoPValueDoesNotCount() {
    let q = falseDiscovery([nil, 0.01, .nan, 0.04, -0.5, 1.5, .infinity, 0.03, nil])
    #expect(q.map { $0 == nil } == [true, false, true, false, true, true, true, false, true])
    #expect(q.compactMap { $0 } == falseDiscovery([0.01, 0.04, 0.03]).compactMap { $0 })
    for method in FalseDiscoveryMethod.allCases {
      #expect(falseDiscovery([], method: method).isEmpty)
      #expect(falseDiscovery([nil, .nan], method: method) == [nil, nil])
    }
  }
}
