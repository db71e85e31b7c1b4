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
    guard let places = places(in: other), parts.count == other.parts.count else {
      throw OtherRows(cache: a, other: b)
    }
    var report = self
    if places.count < other.prompts.count {
      report.notes.append(
        "left out: \(counted(other.prompts.count - places.count, "prompt")) of \(b) that \(a) does not hold"
      )
    }
    for number in parts.indices {
      let (own, all) = (parts[number].table, other.parts[number].table)
      let columns = own.columns.compactMap(all.columns.firstIndex)
      guard own.rows == all.rows, columns.count == own.columns.count else {
        throw OtherRows(cache: a, other: b)
      }
      let isAll = places.count == other.prompts.count && columns.count == all.columns.count
      let before = isAll ? all : all.restricted(toPrompts: places, columns: columns)
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

  /// Where each prompt stands among those of another report, which holds them in the same order, and others perhaps
  /// between them; nil if it does not.
  private func places(in other: ReadingReport) -> [Int]? {
    struct Key: Equatable {
      let id: String?
      let tokens: [Int32]
      let answers: [Int32?]

      init(_ prompt: ReadPrompt, _ prompts: [Prompt]) {
        id = prompt.pair.id
        tokens = prompts[prompt.number].tokens
        answers = [prompt.pair.answer, prompt.pair.wrongAnswer]
      }
    }
    var places: [Int] = []
    var next = 0
    for prompt in prompts {
      let key = Key(prompt, selection.prompts)
      while next < other.prompts.count,
        Key(other.prompts[next], other.selection.prompts) != key
      { next += 1 }
      guard next < other.prompts.count else { return nil }
      places.append(next)
      next += 1
    }
    return places
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
    "\(other) does not hold runs of all rows of \(cache): ids, tokens, answers and what is read must "
      + "be equal, one by one; give --minus the cache that the first one was made from"
  }

  var exitCode: SysExit { .badData }
}
