import Terminal

/// Two results cell by cell.
struct ResultComparison: Encodable {
  /// What two sweeps of one hook, metric and axes say about the cells of both.
  struct Sweep: Encodable {
    let hook: String
    let metric: String
    let axes: [String]
    /// How many cells have an effect in both, and are left by the filters.
    let common: Int
    /// How many, at the places asked for, have an effect in one alone.
    let onlyA, onlyB: Int
    /// Of effect B − effect A: the one that is the largest of either sign, its cell, and the root of
    /// the mean square.
    let largestDifference: Double?
    let largestCell: String?
    let rootMeanSquare: Double?
    /// Pearson's correlation of the effects; nil where one result's effects are all equal.
    let correlation: Double?
    let cells: [Cell]
  }

  struct Cell: Encodable {
    let hook: String
    let layer, head, pos, src, neuron: Int?
    let role: String?
    /// The cell in words.
    let cell: String
    let effectA, effectB: Double
    /// effect B − effect A.
    let difference: Double
    let metric: String

    static let csvHeader =
      "hook,layer,head,pos,src,neuron,cell,effect_a,effect_b,difference,metric"

    var csv: String {
      let site = csvSite(hook, layer, head, pos, role, src.map(String.init), neuron, cell)
      return (site + [effectA, effectB, difference].map(csvNumber) + [csvText(metric)])
        .joined(separator: ",")
    }
  }

  /// The directories.
  let a, b: String
  /// In what the two results differ besides their effects.
  let warnings: [String]
  /// The sweeps that one result alone has.
  let onlyA, onlyB: [String]
  let sweeps: [Sweep]

  /// - Parameter top: the most cells of each sweep; 0 for all.
  init(
    _ a: (directory: String, file: PatchFile), _ b: (directory: String, file: PatchFile),
    _ filter: CellFilter.Resolved, by order: CellOrder, top: Int
  ) {
    self.a = a.directory
    self.b = b.directory
    var warnings = ResultComparison.warnings(a.file, b.file)
    var rest = b.file.sweeps.filter(filter.takes)
    var onlyA: [String] = []
    var sweeps: [Sweep] = []
    for sweep in a.file.sweeps where filter.takes(sweep) {
      guard let match = rest.firstIndex(where: { $0.isComparable(to: sweep) }) else {
        onlyA.append(sweep.title)
        continue
      }
      let other = rest.remove(at: match)
      warnings += ResultComparison.warnings(sweep, other)
      sweeps.append(Sweep(sweep, other, filter, by: order, top: top))
    }
    self.warnings = warnings
    self.onlyA = onlyA
    onlyB = rest.map(\.title)
    self.sweeps = sweeps
  }

  private static func warnings(_ a: PatchFile, _ b: PatchFile) -> [String] {
    func pairs(_ file: PatchFile) -> [String] {
      // Ablations have no corrupted prompts.
      let isClean = [a, b].contains { $0.pairs.allSatisfy { $0.corrupted == nil } }
      return file.pairs.map {
        "\($0.index) \($0.id ?? "") \($0.clean) \(isClean ? -1 : $0.corrupted ?? -1)"
      }
    }
    func metrics(_ file: PatchFile) -> String {
      unique(file.sweeps.map(\.metricName)).joined(separator: ", ")
    }
    var warnings = [
      difference("direction", a.direction, b.direction),
      difference("normalisation", a.normalisation, b.normalisation),
      difference("metrics", metrics(a), metrics(b)),
      difference("cache plan", a.cache.plan, b.cache.plan),
      difference("weights digest", a.cache.weights, b.cache.weights),
      difference("weights", a.cache.weightProcessing, b.cache.weightProcessing),
      difference("BOS prepended", words(a.cache.prependBos), words(b.cache.prependBos)),
      difference(
        "runs", a.cache.patched ?? "the model's own", b.cache.patched ?? "the model's own"),
      difference("kernels", a.kernel, b.kernel),
      difference("method of the q-values", a.fdr, b.fdr),
    ].compactMap { $0 }
    if pairs(a) != pairs(b) {
      warnings.append(
        "pairs: \(grouped(a.pairs.count)) in A, \(grouped(b.pairs.count)) in B, not the same prompts"
      )
    }
    return warnings
  }

  private static func warnings(_ a: PatchFile.Sweep, _ b: PatchFile.Sweep) -> [String] {
    func position(_ sweep: PatchFile.Sweep) -> String {
      sweep.position.map(String.init) ?? sweep.role ?? "all"
    }
    func noise(_ sweep: PatchFile.Sweep) -> String {
      sweep.noise.map { "scale \($0.scale), seed \($0.seed)" } ?? "unknown"
    }
    return [
      difference("source", a.source, b.source),
      // Of two sources of one kind alone: those of others are told by their names.
      a.source == b.source
        ? difference("mean over", a.meanOver ?? "unknown", b.meanOver ?? "unknown") : nil,
      a.source == b.source ? difference("noise", noise(a), noise(b)) : nil,
      difference("window", String(a.window), String(b.window)),
      difference("paths", a.path?.definition ?? "none", b.path?.definition ?? "none"),
      difference("position", position(a), position(b)),
      difference(
        "dimensions of the subspace", a.subspace.map(String.init) ?? "all",
        b.subspace.map(String.init) ?? "all"),
    ].compactMap { $0.map { "\(shown(a.hook)), \($0)" } }
  }

  private static func words(_ fact: Bool?) -> String { fact.map { $0 ? "yes" : "no" } ?? "unknown" }

  private static func difference(_ what: String, _ a: String, _ b: String) -> String? {
    a == b ? nil : "\(what): \(shown(a)) in A, \(shown(b)) in B"
  }
}

extension PatchFile.Sweep {
  /// The hook, metric and axes.
  var title: String { "\(shown(hook))  \(axesText), \(shown(metricName))" }

  /// Whether its cells are those of another sweep, so far as both have them: paths by both definitions are.
  fileprivate func isComparable(to other: PatchFile.Sweep) -> Bool {
    let isSame =
      if let path, let others = other.path { path.ends == others.ends } else { hook == other.hook }
    return isSame && metricName == other.metricName && axes == other.axes
  }
}

extension ResultComparison.Sweep {
  fileprivate init(
    _ a: PatchFile.Sweep, _ b: PatchFile.Sweep, _ filter: CellFilter.Resolved,
    by order: CellOrder, top: Int
  ) {
    func defined(_ sweep: PatchFile.Sweep) -> [ResultCell] {
      filter.cells(of: sweep).filter { sweep.effect[$0.index] != nil }
    }
    var others = Dictionary(
      defined(b).map { ($0.identity, $0) }, uniquingKeysWith: { one, _ in one })
    var onlyA = 0
    var rows: [(cell: ResultComparison.Cell, patched: Double?, q: Double?)] = []
    for cell in defined(a) {
      guard let effect = a.effect[cell.index] else { continue }
      guard let match = others.removeValue(forKey: cell.identity),
        let other = b.effect[match.index]
      else {
        onlyA += 1
        continue
      }
      let q = a.difference.q[cell.index]
      guard
        filter.takes(effect: effect, q: q)
          || filter.takes(effect: other, q: b.difference.q[match.index])
      else { continue }
      let row = ResultComparison.Cell(
        hook: cell.hook, layer: cell.layer, head: cell.head, pos: cell.position, src: cell.key,
        neuron: cell.neuron, role: cell.role, cell: cell.name, effectA: effect, effectB: other,
        difference: other - effect, metric: a.metricName)
      rows.append((row, a.metric[cell.index], q))
    }
    let sorted =
      switch order {
      case .difference: ordered(rows) { -abs($0.cell.difference) }
      case .effect: ordered(rows) { -abs($0.cell.effectA) }
      case .q: ordered(rows) { $0.q }
      case .patched: ordered(rows) { $0.patched.map { -$0 } }
      case .cell: rows
      }
    let largest = rows.max { abs($0.cell.difference) < abs($1.cell.difference) }?.cell
    hook = a.hook
    metric = a.metricName
    axes = a.axes
    common = rows.count
    self.onlyA = onlyA
    onlyB = others.count
    largestDifference = largest.flatMap { finite($0.difference) }
    largestCell = largest?.cell
    rootMeanSquare = finite(
      (rows.reduce(0) { $0 + $1.cell.difference * $1.cell.difference } / Double(rows.count))
        .squareRoot())
    correlation = pearson(rows.map(\.cell.effectA), rows.map(\.cell.effectB))
    cells = (top == 0 ? sorted : Array(sorted.prefix(top))).map(\.cell)
  }
}

private func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }

/// Pearson's correlation coefficient, Σ (x − x̄)(y − ȳ) / sqrt(Σ (x − x̄)² Σ (y − ȳ)²).
///
/// - Returns: nil if all x or all y are equal, or the sums are not finite.
func pearson(_ x: [Double], _ y: [Double]) -> Double? {
  let count = Double(x.count)
  let (meanX, meanY) = (x.reduce(0, +) / count, y.reduce(0, +) / count)
  var (xx, yy, xy) = (0.0, 0.0, 0.0)
  for (x, y) in zip(x, y) {
    xx += (x - meanX) * (x - meanX)
    yy += (y - meanY) * (y - meanY)
    xy += (x - meanX) * (y - meanY)
  }
  guard xx > 0, yy > 0 else { return nil }
  return finite(xy / (xx.squareRoot() * yy.squareRoot()))
}

// In words.

extension ResultComparison {
  func lines(style: Style) -> [String] {
    var lines = ["A  \(shown(a))", "B  \(shown(b))"]
    lines += warnings.map { "warning: \($0)" }
    for sweep in sweeps { lines += [""] + sweep.lines(style: style) }
    for (name, titles) in [("A", onlyA), ("B", onlyB)] where !titles.isEmpty {
      lines.append("")
      lines += titles.map { "only \(name) has \($0)" }
    }
    if sweeps.isEmpty { lines += ["", "no sweep is in both results"] }
    return lines
  }
}

extension ResultComparison.Sweep {
  fileprivate func lines(style: Style) -> [String] {
    var lines = [
      style.bold("\(shown(hook))  \(axes.map(shown).joined(separator: " × "))  \(shown(metric))")
    ]
    var facts = [counted(common, "common cell")]
    if onlyA > 0 { facts.append("\(grouped(onlyA)) in A only") }
    if onlyB > 0 { facts.append("\(grouped(onlyB)) in B only") }
    if let largestDifference, let largestCell {
      facts.append("largest difference \(significant(largestDifference, 4)) at \(largestCell)")
    }
    if let rootMeanSquare {
      facts.append("root mean square difference \(significant(rootMeanSquare, 4))")
    }
    if let correlation { facts.append("Pearson correlation \(significant(correlation, 8))") }
    lines.append(facts.joined(separator: ", "))
    guard !cells.isEmpty else { return lines }
    var table = Table([.left, .right, .right, .right])
    table.add(["cell", "effect A", "effect B", "B - A"])
    for cell in cells {
      table.add([
        cell.cell, text(cell.effectA), text(cell.effectB), significant(cell.difference, 4),
      ])
    }
    return lines + table.lines()
  }
}
