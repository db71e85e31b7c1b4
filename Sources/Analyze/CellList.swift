import ArgumentParser
import Terminal

/// What a list of cells begins with.
enum CellOrder: String, CaseIterable, ExpressibleByArgument {
  /// The largest effects, of either sign.
  case effect
  /// The smallest q-values.
  case q
  /// The largest patched metrics.
  case patched
  /// The first cell of the sweep.
  case cell
  /// Of two results, the largest differences.
  case difference
}

/// The places of rows in order, those without a number last.
///
/// - Parameter value: what is sorted by, the smallest first; equal ones stay as they are.
func ordered<Row>(_ rows: [Row], by value: (Row) -> Double?) -> [Row] {
  rows.enumerated().map { (value($1) ?? .infinity, $0, $1) }
    .sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map { $0.2 }
}

/// The cells of one metric of a result, across its sweeps.
struct CellList {
  let metric: String
  /// How many cells there are, listed or not.
  let total: Int
  /// How many of them the filters leave.
  let found: Int
  let facts: [CellFacts]

  /// The lists of a result, one a metric.
  ///
  /// - Parameter top: the most cells of each; 0 for all.
  static func lists(
    of file: PatchFile, _ filter: CellFilter.Resolved, by order: CellOrder, top: Int
  ) -> [CellList] {
    unique(file.sweeps.filter(filter.takes).map(\.metricName)).map { metric in
      let sweeps = file.sweeps.filter { $0.metricName == metric }
      let found = sweeps.flatMap { sweep in
        filter.cells(of: sweep).map { CellFacts($0, of: sweep) }
      }.filter { filter.takes(effect: $0.effect, q: $0.q) }
      let sorted = CellList.sorted(found, by: order)
      return CellList(
        metric: metric, total: sweeps.reduce(0) { $0 + $1.cellCount }, found: found.count,
        facts: top == 0 ? sorted : Array(sorted.prefix(top)))
    }
  }

  private static func sorted(_ facts: [CellFacts], by order: CellOrder) -> [CellFacts] {
    switch order {
    case .effect, .difference: ordered(facts) { $0.effect.map { -abs($0) } }
    case .q: ordered(facts) { $0.q }
    case .patched: ordered(facts) { $0.patched.map { -$0 } }
    case .cell: facts
    }
  }

  func lines(namesMetric: Bool, style: Style) -> [String] {
    let filtered = found < total ? ", \(grouped(total)) without filters" : ""
    let title =
      (facts.count < found ? "\(grouped(facts.count)) of " : "") + counted(found, "cell") + filtered
    var lines = [style.bold((namesMetric ? "\(shown(metric))  " : "") + title)]
    guard !facts.isEmpty else { return lines }
    var table = Table([.left, .left] + Array(repeating: .right, count: 8))
    table.add([
      "hook", "cell", "effect", "of ratios", "patched", "± s.e.", "interval", "p", "q", "pairs",
    ])
    for cell in facts {
      table.add([
        shown(cell.hook), cell.cell, text(cell.effect), text(cell.effectMeanOfRatios),
        text(cell.patched), cell.standardError.map { fixed($0, 4) } ?? "",
        cell.lower.flatMap { lower in
          cell.upper.map { "[\(signed(lower, 4)), \(signed($0, 4))]" }
        } ?? "", probability(cell.p), probability(cell.q), grouped(cell.pairs),
      ])
    }
    lines += table.lines()
    return lines
  }
}

/// What a result says about one cell. Statistics are those of patched − unpatched.
struct CellFacts: Encodable {
  let hook: String
  let layer, head, pos, src, neuron: Int?
  let role: String?
  /// The cell in words.
  let cell: String
  let effect, effectMeanOfRatios, patched, standardError, lower, upper, p, q: Double?
  /// How many pairs have the cell.
  let pairs: Int
  let metric: String
  /// Where it is one of a list: what its parts are called together, and these.
  let group: String?
  let parts: [PatchFile.Part]?

  init(_ cell: ResultCell, of sweep: PatchFile.Sweep) {
    let index = cell.index
    hook = cell.hook
    layer = cell.layer
    head = cell.head
    pos = cell.position
    src = cell.key
    neuron = cell.neuron
    role = cell.role
    self.cell = cell.name
    effect = sweep.effect[index]
    effectMeanOfRatios = sweep.effectMeanOfRatios[index]
    patched = sweep.metric[index]
    standardError = sweep.difference.standardError[index]
    lower = sweep.difference.lower[index]
    upper = sweep.difference.upper[index]
    p = sweep.difference.p[index]
    q = sweep.difference.q[index]
    pairs = sweep.pairs[index]
    metric = sweep.metricName
    group = cell.listed?.group
    parts = cell.listed?.parts
  }

  static let csvHeader =
    "hook,layer,head,pos,src,neuron,cell,effect,effect_mean_of_ratios,patched,standard_error,"
    + "lower,upper,p,q,pairs,metric"

  var csv: String { row(csvSite(hook, layer, head, pos, role, src.map(String.init), neuron, cell)) }

  /// A row a part, its group first.
  ///
  /// - Parameter number: what parts without a name are held together by.
  func csvParts(number: Int) -> [String] {
    guard let parts else { return ["," + csv] }
    let group = group ?? (parts.count > 1 ? "cell \(number)" : "")
    return parts.map { part in
      csvText(group) + ","
        + row(
          csvSite(
            part.hook, part.layer, part.head, nil, part.pos, part.src, part.neuron, cell))
    }
  }

  private func row(_ site: [String]) -> String {
    let numbers = [effect, effectMeanOfRatios, patched, standardError, lower, upper, p, q]
    return (site + numbers.map(csvNumber) + [String(pairs), csvText(metric)]).joined(separator: ",")
  }
}

// How numbers and texts of cells are written.

func text(_ effect: Double?) -> String { effect.map { signed($0, 4) } ?? "" }

func probability(_ value: Double?) -> String {
  value.map { $0 < 0.0001 ? "<.0001" : fixed($0, 4) } ?? ""
}

/// The columns of a cell that every list of cells begins with.
func csvSite(
  _ hook: String, _ layer: Int?, _ head: Int?, _ position: Int?, _ role: String?, _ key: String?,
  _ neuron: Int?, _ name: String
) -> [String] {
  func field(_ number: Int?) -> String { number.map(String.init) ?? "" }
  return [
    csvText(hook), field(layer), field(head), role.map(csvText) ?? field(position),
    csvText(key ?? ""),
    field(neuron), csvText(name),
  ]
}

func csvNumber(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }

/// A text as a field of a CSV file (RFC 4180): in quotes where a comma, quote or line break is in it.
func csvText(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: { [",", "\"", "\n", "\r"].contains($0) }) else {
    return text
  }
  var quoted = "\""
  for scalar in text.unicodeScalars {
    if scalar == "\"" { quoted += "\"" }
    quoted.unicodeScalars.append(scalar)
  }
  return quoted + "\""
}
