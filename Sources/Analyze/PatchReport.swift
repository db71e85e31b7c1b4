import CacheFormat
import FileIO
import Glibc
import Model
import Patching
import Terminal

/// The result of `analyze patch` in words, as JSON and as CSV.
struct PatchReport {
  let command: [String]
  let cache: CacheReader
  let direction: Direction
  /// Names; the first one is the one that warnings are about.
  let metrics: [String]
  let selection: TaskSelection
  /// By metric and pair.
  let baselines: [[Baseline]]
  /// By sweep and metric.
  let results: [[SweepResult]]
  /// By sweep and metric.
  let statistics: [[SweepStatistics]]
  /// What the q-values of `statistics` are.
  let falseDiscovery: FalseDiscoveryMethod
  /// By sweep, where cells were run again by brute force.
  let checks: [BruteForceCheck]?
  let timing: PatchFile.Timing

  private var first: [Baseline] { baselines[0] }

  // In words.

  func heading(_ style: Style) -> [String] {
    let plan = cache.plan
    var lines = [
      style.bold(
        "\(metrics.joined(separator: ", ")) of \(counted(first.count, "pair")), \(direction.rawValue)"
      )
        + "  (\(plan.model.name), weights \(plan.weights), \(Linear.arithmetic) kernels)"
    ]
    for (name, baselines) in zip(metrics, baselines) {
      lines.append(
        (metrics.count > 1 ? "\(name): " : "")
          + runs(baselines).map { "\($0) \(signed($1, 4))   " }.joined() + "effect = \(formula)")
    }
    lines += warnings
    return lines
  }

  /// The mean metrics of the unpatched runs that there are, by name.
  func runs(_ baselines: [Baseline]) -> [(String, Double)] {
    let clean = ("clean", mean(baselines, \.clean))
    return direction == .ablate ? [clean] : [clean, ("corrupted", mean(baselines, \.corrupted))]
  }

  func title(of result: SweepResult) -> String {
    let parts = titleParts(of: result)
    return result.sweep.name + (parts.isEmpty ? "" : "  " + parts.joined(separator: ", "))
      + (metrics.count > 1 ? "  \(result.metric)" : "")
  }

  /// What is swept: the axes, the positions where no axis has them, and what is not usual.
  func titleParts(of result: SweepResult) -> [String] {
    let sweep = result.sweep
    var parts = [sweep.axisNames.joined(separator: " × ")].filter {
      !$0.isEmpty && sweep.axis != .list
    }
    if !sweep.axis.hasPositions, sweep.axis != .list || sweep.path != nil {
      parts.append(sweep.placeText)
    }
    if let subspace = sweep.subspaces.first, sweep.axis != .direction {
      parts.append("a subspace of \(counted(subspace.dimension, "dimension"))")
    }
    if result.source != .otherRun { parts.append("source \(result.source.name)") }
    if sweep.window > 1 { parts.append("windows of \(sweep.window) layers") }
    return parts
  }

  /// What is to be known of a sweep besides its numbers.
  func notes(onSweep number: Int) -> [String] {
    guard let result = results[number].first else { return [] }
    var lines: [String] = []
    if result.unchanged > 0 {
      lines.append(
        "\(grouped(result.unchanged)) of \(counted(result.cellCount, "patch", "patches")) put in what "
          + "was there already; their effect is 0")
    }
    let counts = result.cells.indices.map { result.pairs(of: $0).count }
    if result.sweep.axis.hasPositions, let fewest = counts.filter({ $0 > 0 }).min(),
      fewest < result.baselines.count
    {
      lines.append(
        "a cell is of the pairs that have its \(result.sweep.axis.hasRoles ? "role" : "position"), of "
          + "\(grouped(fewest)) to \(counted(result.baselines.count, "pair"))"
          + (result.sweep.axis.hasRoles
            ? ""
            : "; where prompts differ in length a position is not the same word in each: --by role")
      )
    }
    let absent = counts.indices.filter { counts[$0] == 0 }
    if result.sweep.axis == .list, !absent.isEmpty {
      let names = absent.prefix(3).map { result.sweep.list[result.cells[$0].number ?? 0].name }
      lines.append(
        "warning: no pair has all places of \(counted(absent.count, "cell")): "
          + names.map { shown($0) }.joined(separator: "; ") + (absent.count > 3 ? "; …" : ""))
    }
    if let check = checks?[number] {
      let differences = zip(metrics, check.largestDifference).map { name, difference in
        (metrics.count > 1 ? "\(name) " : "") + "\(difference)"
      }
      lines.append(
        "verified \(counted(check.runs, "patch", "patches")) by whole forward passes: largest "
          + "difference \(differences.joined(separator: ", "))")
    }
    return lines
  }

  var formula: String {
    switch direction {
    case .denoise: "(patched - corrupted) / (clean - corrupted), ratio of means"
    case .noise: "(patched - clean) / (clean - corrupted), ratio of means"
    case .ablate: "ablated - clean, mean difference"
    }
  }

  /// What the numbers do not show.
  var caution: String {
    switch direction {
    case .denoise:
      "Denoising shows what is sufficient to restore the answer, not what is necessary for it."
    case .noise:
      "Noising shows what the answer depends on; it also hurts where a patch leaves the usual "
        + "range of activations."
    case .ablate:
      "Ablation shows what the answer depends on; other parts may take over what is lost, and values "
        + "out of the usual range hurt by themselves."
    }
  }

  /// What stands beside effects.
  static let statisticsNote =
    "± s.e. is the standard error of the mean difference between the patched metric and the one of "
    + "the receiving run; q is the share of false discoveries to expect among cells that are as "
    + "clear."

  var warnings: [String] {
    selection.warnings(of: first, metric: metrics[0], direction)
      + results.joined().compactMap { result in
        let count = result.nonFiniteCount
        return count == 0
          ? nil
          : "warning: \(grouped(count)) of \(counted(result.cellCount, "patch", "patches")) of "
            + "\(result.sweep.name) gave a \(result.metric) that is not a finite number"
      }
  }

  func mean(_ baselines: [Baseline], _ value: KeyPath<Baseline, Float>) -> Double {
    baselines.reduce(0) { $0 + Double($1[keyPath: value]) } / Double(max(1, baselines.count))
  }

  // In files.

  /// The name of a sweep's and metric's files without their endings: `resid_pre`; with the metric,
  /// `resid_pre-prob`, if there are several.
  func fileName(of result: SweepResult) -> String {
    let name = result.sweep.name
    return metrics.count > 1 ? "\(name)-\(result.metric)" : name
  }

  /// Writes `cells.csv`, the arrays of each sweep and metric, the figures and then `patch.json` into a
  /// directory that is there, each file whole or not at all. An earlier result that is there loses its
  /// `patch.json` before, so that no result is ever of two runs.
  ///
  /// - Parameter answers: texts of the pairs' answers.
  /// - Throws: `FileError`.
  func write(to directory: String, _ figures: PatchFigures, answers: [Int32: String]) throws {
    try ResultsDirectory.write("patch.json", try json(), to: directory) {
      try writeArrays(to: directory)
      try figures.write(to: directory, answers: answers)
    }
  }

  private func writeArrays(to directory: String) throws {
    try replaceFile(directory + "/cells.csv", with: Array(csv().utf8))
    for result in results.joined() {
      let name = "\(directory)/\(fileName(of: result))"
      try replaceFile(name + ".npy", with: effectArray(result))
      try replaceFile(name + "-patched.npy", with: patchedArray(result))
    }
  }

  /// The ratios of means in the sweep's shape, NaN where there is none.
  private func effectArray(_ result: SweepResult) -> [UInt8] {
    NumPyFile.bytes(
      result.cells.indices.map { result.ratioOfMeans(cell: $0) ?? .nan }, shape: result.shape)
  }

  /// [the sweep's shape, pairs]: the metric of every patched run, NaN where a pair has no such cell.
  private func patchedArray(_ result: SweepResult) -> [UInt8] {
    NumPyFile.bytes(
      result.patched.flatMap { $0.map { $0 ?? .nan } },
      shape: result.shape + [selection.pairs.count])
  }

  /// One row a cell and pair.
  private func csv() -> String {
    var text =
      "hook,layer,head,pos,pair,clean,corrupted,patched,effect,metric,src,neuron,role,direction,cell\n"
    for result in results.joined() {
      for (index, cell) in result.cells.enumerated() {
        let hook = result.sweep.hookName(of: cell)
        let number = cell.number
        let cell = result.sweep.place(of: cell)
        let labels = [
          field(cell.neuron), csvText(cell.role ?? ""), field(cell.direction), field(number),
        ].joined(separator: ",")
        for (pair, patched) in result.patched[index].enumerated() {
          guard let patched, let effect = result.effect(cell: index, pair: pair) else { continue }
          let baseline = result.baselines[pair]
          text += "\(hook),\(field(cell.layer)),\(field(cell.head)),"
          text += "\(field(position(of: cell.place, pair: pair))),\(selection.numbers[pair]),"
          text += "\(baseline.clean),"
          text += direction == .ablate ? "," : "\(baseline.corrupted),"
          text += "\(patched),\(effect),\(result.metric),"
          text += "\(field(position(of: cell.key, pair: pair))),\(labels)\n"
        }
      }
    }
    return text
  }

  /// A role has a position of its own in each pair, the first one where it has several.
  private func position(of place: Place?, pair: Int) -> Int? {
    switch place {
    case nil: nil
    case .index(let position): position
    case .role:
      place?.positions(roles: selection.pairs[pair].roles, length: .max)?.lowerBound
    }
  }

  private func field(_ number: Int?) -> String { number.map(String.init) ?? "" }

  func json() throws -> String { try file.json() }

  private var file: PatchFile {
    return PatchFile(
      tool: toolVersion, command: command, direction: direction.rawValue, metric: metrics[0],
      normalisation: formula, fdr: falseDiscovery.rawValue, kernel: Linear.arithmetic,
      cache: cacheIdentity(cache),
      warnings: warnings,
      pairs: selection.pairs.enumerated().map { index, pair in
        .init(
          index: selection.numbers[index], id: pair.id, clean: pair.clean,
          corrupted: direction == .ablate ? nil : pair.corrupted,
          cleanMetric: finite(Double(first[index].clean)),
          corruptedMetric: direction == .ablate ? nil : finite(Double(first[index].corrupted)))
      },
      baselines: means(first),
      metrics: Dictionary(
        uniqueKeysWithValues: zip(metrics, baselines).map { ($0, means($1)) }),
      sweeps: results.enumerated().flatMap { number, sweep in
        sweep.indices.map { entry(ofSweep: number, metric: $0) }
      },
      timing: timing)
  }

  private func means(_ baselines: [Baseline]) -> PatchFile.Means {
    PatchFile.Means(
      clean: finite(mean(baselines, \.clean)),
      corrupted: direction == .ablate ? nil : finite(mean(baselines, \.corrupted)))
  }

  private func entry(ofSweep number: Int, metric: Int) -> PatchFile.Sweep {
    let result = results[number][metric]
    let cells = result.cells.indices
    return PatchFile.Sweep(
      hook: result.sweep.name, metricName: result.metric, source: result.source.name,
      meanOver: { if case .mean(_, let over) = result.source { over.rawValue } else { nil } }(),
      noise: {
        if case .noise(let scale, let seed) = result.source {
          PatchFile.Noise(scale: scale, seed: seed)
        } else {
          nil
        }
      }(), window: result.sweep.window, path: result.sweep.path.map { .init($0) },
      subspace: result.sweep.axis == .direction ? nil : result.sweep.subspaces.first?.dimension,
      layers: result.sweep.layers,
      position: result.sweep.place.flatMap { if case .index(let p) = $0 { p } else { nil } },
      role: result.sweep.place.flatMap { if case .role(let r) = $0 { r } else { nil } },
      axes: result.sweep.axisNames, shape: result.shape,
      labels: result.sweep.axisLabels,
      cells: result.sweep.axis == .list && result.sweep.path == nil
        ? result.sweep.list.map { .init($0) } : nil,
      metric: cells.map { result.meanPatched(cell: $0).flatMap(finite) },
      effect: cells.map { result.ratioOfMeans(cell: $0).flatMap(finite) },
      effectMeanOfRatios: cells.map { result.meanOfRatios(cell: $0).flatMap(finite) },
      difference: statistics[number][metric].columns,
      pairs: cells.map { result.pairs(of: $0).count }, unchanged: result.unchanged,
      verified: checks.map {
        .init(
          runs: $0[number].runs,
          largestDifference: finite(Double($0[number].largestDifference[metric])))
      }, seconds: result.seconds, gflop: result.operations / 1e9)
  }

  /// JSON has no word for NaN and infinity: they become null, and the warnings name the pairs.
  private func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }
}

extension Sweep {
  /// A cell; of a list's cell that is one part, that part.
  fileprivate func place(of cell: Cell) -> Cell {
    guard path == nil, let patches = cell.number.map({ list[$0].patches }), patches.count == 1
    else { return cell }
    return Cell(
      layer: patches[0].hook.layer, head: patches[0].head, place: patches[0].place,
      key: patches[0].key, neuron: patches[0].neuron)
  }
}
