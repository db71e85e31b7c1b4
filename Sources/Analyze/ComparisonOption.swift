import ArgumentParser
import CacheFormat
import FileIO
import Patching
import Reading
import Terminal

/// The same reading of another cache, which is subtracted.
struct ComparisonOption: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      Read this cache too, of the same rows, and show how much more the first one has, prompt by prompt: \
      what an ablation changes (analyze ablate --capture).
      """, valueName: "cache"))
  var minus: String?

  /// Whether tables need the values of each prompt.
  ///
  /// - Parameter isLong: whether there are too many rows to write them.
  func keepsValues(_ options: ReadingOptions, isLong: Bool = false) -> Bool {
    minus != nil || (options.out != nil && !isLong)
  }

  /// Reads the cache, and the other one if there is one, and shows what came of it.
  ///
  /// - Throws: `OtherRows`, and what reading throws.
  func show(
    _ options: ReadingOptions, model: String?, _ read: (OpenedCache) throws -> ReadingReport
  ) throws {
    let opened = try options.open(model: model)
    let report = try read(opened)
    guard let minus else { return try options.show(report) }
    let other = try OpenedCache(
      minus, model: model, work: options.work, io: options.io, keepsPages: true)
    other.shareModel(of: opened)
    try options.show(try report.less(try read(other)))
  }
}

extension ReadingReport {
  /// What this report has more than one of other runs of the same rows.
  fileprivate func less(_ other: ReadingReport) throws -> ReadingReport {
    let (a, b) = (selection.reader.directory, other.selection.reader.directory)
    func key(_ prompt: ReadPrompt) -> [Int] {
      [prompt.length, Int(prompt.pair.answer ?? -1), Int(prompt.pair.wrongAnswer ?? -1)]
    }
    guard prompts.map(\.pair.id) == other.prompts.map(\.pair.id),
      prompts.map(key) == other.prompts.map(key),
      parts.map(\.table.rows) == other.parts.map(\.table.rows),
      parts.map(\.table.columns) == other.parts.map(\.table.columns)
    else { throw OtherRows(cache: a, other: b) }
    var report = self
    for number in parts.indices {
      let (own, before) = (parts[number].table, other.parts[number].table)
      report.parts[number].table = own.less(before)
      report.parts[number].title += "  (\(a) less \(b))"
      guard !parts[number].isList else { continue }
      report.scatters.append(
        Scatter(
          name: parts[number].name + "-both",
          picture: ScatterSVG(
            heading: [parts[number].title, "\(a) against \(b)", formula],
            x: b, y: a,
            points: own.means.indices.filter {
              own.rows[$0 / own.columns.count] != "remainder"
            }.map { cell in
              let columns = own.columns
              let row = own.rows[cell / columns.count]
              return ScatterSVG.Point(
                x: before.means[cell] ?? .nan, y: own.means[cell] ?? .nan,
                label: largest(own, before).contains(cell) ? row : "",
                title: columns.count > 1 ? "\(row) \(columns[cell % columns.count])" : row)
            }, hasDiagonal: true,
            description: "Points of \(counted(own.means.count, "mean")) in two caches.")))
    }
    report.minus = cacheIdentity(other.selection.reader)
    return report
  }

  /// The cells that differ most, which are named in a picture.
  private func largest(_ a: ReadingTable, _ b: ReadingTable) -> Set<Int> {
    let differences = a.means.indices.map { cell in
      a.means[cell].flatMap { x in b.means[cell].map { x - $0 } }
    }
    return Set(rankedCells(differences, count: 8))
  }
}

/// Two caches that are to be compared row by row, and have other rows.
struct OtherRows: ReportableError {
  let cache, other: String

  var description: String {
    "\(cache) and \(other) do not hold runs of the same rows: ids, answers, lengths and what is read must "
      + "be equal, one by one; give --minus the cache that the first one was made from"
  }

  var exitCode: SysExit { .badData }
}
