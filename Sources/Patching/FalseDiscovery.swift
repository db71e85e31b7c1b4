/// How the false discovery rate of many tests is controlled.
public enum FalseDiscoveryMethod: String, Sendable, CaseIterable {
  /// Benjamini and Hochberg 1995, "Controlling the false discovery rate", JRSS B 57(1): for tests
  /// that are independent or positively dependent.
  case benjaminiHochberg = "bh"
  /// Benjamini and Yekutieli 2001, "The control of the false discovery rate in multiple testing
  /// under dependency", Annals of Statistics 29(4), theorem 1.3: for any dependence.
  case benjaminiYekutieli = "by"
}

/// The q-values (adjusted p-values) of a family of tests: the smallest false discovery rate at which
/// a test is still among the discoveries.
///
/// With the m p-values in ascending order, p(1) ≤ … ≤ p(m), and c = 1 (Benjamini-Hochberg) or
/// 1 + 1/2 + … + 1/m (Benjamini-Yekutieli):
///
///     q(i) = min(1, min over j ≥ i of c · m · p(j) / j)
///
/// - Parameter p: the p-values, one a test. nil, NaN and what is outside 0...1 are no p-values: they
///   do not count among the m, and their q-value is nil.
/// - Returns: the q-values in the order of `p`.
public func falseDiscovery(
  _ p: [Double?], method: FalseDiscoveryMethod = .benjaminiHochberg
) -> [Double?] {
  var tests = p.enumerated().compactMap { index, value in
    value.flatMap { (0...1).contains($0) ? (index: index, p: $0) : nil }
  }
  tests.sort { $0.p < $1.p }
  let count = Double(tests.count)
  let penalty =
    switch method {
    case .benjaminiHochberg: 1.0
    case .benjaminiYekutieli: (1...max(1, tests.count)).reduce(0) { $0 + 1 / Double($1) }
    }
  var q = [Double?](repeating: nil, count: p.count)
  var smallest = 1.0
  for (rank, test) in tests.enumerated().reversed() {
    smallest = min(smallest, test.p * (count / Double(rank + 1)) * penalty)
    q[test.index] = smallest
  }
  return q
}
