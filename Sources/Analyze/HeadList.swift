import Model
import Patching
import Reading
import Terminal

/// A number of every head that a part of a study has found.
struct HeadList {
  /// What it is, in a few words.
  let name: String
  /// [L, H]; nil where a head has none.
  let values: [Double?]
  /// Whether the closing table has a column of it.
  var isColumn = false
  /// Whether its largest ones are looked at closely.
  var isLead = false
  /// Whether values are shares, from 0 to 1.
  var isShare = false

  /// A head's value, in words.
  func text(of head: Int) -> String {
    values[head].map { isShare ? fixed($0, 4) : signed($0, 4) } ?? ""
  }

  /// The heads with the largest values of either sign, the largest first.
  func top(_ count: Int) -> [Int] { rankedCells(values, count: count) }

  /// The effects of a sweep over heads.
  static func values(of result: SweepResult, _ config: ModelConfig) -> [Double?] {
    var values = [Double?](repeating: nil, count: config.layers * config.heads)
    for (number, cell) in result.cells.enumerated() {
      guard let layer = cell.layer, let head = cell.head else { continue }
      values[layer * config.heads + head] = result.ratioOfMeans(cell: number)
    }
    return values
  }

  /// The values of a table whose first rows are the heads.
  static func values(of table: ReadingTable, column: Int = 0, _ config: ModelConfig) -> [Double?] {
    (0..<config.layers * config.heads).map { table.mean(row: $0, column: column) }
  }

  /// All of a study, in its order.
  static func all(
    _ config: ModelConfig, heads: Part<ReadingReport>, insides: Part<Study.Sweeps>,
    toLogits: Part<PatchReport>, toQueries: Part<PatchReport>, toValues: Part<PatchReport>,
    detection: Part<ReadingReport>, scores: ScoresReport
  ) -> [HeadList] {
    var lists: [HeadList] = []
    if let table = heads.value?.parts.first?.table {
      lists.append(
        HeadList(
          name: "attribution", values: values(of: table, config), isColumn: true, isLead: true))
    }
    for result in insides.value?.report.results.compactMap(\.first) ?? [] {
      let isOutput = result.sweep.kind == .z
      lists.append(
        HeadList(
          name: result.sweep.name, values: values(of: result, config), isColumn: isOutput,
          isLead: isOutput))
    }
    for (name, part) in [
      ("path to logits", toLogits), ("path to q", toQueries), ("path to v", toValues),
    ] {
      guard let result = part.value?.results.first?.first else { continue }
      lists.append(
        HeadList(
          name: name, values: values(of: result, config), isColumn: name == "path to logits"))
    }
    if let table = detection.value?.parts.first?.table {
      for (column, name) in table.columns.enumerated() {
        lists.append(
          HeadList(
            name: shortName(ofPattern: name),
            values: values(of: table, column: column, config), isColumn: true, isShare: true))
      }
    }
    if let copying = scores.copying {
      lists.append(
        HeadList(name: "copying", values: copying.copying, isColumn: true, isShare: true))
    }
    return lists
  }

  /// `previous_token_head` as `previous token`.
  static func shortName(ofPattern name: String) -> String {
    name.split(separator: "_").filter { $0 != "head" }.joined(separator: " ")
  }

  /// The heads to look at: in turn the largest of the lists that lead, or of all where none has any.
  static func interesting(_ lists: [HeadList], count: Int, _ config: ModelConfig)
    -> [AttentionHead]
  {
    let leading = lists.filter(\.isLead)
    let ranked = (leading.isEmpty ? lists : leading).map { $0.top(count) }
    var chosen: [Int] = []
    for rank in 0..<count {
      for heads in ranked where heads.indices.contains(rank) && !chosen.contains(heads[rank]) {
        chosen.append(heads[rank])
      }
    }
    return chosen.prefix(count).map {
      AttentionHead(layer: $0 / config.heads, head: $0 % config.heads)
    }
  }
}
