import CacheFormat
import Model
import Patching
import Terminal

/// What stands above the columns of a heatmap, and names its cells.
struct ColumnLabels {
  /// Token texts by position, if all pairs have the same length; taken from the first clean prompt.
  private let pieces: [String]?
  private let sweep: Sweep

  init(_ result: SweepResult, pairs: [PatchingPair], prompts: [Prompt]) {
    sweep = result.sweep
    let lengths = Set(pairs.map { prompts[$0.clean].tokens.count })
    pieces = lengths.count == 1 ? pairs.first.map { prompts[$0.clean].pieces } : nil
  }

  /// The token at a position, if that means the same in every pair.
  func piece(_ position: Int) -> String? {
    guard let pieces, pieces.indices.contains(position) else { return nil }
    return visible(pieces[position])
  }

  /// A cell in words, such as `L5 H1 all positions` or `L0 pos 10 ␣John`.
  func name(of cell: Cell) -> String { sweep.name(of: cell, token: piece) }
}

/// The effects of a sweep as a table of numbers with shades, one row a layer (and position).
struct Heatmap {
  private let header: [[String]]
  private let rows: [(label: String, effects: [Double?])]
  /// What has the shade of an effect of 1.
  private let unit: Double
  private static let cellWidth = 7
  private static let mostNumericColumns = 20
  /// Columns that a terminal has room for, two characters each.
  private static let mostColumns = 128

  init(_ result: SweepResult, labels: ColumnLabels) {
    let columns = [.all, .list].contains(result.sweep.axis) ? 1 : result.shape.last ?? 1
    let effects = result.cells.indices.map { result.ratioOfMeans(cell: $0) }
    // Effects of ablations are in the metric's units: the largest has the densest shade.
    unit = result.direction == .ablate ? 2 * EffectGrid.scale(of: effects) : 1
    rows = stride(from: 0, to: effects.count, by: max(1, columns)).map { first in
      let cell = result.cells[first]
      var label =
        cell.layer.map { "L\($0)" } ?? cell.number.map { result.sweep.list[$0].name }
        ?? result.sweep.name
      if result.sweep.axis == .headEdge { label += " H\(cell.head ?? 0)" }
      if [.headPosition, .headEdge].contains(result.sweep.axis) {
        label += " pos \(cell.position ?? 0)"
      }
      if result.sweep.axis == .headRole, let role = cell.role { label += " \(role)" }
      return (label, Array(effects[first..<min(first + columns, effects.count)]))
    }
    switch result.sweep.axis {
    case .position, .headEdge:
      let numbers = (0..<columns).map(String.init)
      let pieces = (0..<columns).map { labels.piece($0) ?? "" }
      header = pieces.contains { !$0.isEmpty } ? [numbers, pieces] : [numbers]
    case .head, .headPosition, .headRole: header = [(0..<columns).map { "H\($0)" }]
    case .neuron, .direction: header = [(0..<columns).map(String.init)]
    case .role: header = [result.sweep.roles]
    case .all, .list: header = [["effect"]]
    }
  }

  /// A grid whose largest number has the densest shade.
  init(_ grid: EffectGrid) {
    let columns = max(1, grid.columns.count)
    rows = grid.rows.indices.map {
      (grid.rows[$0], Array(grid.effects[$0 * columns..<($0 + 1) * columns]))
    }
    let texts = grid.tokens?.texts ?? []
    header = texts.isEmpty ? [grid.columns] : [grid.columns, texts]
    unit = 2 * grid.scale
  }

  func lines(style: Style) -> [String] {
    let columns = rows.first?.effects.count ?? 0
    guard columns <= Heatmap.mostColumns else {
      return [
        "\(grouped(rows.count)) × \(grouped(columns)) cells: more than a terminal has room for"
      ]
    }
    let numeric = columns <= Heatmap.mostNumericColumns
    let width = numeric ? Heatmap.cellWidth : 2
    let labelWidth = rows.map { $0.label.count }.max() ?? 0
    let margin = String(repeating: " ", count: labelWidth + 1)
    var lines: [String] = []
    if numeric {
      for titles in header {
        lines.append(
          margin
            + titles.map { padded(clipped($0, to: width - 1), to: width, .right) }.joined())
      }
    } else {
      // Narrow columns have room for every fifth number only.
      let marks = stride(from: 0, to: columns, by: 5).map { padded("\($0)", to: 10, .left) }
      lines.append(margin + marks.joined())
    }
    let largest = rows.flatMap(\.effects).compactMap { $0.map(abs) }.max() ?? 0
    for row in rows {
      let cells = row.effects.map { effect in
        cell(effect, numeric: numeric, largest: largest, style: style)
      }
      lines.append(padded(row.label, to: labelWidth, .right) + " " + cells.joined())
    }
    return lines
  }

  private func cell(_ effect: Double?, numeric: Bool, largest: Double, style: Style) -> String {
    guard let effect else { return String(repeating: " ", count: numeric ? Heatmap.cellWidth : 2) }
    let shade = Heatmap.shade(effect / unit)
    let isSmall = abs(effect / unit) < 0.02
    let number = Heatmap.number(effect, isFine: unit < 0.4)
    if style.usesColor {
      let text =
        numeric
        ? padded(isSmall ? "·" : number, to: Heatmap.cellWidth - 1, .right) + " "
        : "  "
      return Heatmap.colored(text, effect, largest: largest)
    }
    if !numeric { return effect < 0 && !isSmall ? "-" + shade : shade + shade }
    let text = isSmall ? "·" : shade + padded(number, to: 5, .right)
    return padded(text, to: Heatmap.cellWidth, .right)
  }

  /// A number of five characters, as long as it is not too large.
  ///
  /// - Parameter isFine: whether all of the numbers are small.
  private static func number(_ effect: Double, isFine: Bool) -> String {
    switch abs(effect) {
    case ..<0.2 where isFine:
      let text = fixed(effect, 3)
      return effect < 0 ? "-" + text.dropFirst(2) : text
    case ..<9.995: return fixed(effect, 2)
    case ..<99.95: return fixed(effect, 1)
    default: return fixed(effect, 0)
    }
  }

  /// Denser for larger effects of either sign: from .02, .05, .1 and .2 on.
  private static func shade(_ effect: Double) -> String {
    switch abs(effect) {
    case ..<0.02: "·"
    case ..<0.05: "░"
    case ..<0.1: "▒"
    case ..<0.2: "▓"
    default: "█"
    }
  }

  /// Blue for positive, red for negative effects, stronger for larger ones, on white.
  private static func colored(_ text: String, _ effect: Double, largest: Double) -> String {
    let strength = largest > 0 ? min(1, abs(effect) / largest) : 0
    let (red, green, blue) = effect >= 0 ? (33.0, 102.0, 172.0) : (178.0, 24.0, 43.0)
    func mixed(_ channel: Double) -> Int { Int(247 + (channel - 247) * strength) }
    let ink = strength > 0.55 ? "38;2;255;255;255" : "38;2;0;0;0"
    return
      "\u{1B}[\(ink);48;2;\(mixed(red));\(mixed(green));\(mixed(blue))m\(text)\u{1B}[0m"
  }

  private func clipped(_ text: String, to width: Int) -> String {
    displayWidth(text) <= width ? text : String(text.prefix(width - 1)) + "…"
  }
}

/// The cells with the largest effects, with bars of up to twenty characters. From two pairs on, what
/// follows the patched metric is the standard error of its mean difference to the unpatched one, and
/// q, the share of false discoveries to expect among cells that are as clear.
func topCells(
  of result: SweepResult, _ statistics: SweepStatistics, count: Int, labels: ColumnLabels
) -> [String] {
  let effects = result.cells.indices.map { result.ratioOfMeans(cell: $0) }
  let ranked = rankedCells(effects, count: count).map { ($0, effects[$0] ?? 0) }
  guard !ranked.isEmpty else { return [noEffect(effects)] }
  // The effect of twenty characters: 1, but for effects in units, and where one is well beyond it.
  let largest = abs(ranked[0].1)
  let whole = result.direction == .ablate || largest > 1.25 ? largest : 1
  let pairs = result.cells.indices.map { result.pairs(of: $0).count }
  // Where prompts differ in length.
  let counts = pairs.contains { $0 < result.baselines.count }
  var table = Table([.left, .right, .right, .right, .right] + (counts ? [.right] : []) + [.left])
  table.add(["top cells", "effect", "patched", "± s.e.", "q"] + (counts ? ["pairs"] : []) + [""])
  for (index, effect) in ranked {
    let length = Int(20 * min(1, abs(effect) / whole))
    let numbers = [
      labels.name(of: result.cells[index]), signed(effect, 4),
      result.meanPatched(cell: index).map { signed($0, 4) } ?? "",
      statistics.cells[index].standardError.map { fixed($0, 4) } ?? "",
      statistics.q[index].map { $0 < 0.0001 ? "<.0001" : fixed($0, 4) } ?? "",
    ]
    table.add(
      numbers + (counts ? [grouped(pairs[index])] : [])
        + [String(repeating: effect < 0 ? "▒" : "█", count: length)])
  }
  return table.lines()
}

/// What is said in place of the largest effects where there are none.
func noEffect(_ effects: [Double?]) -> String {
  effects.contains { $0?.isFinite == false }
    ? "no cell has an effect that is a finite number" : "no cell has any effect"
}

/// The cells with the largest finite effects of either sign, without those of 0.
func rankedCells(_ effects: [Double?], count: Int) -> [Int] {
  func size(_ cell: Int) -> Double { abs(effects[cell] ?? 0) }
  return Array(
    effects.indices.filter { size($0).isFinite && size($0) > 0 }
      .sorted { size($0) > size($1) }.prefix(count))
}
