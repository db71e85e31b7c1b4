/// The three tests of a circuit C in a model M: does it do the task, is anything missing, is anything too
/// much (Wang et al. 2022, "Interpretability in the Wild", section 4)? F is the mean metric over pairs.
public struct CircuitEvaluation: Sendable {
  /// Whether a head matters in the circuit: |F(C \ (K ∪ {v})) − F(C \ K)| / |F(M)|, v the head and K its
  /// companions.
  public struct Minimality: Sendable {
    /// The member's number.
    public let member: Int
    /// Numbers of members.
    public let companions: Set<Int>
    /// F(C \ K) and F(C \ (K ∪ {v})) by pair.
    public let base, without: [Float]

    /// F(C \ (K ∪ {v})) − F(C \ K).
    public var change: Double { mean(without) - mean(base) }
  }

  /// Whether the circuit without some heads does what the model without them does: |F(C \ K) − F(M \ K)|,
  /// 0 for a complete circuit.
  public struct Completeness: Sendable {
    /// How K was chosen.
    public let name: String
    /// K, numbers of members.
    public let removed: Set<Int>
    /// F(C \ K) and F(M \ K) by pair.
    public let circuit, model: [Float]

    public var difference: Double { abs(mean(circuit) - mean(model)) }
  }

  /// F(M) and F(C) by pair.
  public let model, circuit: [Float]
  public let minimality: [Minimality]
  public let completeness: [Completeness]

  /// |F(M) − F(C)|: 0 for a faithful circuit.
  public var unfaithfulness: Double { abs(mean(model) - mean(circuit)) }

  /// F(C) / F(M), the share of the model's performance; nil where F(M) is too small to divide by.
  public var share: Double? {
    let whole = mean(model)
    return abs(whole) < SweepResult.smallestGap ? nil : mean(circuit) / whole
  }

  /// A member's |F(C \ (K ∪ {v})) − F(C \ K)| / |F(M)|; nil where F(M) is too small to divide by.
  public func score(_ minimality: Minimality) -> Double? {
    let whole = mean(model)
    return abs(whole) < SweepResult.smallestGap ? nil : abs(minimality.change / whole)
  }

  /// Which K completeness is tested with.
  public struct Choice: Sendable {
    /// Sets in which each member is with probability ½.
    public var random = 0
    public var seed: UInt64 = 0
    /// How many members are taken out one after the other, each the one that makes the difference
    /// largest.
    public var greedy = 0
    /// Sets that are given.
    public var sets: [(name: String, removed: Set<Int>)] = []

    public init() {}
  }

  /// Runs all tests.
  ///
  /// - Parameter progress: called with the number of runs done and of all of a stage, first with 0; each
  ///   step of the greedy search is a stage.
  /// - Throws: `CacheError`, `PatchingError`.
  public init(
    _ runs: CircuitRuns, completeness choice: Choice, progress: (Int, Int) -> Void = { _, _ in }
  ) throws {
    let circuit = runs.circuit
    let all = circuit.members.indices
    var sets: [(name: String, removed: Set<Int>)] = [("nothing", [])]
    sets += circuit.classes.map { ($0.isEmpty ? "all" : $0, circuit.members(of: $0)) }
    sets += choice.sets
    var generator = SplitMix64(state: choice.seed)
    for number in 0..<choice.random {
      let removed = all.filter { _ in Bool.random(using: &generator) }
      sets.append(("random \(number + 1)", Set(removed)))
    }
    let companions = all.map(circuit.companions)
    var subsets = [CircuitSubset(.model), CircuitSubset(.circuit)]
    for member in all {
      subsets.append(CircuitSubset(.circuit, without: companions[member]))
      subsets.append(CircuitSubset(.circuit, without: companions[member].union([member])))
    }
    for set in sets {
      subsets.append(CircuitSubset(.circuit, without: set.removed))
      subsets.append(CircuitSubset(.model, without: set.removed))
    }
    func run(_ subsets: [CircuitSubset]) throws -> [[Float]] {
      let total = runs.runCount(of: subsets)
      if total > 0 { progress(0, total) }
      return try runs.values(of: subsets) { progress($0, total) }
    }
    _ = try run(subsets)

    // The greedy search asks for what the choice before it has led to.
    var removed: Set<Int> = []
    for step in 0..<min(choice.greedy, circuit.members.count) {
      let candidates = all.filter { !removed.contains($0) }.map { removed.union([$0]) }
      let asked = candidates.flatMap {
        [CircuitSubset(.circuit, without: $0), CircuitSubset(.model, without: $0)]
      }
      let values = try run(asked)
      let differences = candidates.indices.map {
        abs(mean(values[2 * $0]) - mean(values[2 * $0 + 1]))
      }
      guard let largest = differences.indices.max(by: { differences[$0] < differences[$1] })
      else { break }
      removed = candidates[largest]
      sets.append(("greedy \(step + 1)", removed))
    }

    func value(_ of: CircuitSubset.Of, _ removed: Set<Int>) throws -> [Float] {
      try runs.values(of: [CircuitSubset(of, without: removed)])[0]
    }
    model = try value(.model, [])
    self.circuit = try value(.circuit, [])
    minimality = try all.map { member in
      Minimality(
        member: member, companions: companions[member],
        base: try value(.circuit, companions[member]),
        without: try value(.circuit, companions[member].union([member])))
    }
    completeness = try sets.map { set in
      Completeness(
        name: set.name, removed: set.removed, circuit: try value(.circuit, set.removed),
        model: try value(.model, set.removed))
    }
  }
}

private func mean(_ values: [Float]) -> Double {
  values.reduce(0) { $0 + Double($1) } / Double(max(1, values.count))
}
