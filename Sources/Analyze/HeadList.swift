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
  /// Heads whose numbers are not clear of chance.
  var unclear: Set<Int> = []
  /// Whether the closing table has a column of it.
  var isColumn = false
  /// Whether its largest ones are looked at closely.
  var isLead = false
  /// Whether values are shares, from 0 to 1.
  var isShare = false

  /// Effects with a larger q are not clear.
  static let largestQ = 0.05
  /// Of so few pairs no q can be as small.
  static let tooFewPairs = 5

  /// The clear heads with the largest values of either sign, the largest first.
  func top(_ count: Int) -> [Int] {
    rankedCells(
      values.enumerated().map { unclear.contains($0.offset) ? nil : $0.element }, count: count)
  }

  /// A head's value, in words.
  func text(of head: Int) -> String {
    values[head].map { isShare ? fixed($0, 4) : signed($0, 4) } ?? ""
  }

  /// All of a study, in its order.
  static func all(
    _ config: ModelConfig, heads: Part<ReadingReport>, insides: Part<Study.Sweeps>,
    toLogits: Part<PatchReport>, toQueries: Part<PatchReport>, toValues: Part<PatchReport>,
    detection: Part<ReadingReport>, scores: ScoresReport
  ) -> [HeadList] {
    var lists = heads.value.map { [HeadList(attribution: $0, config)] } ?? []
    if let report = insides.value?.report {
      for (number, results) in report.results.enumerated() {
        var list = HeadList(results[0].sweep.name, report, sweep: number, config)
        let isOutput = results[0].sweep.kind == .z
        (list.isColumn, list.isLead) = (isOutput, isOutput)
        lists.append(list)
      }
    }
    for (name, part) in [
      ("path to logits", toLogits), ("path to q", toQueries), ("path to v", toValues),
    ] {
      guard let report = part.value else { continue }
      var list = HeadList(name, report, config)
      list.isColumn = name == "path to logits"
      lists.append(list)
    }
    if let table = detection.value?.parts.first?.table {
      lists += table.columns.enumerated().map { column, name in
        HeadList(
          name: shortName(ofPattern: name),
          values: (0..<config.layers * config.heads).map { table.mean(row: $0, column: column) },
          isColumn: true, isShare: true)
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
    return chosen.prefix(count).map { head($0, config) }
  }

  /// The head at a place of `values`.
  static func head(_ index: Int, _ config: ModelConfig) -> AttentionHead {
    AttentionHead(layer: index / config.heads, head: index % config.heads)
  }
}

extension HeadList {
  /// The effects of a sweep over heads, of the first metric.
  init(_ name: String, _ report: PatchReport, sweep: Int = 0, _ config: ModelConfig) {
    let (result, statistics) = (report.results[sweep][0], report.statistics[sweep][0])
    let hasEnough = report.selection.pairs.count > HeadList.tooFewPairs
    var values = [Double?](repeating: nil, count: config.layers * config.heads)
    var unclear: Set<Int> = []
    for (number, cell) in result.cells.enumerated() {
      guard let layer = cell.layer, let head = cell.head else { continue }
      let index = layer * config.heads + head
      values[index] = result.ratioOfMeans(cell: number)
      if hasEnough, statistics.q[number] ?? 1 > HeadList.largestQ { unclear.insert(index) }
    }
    self.init(name: name, values: values, unclear: unclear)
  }

  /// The direct logit attribution of heads.
  init(attribution report: ReadingReport, _ config: ModelConfig) {
    let count = config.layers * config.heads
    let table = report.parts[0].table
    let (values, errors) = (Array(table.means[..<count]), table.standardErrors)
    self.init(
      name: "attribution", values: values,
      unclear: Set((0..<count).filter { abs(values[$0] ?? 0) < 2 * (errors[$0] ?? 0) }),
      isColumn: true, isLead: true)
  }
}
