import CacheFormat
import Model

/// Runs a circuit, and the model, without some of the circuit's heads: F of Wang et al. 2022, section 4, for
/// each pair.
///
/// The clean prompts are run with the z of what is left out replaced; MLPs and LayerNorms are computed
/// anew. Every subset is run once, however often it is asked for.
public final class CircuitRuns {
  public let circuit: Circuit
  private let engine: PatchEngine
  private let task: any PatchingTask
  private let source: PatchSource
  private let prompts: [Prompt]
  /// By metric and pair.
  public let baselines: [[Baseline]]
  private var known: [CircuitSubset: [Float]] = [:]
  /// What has been run, in the order in which it was: an input of `PatchEngine.check`.
  public private(set) var results: [SweepResult] = []

  /// - Parameters:
  ///   - task: of one metric.
  ///   - source: what takes the place of z: a mean or zeros, or the other run's.
  /// - Throws: `PatchingError`, `CacheError`.
  public init(
    _ circuit: Circuit, engine: PatchEngine, task: any PatchingTask, source: PatchSource,
    prompts: [Prompt]
  ) throws {
    try circuit.check(engine.model.config)
    self.circuit = circuit
    self.engine = engine
    self.task = task
    self.source = source
    self.prompts = prompts
    for (number, pair) in task.pairs.enumerated() {
      let length = prompts[pair.clean].tokens.count
      for place in circuit.members.flatMap(\.places)
      where place.positions(roles: pair.roles, length: length) == nil {
        throw PatchingError.pairWithoutPlace(place, pair: pair.id ?? "\(number)")
      }
    }
    baselines = try engine.baselines(task, prompts: prompts)
    try engine.require([try Sweep(name: "circuit", list: [cell(CircuitSubset(.circuit))])])
  }

  /// F of some subsets, by subset and pair.
  ///
  /// - Parameter progress: called with the number of runs done, over all pairs; one call at a time.
  /// - Throws: `CacheError`, `PatchingError`.
  public func values(
    of subsets: [CircuitSubset], progress: (Int) -> Void = { _ in }
  ) throws -> [[Float]] {
    let whole = CircuitSubset(.model)
    known[whole] = baselines[0].map(\.clean)
    var seen = Set(known.keys)
    let new = subsets.filter { seen.insert($0).inserted }
    if !new.isEmpty {
      let result = try engine.run(
        try Sweep(name: "circuit", list: new.map(cell)), task,
        direction: source == .otherRun ? .noise : .ablate, source: source, prompts: prompts,
        baselines: baselines, progress: progress)[0]
      results.append(result)
      for (subset, values) in zip(new, result.patched) {
        known[subset] = values.map { $0 ?? .nan }
      }
    }
    return subsets.map { known[$0] ?? [] }
  }

  /// The runs that `values(of:)` would make, over all pairs.
  public func runCount(of subsets: [CircuitSubset]) -> Int {
    Set(subsets).subtracting(known.keys).subtracting([CircuitSubset(.model)]).count
      * task.pairs.count
  }

  private func cell(_ subset: CircuitSubset) -> ListedCell {
    let all = Set(circuit.members.indices)
    let patches =
      switch subset.of {
      case .circuit:
        circuit.complement(
          keeping: all.subtracting(subset.removed), config: engine.model.config)
      case .model: circuit.ablation(of: subset.removed)
      }
    return ListedCell(name: "\(subset.of) without \(subset.removed.sorted())", patches: patches)
  }
}
