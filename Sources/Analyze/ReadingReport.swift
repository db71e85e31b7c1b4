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
    var table: ReadingTable
    /// The beginning of its files' names, such as `lens-logit-diff`.
    let name: String
    var title: String
    /// The rows as layers × heads, where the table has a column.
    var heads: Int?
    /// Names of columns that are positions, with their tokens.
    var tokens: TokenLabels?
    var rowAxis = "layer"
    var columnAxis = "position"
    /// Whether there are too many rows for a picture.
    var isList = false
  }

  /// A picture for the files.
  struct Scatter {
    /// Of the file, without its ending.
    let name: String
    let picture: ScatterSVG
  }

  let command: [String]
  /// What was done, and the beginning of the files' names: `lens`, `attribution-head` and so on.
  let analysis: String
  let selection: ReadingSelection
  let threads: Int
  /// What was read, by prompt.
  let prompts: [ReadPrompt]
  /// The metric or measure, in words.
  let formula: String
  var parts: [Part]
  var scatters: [Scatter] = []
  /// The cache that was subtracted.
  var minus: PatchFile.Identity?
  /// More for the files, such as sums that are not shown as tables.
  var notes: [String] = []
  /// How many rows of long tables are shown.
  var top = 10

  private var plan: CachePlan { selection.reader.plan }

  // In words.

  func heading(_ style: Style) -> [String] {
    [
      style.bold(
        "\(formula) of \(counted(prompts.count, "prompt")), \(selection.run.rawValue)"
          + (minus.map { ", less that in \($0.directory)" } ?? ""))
        + "  (\(plan.model.name), weights \(plan.weights))"
    ] + plan.patchedLines + warnings
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
    let table = part.table
    if let heads = part.heads {
      for column in table.columns.indices {
        if table.columns.count > 1 { lines += column > 0 ? [""] : [] }
        if table.columns.count > 1 { lines.append("\(table.columns[column])  layer × head") }
        lines += Heatmap(headGrid(of: part, column: column, heads: heads)).lines(style: style)
        lines += [""] + largest(part, column: column)
      }
    } else if table.columns.count == 1 {
      let rows = Array(table.rows.indices)
      lines += part.isList ? largest(part, column: 0) : rowTable(part, rows: rows, column: 0)
    } else {
      lines += Heatmap(grid(of: part)).lines(style: style)
    }
    if Set(table.counts).count > 1 {
      let columns = zip(table.columns, table.counts).map { "\($0) \(grouped($1))" }
      lines.append("prompts by column: " + columns.joined(separator: ", "))
    }
    return lines
  }

  /// The rows with the largest means of a column. What is left over is not ranked.
  private func largest(_ part: Part, column: Int) -> [String] {
    let table = part.table
    let means = table.rows.indices.map { row in
      table.rows[row] == "remainder" ? nil : table.mean(row: row, column: column)
    }
    let rows = rankedCells(means, count: top)
    let rest = table.rows.lastIndex(of: "remainder").map { [$0] } ?? []
    return rowTable(part, rows: rows + (top > 0 ? rest : []), column: column)
  }

  /// A row a line, with bars.
  private func rowTable(_ part: Part, rows: [Int], column: Int) -> [String] {
    let table = part.table
    guard !rows.isEmpty else {
      let means = table.rows.indices.map { table.mean(row: $0, column: column) }
      let isDefined = means.allSatisfy { $0?.isFinite ?? true }
      return top > 0 ? [isDefined ? "all are 0" : "none is a number other than 0"] : []
    }
    func mean(_ row: Int) -> Double { table.mean(row: row, column: column) ?? 0 }
    let scale = rows.map { abs(mean($0)) }.max() ?? 0
    var lines = Table([.left, .right, .right, .left])
    lines.add([part.rowAxis, table.quantity, "± s.e.", ""])
    for row in rows {
      let cell = row * table.columns.count + column
      let length = scale > 0 ? Int((abs(mean(row)) / scale * 20).rounded()) : 0
      lines.add([
        table.rows[row], table.means[cell].map { signed($0, 4) } ?? "",
        table.standardErrors[cell].map { fixed($0, 4) } ?? "",
        String(repeating: mean(row) < 0 ? "▒" : "█", count: length),
      ])
    }
    return lines.lines()
  }

  // As a picture.

  private func grid(of part: Part) -> EffectGrid {
    let table = part.table
    if let heads = part.heads, table.columns.count == 1 {
      return headGrid(of: part, column: 0, heads: heads)
    }
    let names = table.rows.flatMap { row in
      table.columns.map { table.columns.count > 1 ? "\(row) \($0)" : row }
    }
    return EffectGrid(
      rows: table.rows, rowsInGroup: part.heads ?? 1, columns: table.columns,
      tokens: part.tokens, rowAxis: part.rowAxis, columnAxis: part.columnAxis,
      effects: table.means, names: names, quantity: table.quantity)
  }

  /// A column of heads as layers × heads; what is left over has no place in it.
  func headGrid(of part: Part, column: Int, heads: Int) -> EffectGrid {
    let layers = part.table.rows.count { $0 != "remainder" } / max(1, heads)
    let rows = 0..<layers * heads
    return EffectGrid(
      rows: (0..<layers).map { "L\($0)" }, columns: (0..<heads).map { "H\($0)" }, tokens: nil,
      rowAxis: "layer", columnAxis: "head",
      effects: rows.map { part.table.mean(row: $0, column: column) },
      names: rows.map { part.table.rows[$0] }, quantity: part.table.quantity)
  }

  private func svg(of part: Part) -> String {
    heatmap(grid(of: part), title: part.title).file(
      heading: [
        part.title, "\(formula) of \(counted(prompts.count, "prompt")), \(selection.run.rawValue)",
        "\(plan.model.name), weights \(plan.weights)"
          + (plan.patched.map { "; \($0.what)" } ?? ""),
      ])
  }

  /// A picture of some of the means.
  func heatmap(_ grid: EffectGrid, title: String) -> HeatmapSVG {
    HeatmapSVG(
      grid, title: title,
      description: "A heatmap of \(counted(grid.effects.count, "mean")) over "
        + "\(counted(prompts.count, "prompt")). Cache plan \(selection.reader.planDigest).")
  }

  // In files.

  /// Writes `ANALYSIS.json`, `ANALYSIS.csv`, and an SVG and NPYs a table, each file whole or not at all.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try ResultsDirectory.write("\(analysis).json", try json(), to: directory) {
      try writeTables(to: directory)
    }
  }

  private func writeTables(to directory: String) throws {
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
    for scatter in scatters {
      try replaceFile("\(directory)/\(scatter.name).svg", with: Array(scatter.picture.file().utf8))
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
    try encodedJSON(
      File(
        tool: toolVersion, command: command, analysis: analysis, run: selection.run.rawValue,
        formula: formula, cache: identity, minus: minus, warnings: warnings, notes: notes,
        prompts: prompts.map { .init(prompt: $0.number, id: $0.pair.id, tokens: $0.length) },
        tables: parts.map {
          .init(
            name: $0.name, quantity: $0.table.quantity, rows: $0.table.rows,
            columns: $0.table.columns, mean: $0.table.means,
            standardError: $0.table.standardErrors, prompts: $0.table.counts)
        }, timing: .init(readS: parts.first?.table.seconds ?? 0, threads: threads)))
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
    let minus: PatchFile.Identity?
    let warnings, notes: [String]
    let prompts: [Row]
    let tables: [Entry]
    let timing: ReadingTiming
  }
}

struct ReadingTiming: Encodable {
  /// Seconds of the reading itself, without those that the model takes to load.
  let readS: Double
  let threads: Int
}

extension CachePlan {
  /// What was done to the runs, as the headings of readings say it; none where nothing was.
  var patchedLines: [String] { patched.map { ["runs: \(visible($0.what))"] } ?? [] }
}

func cacheIdentity(_ cache: CacheReader) -> PatchFile.Identity {
  let plan = cache.plan
  return PatchFile.Identity(
    directory: cache.directory, plan: cache.planDigest, weights: plan.model.weightsDigest,
    tokenizer: plan.model.tokenizerDigest, promptFile: plan.promptFileDigest,
    weightProcessing: plan.weights, kernel: plan.kernel, patched: plan.patched?.what,
    prependBos: plan.prependBOS)
}

extension ReadingOptions {
  /// Makes the directory of `--out`, before the work.
  func makeOut(for file: String) throws {
    if let out { try ResultsDirectory.make(out, for: file) }
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
