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
      }.filter { filter.takes(effect: $0.numbers.effect, q: $0.numbers.q) }
      let sorted = CellList.sorted(found, by: order)
      return CellList(
        metric: metric, total: sweeps.reduce(0) { $0 + $1.cellCount }, found: found.count,
        facts: top == 0 ? sorted : Array(sorted.prefix(top)))
    }
  }

  private static func sorted(_ facts: [CellFacts], by order: CellOrder) -> [CellFacts] {
    switch order {
    case .effect, .difference: ordered(facts) { $0.numbers.effect.map { -abs($0) } }
    case .q: ordered(facts) { $0.numbers.q }
    case .patched: ordered(facts) { $0.numbers.patched.map { -$0 } }
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
        shown(cell.site.hook), cell.site.cell, text(cell.numbers.effect),
        text(cell.numbers.effectMeanOfRatios),
        text(cell.numbers.patched), cell.numbers.standardError.map { fixed($0, 4) } ?? "",
        cell.numbers.lower.flatMap { lower in
          cell.numbers.upper.map { "[\(signed(lower, 4)), \(signed($0, 4))]" }
        } ?? "", probability(cell.numbers.p), probability(cell.numbers.q),
        grouped(cell.numbers.pairs),
      ])
    }
    lines += table.lines()
    return lines
  }
}

/// Which cell is meant, of which metric.
struct CellSite: Encodable {
  let hook: String
  let layer, head, pos: Int?
  let role: String?
  let src, neuron: Int?
  /// By axis, the places on axes that are none of a hook's own; nil without any.
  let others: [String: String]?
  /// The cell in words.
  let cell: String
  let metric: String

  init(_ cell: ResultCell, metric: String) {
    hook = cell.hook
    layer = cell.layer
    head = cell.head
    pos = cell.position
    role = cell.role
    src = cell.key
    neuron = cell.neuron
    others = cell.others.isEmpty ? nil : cell.others
    self.cell = cell.name
    self.metric = metric
  }

  /// Those of `analyze patch --cells` first; then what it passes over.
  static let csvColumns = ["hook", "layer", "head", "pos", "src", "neuron", "cell", "metric"]

  /// - Parameter axes: further axes to have fields.
  func csv(_ axes: [String]) -> [String] {
    func field(_ number: Int?) -> String { number.map(String.init) ?? "" }
    return [
      csvText(hook), field(layer), field(head), pos.map(String.init) ?? role.map(csvText) ?? "",
      field(src), field(neuron), csvText(cell), csvText(metric),
    ] + axes.map { others?[$0].map(csvText) ?? "" }
  }
}

/// What a result says about one cell. Statistics are those of patched − unpatched.
struct CellFacts: Encodable {
  let site: CellSite
  let numbers: Numbers

  struct Numbers: Encodable {
    let effect, effectMeanOfRatios, patched, standardError, lower, upper, p, q: Double?
    /// How many pairs have the cell.
    let pairs: Int
  }

  init(_ cell: ResultCell, of sweep: PatchFile.Sweep) {
    let (index, difference) = (cell.index, sweep.difference)
    site = CellSite(cell, metric: sweep.metricName)
    numbers = Numbers(
      effect: sweep.effect[index], effectMeanOfRatios: sweep.effectMeanOfRatios[index],
      patched: sweep.metric[index], standardError: difference.standardError[index],
      lower: difference.lower[index], upper: difference.upper[index], p: difference.p[index],
      q: difference.q[index], pairs: sweep.pairs[index])
  }

  /// One object of both.
  func encode(to encoder: any Encoder) throws {
    try site.encode(to: encoder)
    try numbers.encode(to: encoder)
  }

  static let csvColumns = [
    "effect", "effect_mean_of_ratios", "patched", "standard_error", "lower", "upper", "p", "q",
    "pairs",
  ]

  static func csvHeader(_ axes: [String]) -> String {
    (CellSite.csvColumns + axes.map(csvText) + csvColumns).joined(separator: ",")
  }

  /// - Parameter axes: those of `csvHeader`.
  func csv(_ axes: [String]) -> String {
    let values = [
      numbers.effect, numbers.effectMeanOfRatios, numbers.patched, numbers.standardError,
      numbers.lower, numbers.upper, numbers.p, numbers.q,
    ]
    return (site.csv(axes) + values.map(csvNumber) + [String(numbers.pairs)]).joined(separator: ",")
  }
}

// How numbers and texts of cells are written.

func text(_ effect: Double?) -> String { effect.map { signed($0, 4) } ?? "" }

func probability(_ value: Double?) -> String {
  value.map { $0 < 0.0001 ? "<.0001" : fixed($0, 4) } ?? ""
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
