import CacheFormat
import FileIO
import FoundationEssentials
import Model
import Patching
import Terminal

/// The tests of a circuit in words, as JSON and as CSV.
struct CircuitReport {
  let command: [String]
  /// Of the circuit.
  let path: String
  let circuit: Circuit
  let loaded: LoadedTask
  let source: PatchSource
  let found: CircuitEvaluation
  let seed: UInt64
  let checks: [BruteForceCheck]?

  private var metric: String { loaded.metrics[0].name }

  // In words.

  func lines(style: Style) -> [String] {
    let plan = loaded.cache.plan
    let pairs = found.model.count
    let classes = circuit.classes.count
    var lines = [
      style.bold(
        "circuit \(shown(path)): \(counted(circuit.members.count, "head")) in "
          + counted(classes, "class", "classes"))
        + "  (\(plan.model.name), weights \(plan.weights), \(Linear.arithmetic) kernels)",
      "F = mean \(metric) of \(counted(pairs, "clean prompt")); outside the circuit z is "
        + sourceText,
      "F(M) \(signed(mean(found.model), 4))   F(C) \(signed(mean(found.circuit), 4))   "
        + "|F(M) - F(C)| \(fixed(found.unfaithfulness, 4))   F(C) / F(M) "
        + (found.share.map { fixed($0, 4) } ?? "undefined"),
    ]
    lines += ["", style.bold("minimality: |F(C\\(K+v)) - F(C\\K)| / |F(M)|")]
    var table = Table([.left, .left, .left, .right, .right, .right, .right, .left])
    table.add(["class", "v", "at", "F(C\\K)", "F(C\\(K+v))", "score", "± s.e.", "K"])
    for test in found.minimality {
      let member = circuit.members[test.member]
      table.add([
        shown(member.className), member.head.description, places(member),
        signed(mean(test.base), 4), signed(mean(test.without), 4),
        found.score(test).map { fixed($0, 4) } ?? "", scoreError(test).map { fixed($0, 4) } ?? "",
        names(test.companions),
      ])
    }
    lines += table.lines()
    lines += ["", style.bold("completeness: |F(C\\K) - F(M\\K)|")]
    var sets = Table([.left, .right, .right, .right, .right, .left])
    sets.add(["K", "heads", "F(M\\K)", "F(C\\K)", "difference", ""])
    for test in found.completeness {
      sets.add([
        shown(test.name), "\(test.removed.count)", signed(mean(test.model), 4),
        signed(mean(test.circuit), 4), fixed(test.difference, 4), names(test.removed),
      ])
    }
    lines += sets.lines()
    if let verified {
      lines += [
        "",
        "verified \(counted(verified.runs, "run")) by whole forward passes: largest difference "
          + "\(verified.largest)",
      ]
    }
    return lines
  }

  var sourceText: String {
    switch source {
    case .otherRun: "the corrupted run's"
    case .mean(.everywhere, let over): "its mean over all positions of the \(over) prompts"
    case .mean(.byPosition, let over): "its mean at each position over the \(over) prompts"
    case .mean(.byTemplate, let over):
      "its mean at each position over the \(over) prompts of the same template"
    case .zero, .noise: "zero"
    }
  }

  private func places(_ member: Circuit.Member) -> String {
    member.places.isEmpty
      ? "all positions" : member.places.map { shown($0.description) }.joined(separator: " ")
  }

  private func names(_ members: Set<Int>) -> String {
    members.sorted().map { circuit.members[$0].head.description }.joined(separator: " ")
  }

  /// The standard error over the pairs of a score, F(M) taken as it is.
  private func scoreError(_ test: CircuitEvaluation.Minimality) -> Double? {
    let changes = zip(test.without, test.base).map { Double($0) - Double($1) }
    let statistics = CellStatistics(
      effects: changes, resampling: Resampling(resamples: 0, permutations: 0))
    guard let error = statistics.standardError, found.share != nil else { return nil }
    return error / abs(mean(found.model))
  }

  private var verified: (runs: Int, largest: Float)? {
    checks.map { ($0.reduce(0) { $0 + $1.runs }, $0.largest) }
  }

  // In files.

  /// Writes `circuit.json`, `minimality.csv`, `completeness.csv` and `completeness.svg` into a directory
  /// that is there, each file whole or not at all.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try ResultsDirectory.write("circuit.json", try json(), to: directory) {
      try replaceFile(directory + "/minimality.csv", with: Array(minimalityCSV.utf8))
      try replaceFile(directory + "/completeness.csv", with: Array(completenessCSV.utf8))
      try replaceFile(
        directory + "/completeness.svg", with: Array(completenessPicture.file().utf8))
    }
  }

  private var minimalityCSV: String {
    var text = "class,layer,head,pos,k,circuit_without_k,circuit_without_k_and_v,change,score\n"
    for test in found.minimality {
      let member = circuit.members[test.member]
      let places = member.places.map(\.description).joined(separator: " ")
      text += "\(csvText(member.className)),\(member.head.layer),\(member.head.head),"
      text += "\(csvText(places)),\(names(test.companions)),"
      text += "\(mean(test.base)),\(mean(test.without)),\(test.change),"
      text += "\(csvNumber(found.score(test)))\n"
    }
    return text
  }

  private var completenessCSV: String {
    var text = "name,k,model_without_k,circuit_without_k,difference\n"
    for test in found.completeness {
      text += "\(csvText(test.name)),\(names(test.removed)),"
      text += "\(mean(test.model)),\(mean(test.circuit)),\(test.difference)\n"
    }
    return text
  }

  var completenessPicture: ScatterSVG {
    ScatterSVG(
      heading: [
        "Completeness of \(path)",
        "F = mean \(metric) of \(counted(found.model.count, "clean prompt")), "
          + "\(loaded.cache.plan.model.name)",
        "a complete circuit is on the line",
      ],
      x: "F(M\\K)", y: "F(C\\K)",
      points: found.completeness.map {
        ScatterSVG.Point(
          x: mean($0.model), y: mean($0.circuit),
          label: $0.name.hasPrefix("random ") ? "" : $0.name,
          title: "K = \(names($0.removed).isEmpty ? "nothing" : names($0.removed))",
          isHollow: $0.name.hasPrefix("random "))
      }, hasDiagonal: true,
      description:
        "Points of F(M\\K) and F(C\\K) for \(counted(found.completeness.count, "set")) K.")
  }

  func json() throws -> String { try encodedJSON(result) }

  var result: CircuitResult {
    CircuitResult(
      tool: toolVersion, command: command, circuit: path, metric: metric, source: source.name,
      meanOver: meanOver, seed: seed, kernel: Linear.arithmetic,
      cache: cacheIdentity(loaded.cache),
      pairs: found.model.count, fModel: mean(found.model), fCircuit: mean(found.circuit),
      unfaithfulness: found.unfaithfulness, share: found.share,
      minimality: found.minimality.map { test in
        let member = circuit.members[test.member]
        return CircuitResult.Minimality(
          class: member.className, head: member.head.description,
          pos: member.places.map(\.description), k: list(test.companions),
          circuitWithoutK: mean(test.base), circuitWithoutKAndV: mean(test.without),
          change: test.change, score: found.score(test), standardError: scoreError(test))
      },
      completeness: found.completeness.map { test in
        CircuitResult.Completeness(
          name: test.name, k: list(test.removed), modelWithoutK: mean(test.model),
          circuitWithoutK: mean(test.circuit), difference: test.difference)
      },
      verified: verified.map {
        PatchFile.Verified(runs: $0.runs, largestDifference: Double($0.largest))
      })
  }

  private var meanOver: String? {
    if case .mean(_, let over) = source { over.rawValue } else { nil }
  }

  private func list(_ members: Set<Int>) -> [String] {
    members.sorted().map { circuit.members[$0].head.description }
  }

  private func mean(_ values: [Float]) -> Double {
    values.reduce(0) { $0 + Double($1) } / Double(max(1, values.count))
  }
}

/// `circuit.json`.
struct CircuitResult: Codable {
  struct Minimality: Codable {
    let `class`, head: String
    let pos, k: [String]
    let circuitWithoutK, circuitWithoutKAndV, change: Double
    let score, standardError: Double?
  }

  struct Completeness: Codable {
    let name: String
    let k: [String]
    let modelWithoutK, circuitWithoutK, difference: Double
  }

  let tool: String
  let command: [String]
  let circuit, metric, source: String
  let meanOver: String?
  let seed: UInt64
  let kernel: String
  let cache: PatchFile.Identity
  let pairs: Int
  let fModel, fCircuit, unfaithfulness: Double
  let share: Double?
  let minimality: [Minimality]
  let completeness: [Completeness]
  let verified: PatchFile.Verified?
}
