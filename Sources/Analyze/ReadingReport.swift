import CacheFormat
import FileIO
import FoundationEssentials
import Model
import Patching
import Reading
import Terminal

/// What came of reading a cache, in words and in files.
struct ReadingReport {
  /// A table with the way in which it is shown.
  struct Part {
    let table: ReadingTable
    /// The beginning of its files' names, such as `lens-logit-diff`.
    let name: String
    let title: String
    /// The rows as layers × heads, where the table has a column.
    var heads: Int?
    /// Names of columns that are positions, with their tokens.
    var tokens: TokenLabels?
    var rowAxis = "layer"
    var columnAxis = "position"
    /// Whether there are too many rows for a picture.
    var isList = false
  }

  let command: [String]
  /// `lens`, `attribution`, `attention` or `stats`.
  let analysis: String
  let selection: ReadingSelection
  /// What was read, by prompt.
  let prompts: [ReadPrompt]
  /// The metric or measure, in words.
  let formula: String
  let parts: [Part]
  /// More for the files, such as sums that are not shown as tables.
  var notes: [String] = []
  /// How many rows of long tables are shown.
  var top = 10

  private var plan: CachePlan { selection.reader.plan }

  // In words.

  func heading(_ style: Style) -> [String] {
    [
      style.bold("\(formula) of \(counted(prompts.count, "prompt")), \(selection.run.rawValue)")
        + "  (\(plan.model.name), weights \(plan.weights))"
    ] + warnings
  }

  var warnings: [String] {
    var lines: [String] = []
    for part in parts {
      let table = part.table
      let lost = table.means.indices.filter {
        table.means[$0] == nil && table.counts[$0 % table.columns.count] > 0
      }
      if let first = lost.first {
        let (row, column) = (first / table.columns.count, first % table.columns.count)
        lines.append(
          "warning: \(counted(lost.count, "mean")) of \(part.name) \(lost.count == 1 ? "is" : "are") "
            + "not a finite number (first: \(table.rows[row]) at \(table.columns[column]))")
      }
    }
    return lines + selection.rows.leftOut
  }

  func lines(of part: Part, style: Style) -> [String] {
    var lines = [style.bold(part.title)]
    if part.table.columns.count == 1, part.heads == nil {
      lines += columnLines(part)
    } else {
      lines += Heatmap(grid(of: part)).lines(style: style)
      if part.heads != nil {
        lines.append("")
        lines += largest(part)
      }
    }
    let table = part.table
    if Set(table.counts).count > 1 {
      let columns = zip(table.columns, table.counts).map { "\($0) \(grouped($1))" }
      lines.append("prompts by column: " + columns.joined(separator: ", "))
    }
    return lines
  }

  /// A row a line, with bars; of long tables the largest ones.
  private func columnLines(_ part: Part) -> [String] {
    let table = part.table
    return rowTable(
      part, rows: part.isList ? rankedCells(table.means, count: top) : Array(table.rows.indices))
  }

  private func largest(_ part: Part) -> [String] {
    rowTable(part, rows: rankedCells(part.table.means, count: top))
  }

  /// - Parameter cells: of the table.
  private func rowTable(_ part: Part, rows cells: [Int]) -> [String] {
    guard !cells.isEmpty else { return top > 0 ? ["all are 0"] : [] }
    let table = part.table
    let width = table.columns.count
    let scale = table.means.compactMap { $0.map(abs) }.max() ?? 0
    var lines = Table([.left, .left, .right, .right, .left])
    lines.add([part.rowAxis, width > 1 ? part.columnAxis : "", table.quantity, "± s.e.", ""])
    for cell in cells {
      let mean = table.means[cell]
      let length = scale > 0 ? Int((abs(mean ?? 0) / scale * 20).rounded()) : 0
      lines.add([
        table.rows[cell / width], width > 1 ? table.columns[cell % width] : "",
        mean.map { signed($0, 4) } ?? "",
        table.standardErrors[cell].map { fixed($0, 4) } ?? "",
        String(repeating: (mean ?? 0) < 0 ? "▒" : "█", count: length),
      ])
    }
    return lines.lines()
  }

  // As a picture.

  private func grid(of part: Part) -> EffectGrid {
    let table = part.table
    let names = table.rows.flatMap { row in
      table.columns.map { table.columns.count > 1 ? "\(row) \($0)" : row }
    }
    if let heads = part.heads, heads > 0, table.columns.count == 1 {
      return EffectGrid(
        rows: (0..<table.rows.count / heads).map { "L\($0)" },
        columns: (0..<heads).map { "H\($0)" }, tokens: nil, rowAxis: "layer",
        columnAxis: "head", effects: Array(table.means.prefix(table.rows.count / heads * heads)),
        names: names, quantity: table.quantity)
    }
    return EffectGrid(
      rows: table.rows, rowsInGroup: part.heads ?? 1, columns: table.columns,
      tokens: part.tokens, rowAxis: part.rowAxis, columnAxis: part.columnAxis,
      effects: table.means, names: names, quantity: table.quantity)
  }

  private func svg(of part: Part) -> String {
    let picture = HeatmapSVG(
      grid(of: part), title: part.title,
      description: "A heatmap of \(counted(part.table.means.count, "mean")) over "
        + "\(counted(prompts.count, "prompt")). Cache plan \(selection.reader.planDigest).")
    return picture.file(
      heading: [
        part.title, "\(formula) of \(counted(prompts.count, "prompt")), \(selection.run.rawValue)",
        "\(plan.model.name), weights \(plan.weights)",
      ])
  }

  // In files.

  /// Writes `ANALYSIS.json`, `ANALYSIS.csv`, and an SVG and NPYs a table, each file whole or not at all.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try replaceFile("\(directory)/\(analysis).json", with: Array(try json().utf8))
    try replaceFile("\(directory)/\(analysis).csv", with: Array(csv().utf8))
    for part in parts {
      let (table, path) = (part.table, "\(directory)/\(part.name)")
      let shape = [table.rows.count, table.columns.count]
      try replaceFile(
        path + ".npy", with: NumPyFile.bytes(table.means.map { $0 ?? .nan }, shape: shape))
      if !table.values.isEmpty {
        try replaceFile(
          path + "-prompts.npy",
          with: NumPyFile.bytes(byPromptLast(table), shape: shape + [prompts.count]))
      }
      if !part.isList { try replaceFile(path + ".svg", with: Array(svg(of: part).utf8)) }
    }
  }

  /// [prompts, cells] → [cells, prompts].
  private func byPromptLast(_ table: ReadingTable) -> [Float] {
    let cells = table.means.count
    var result = [Float](repeating: .nan, count: table.values.count)
    for prompt in prompts.indices {
      for cell in 0..<cells {
        result[cell * prompts.count + prompt] = table.values[prompt * cells + cell]
      }
    }
    return result
  }

  private func csv() -> String {
    var text = "table,row,column,mean,standard_error,prompts\n"
    for part in parts {
      let table = part.table
      for cell in table.means.indices {
        let column = cell % table.columns.count
        text +=
          "\(part.name),\(csvText(table.rows[cell / table.columns.count])),"
          + "\(csvText(table.columns[column])),\(csvNumber(table.means[cell])),"
          + "\(csvNumber(table.standardErrors[cell])),\(table.counts[column])\n"
      }
    }
    return text
  }

  func json() throws -> String {
    try readingJSON(
      File(
        tool: toolVersion, command: command, analysis: analysis, run: selection.run.rawValue,
        formula: formula, cache: identity, warnings: warnings, notes: notes,
        prompts: prompts.map { .init(prompt: $0.number, id: $0.pair.id, tokens: $0.length) },
        tables: parts.map {
          .init(
            name: $0.name, quantity: $0.table.quantity, rows: $0.table.rows,
            columns: $0.table.columns, mean: $0.table.means,
            standardError: $0.table.standardErrors, prompts: $0.table.counts)
        }))
  }

  private var identity: PatchFile.Identity { cacheIdentity(selection.reader) }

  private struct File: Encodable {
    struct Row: Encodable {
      let prompt: Int
      let id: String?
      let tokens: Int
    }
    /// Arrays over rows and columns are row-major.
    struct Entry: Encodable {
      let name, quantity: String
      let rows, columns: [String]
      let mean, standardError: [Double?]
      /// By column.
      let prompts: [Int]
    }

    let tool: String
    let command: [String]
    let analysis, run, formula: String
    let cache: PatchFile.Identity
    let warnings, notes: [String]
    let prompts: [Row]
    let tables: [Entry]
  }
}

func cacheIdentity(_ cache: CacheReader) -> PatchFile.Identity {
  let plan = cache.plan
  return PatchFile.Identity(
    directory: cache.directory, plan: cache.planDigest, weights: plan.model.weightsDigest,
    tokenizer: plan.model.tokenizerDigest, promptFile: plan.promptFileDigest,
    weightProcessing: plan.weights, kernel: plan.kernel)
}

func readingJSON(_ value: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  return String(decoding: try encoder.encode(value), as: UTF8.self)
}

extension ReadingOptions {
  /// Makes the directory of `--out`, before the work.
  func makeOut(for file: String) throws {
    if let out { try PatchReport.makeDirectory(out, for: file) }
  }

  /// Writes and prints a report.
  func show(_ report: ReadingReport) throws {
    if let out { try report.write(to: out) }
    if json {
      print(try report.json())
      return
    }
    let style = Style.forStandardOutput()
    for line in report.heading(style) { print(line) }
    for part in report.parts {
      print()
      for line in report.lines(of: part, style: style) { print(line) }
    }
    if !report.notes.isEmpty { print() }
    for note in report.notes { print(note) }
    if let out {
      printError("wrote \(out)/\(report.analysis).json, \(report.analysis).csv, SVGs and NPYs")
    }
  }

  func progress(_ title: String, _ count: Int) -> Progress {
    Progress(title, unit: "prompts", total: count, quiet: work.quiet || json)
  }
}
