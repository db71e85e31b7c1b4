import ArgumentParser
import FileIO
import FoundationEssentials
import Terminal

struct ResultsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "results",
    abstract: "Shows, filters and compares what `analyze patch --out` wrote.",
    discussion: """
      With one directory and no options, one line for each sweep and metric. With any option that \
      chooses or sorts cells, a list of cells: effect (the ratio of means), mean of the pairs' own \
      ratios, mean patched metric, and of the difference patched - unpatched the standard error, \
      interval, p and q.

      --csv begins with the columns that `analyze patch --cells` reads, so that a list goes on as the \
      cells of another sweep.

      With two directories, the effects of the cells that both have, B - A. Filters by size and q \
      leave a cell that passes in either of the two; --sort takes numbers from A.
      """)

  @Argument(help: "A directory that `analyze patch --out` wrote.")
  var directory: String

  @Argument(help: "Another one, to compare with it.")
  var other: String?

  @Flag(help: "List cells.")
  var cells = false

  @Option(
    help: """
      What the list begins with: the largest effects (effect), the smallest q (q), the largest \
      patched metrics (patched), the first cells (cell), or, of two results, the largest differences \
      (difference); by default effect, or difference.
      """)
  var sort: CellOrder?

  @Option(
    help: ArgumentHelp("How many cells are listed; 0 for all, by default 20.", valueName: "n"))
  var top: Int?

  @OptionGroup(title: "Which cells") var filter: CellFilter

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  @Flag(help: "Print the listed cells as CSV.")
  var csv = false

  func validate() throws {
    guard top ?? 0 >= 0 else { throw ValidationError("--top must not be negative.") }
    guard !json || !csv else { throw ValidationError("--json and --csv exclude each other.") }
    guard sort != .difference || other != nil else {
      throw ValidationError("--sort difference needs two results.")
    }
  }

  func run() throws {
    let file = try PatchFile(directory: directory)
    if let other {
      try compare(file, (other, try PatchFile(directory: other)))
    } else {
      try show(file)
    }
  }

  private func show(_ file: PatchFile) throws {
    let resolved = try filter.resolved(among: file.sweeps)
    let isList = cells || csv || sort != nil || top != nil || filter.isUsed
    let lists =
      isList ? CellList.lists(of: file, resolved, by: sort ?? .effect, top: top ?? 20) : nil
    if csv {
      try requireListable(file.sweeps.filter(resolved.takes))
      let facts = (lists ?? []).flatMap(\.facts)
      let hasParts = facts.contains { $0.parts != nil }
      print((hasParts ? "group," : "") + CellFacts.csvHeader)
      for (number, facts) in facts.enumerated() {
        for row in hasParts ? facts.csvParts(number: number) : [facts.csv] { print(row) }
      }
    } else if json {
      print(
        try encodedJSON(ResultSummary(file, directory: directory, cells: lists?.flatMap(\.facts))))
    } else {
      let style = Style.forStandardOutput()
      for line in file.heading(style) { print(line) }
      print()
      guard let lists else {
        for line in file.table().lines() { print(line) }
        return
      }
      if lists.isEmpty { print("no cells") }
      for (number, list) in lists.enumerated() {
        if number > 0 { print() }
        for line in list.lines(namesMetric: lists.count > 1, style: style) { print(line) }
      }
    }
  }

  /// A list that left out what a cell patches would be taken for another cell.
  private func requireListable(_ sweeps: [PatchFile.Sweep], mayBeLists: Bool = true) throws {
    guard
      let sweep = sweeps.first(where: { !$0.isListable || !mayBeLists && $0.listed != nil })
    else { return }
    throw NotListable(hook: sweep.hook, axes: sweep.axesText)
  }

  private func compare(_ file: PatchFile, _ other: (directory: String, file: PatchFile)) throws {
    let resolved = try filter.resolved(among: file.sweeps + other.file.sweeps)
    let comparison = ResultComparison(
      (directory, file), other, resolved, by: sort ?? .difference, top: top ?? 20)
    if csv {
      try requireListable(file.sweeps.filter(resolved.takes), mayBeLists: false)
      print(ResultComparison.Cell.csvHeader)
      for cell in comparison.sweeps.flatMap(\.cells) { print(cell.csv) }
    } else if json {
      print(try encodedJSON(comparison))
    } else {
      for line in comparison.lines(style: .forStandardOutput()) { print(line) }
    }
  }
}

/// Columns would not say what the cells of a sweep patch.
private struct NotListable: ReportableError {
  let hook, axes: String

  var description: String {
    "the cells of \(shown(hook)), \(axes), cannot be told by columns; take --json"
  }
  var exitCode: SysExit { .usage }
}
