import CacheFormat
import FileIO
import Model
import Reading
import Terminal

/// What `analyze stats` found, in words and in files.
struct StatsReport {
  let statistics: [RowStatistics]
  /// clean, corrupted or difference.
  let rows: String
  let place: String
  let head: Int?
  /// What reading the rows and computing took.
  let seconds: Double
  let threads: Int
  let selection: ReadingSelection

  func lines(style: Style) -> [String] {
    let plan = selection.reader.plan
    let count = statistics.first?.count ?? 0
    var lines = [
      style.bold("rows of \(counted(count, "prompt")) at \(place), \(rows)")
        + "  (\(plan.model.name), weights \(plan.weights))"
    ]
    lines += plan.patchedLines + selection.rows.leftOut + [""]
    let directions = statistics.map(\.directions.count).max() ?? 0
    var table = Table([.left] + Array(repeating: .right, count: 4 + directions))
    table.add(
      ["hook", "|mean|", "mean |x|", "± s.d.", "variance"]
        + (0..<directions).map { "pc \($0)" })
    for entry in statistics {
      table.add(
        [
          name(of: entry), significant(entry.normOfMean, 5), significant(entry.meanNorm, 5),
          entry.normDeviation.map { significant($0, 4) } ?? "",
          entry.variance.map { significant($0, 5) } ?? "",
        ]
          + entry.directionVariances.map { variance in
            share(variance, entry).map { "\(fixed(100 * $0, 1)) %" } ?? ""
          })
    }
    return lines + table.lines()
  }

  private func share(_ variance: Double, _ entry: RowStatistics) -> Double? {
    entry.variance.flatMap { $0 > 0 ? variance / $0 : nil }
  }

  /// The hook, and the head if it is of one.
  private func name(of entry: RowStatistics) -> String {
    entry.hook.name + (head.map { "-head\($0)" } ?? "")
  }

  /// Writes `stats.json`, `stats.csv`, and for each hook `NAME-mean.npy` [1, width] and, of principal
  /// directions, `NAME-pca.npy` [count, width].
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try ResultsDirectory.write("stats.json", try json(), to: directory) {
      try writeTables(to: directory)
    }
  }

  private func writeTables(to directory: String) throws {
    var csv = "hook,head,rows,place,prompts,norm_of_mean,mean_norm,norm_deviation,variance\n"
    for entry in statistics {
      csv +=
        "\(entry.hook.name),\(head.map(String.init) ?? ""),\(rows),\(csvText(place)),"
        + "\(entry.count),\(csvNumber(entry.normOfMean)),\(csvNumber(entry.meanNorm)),"
        + "\(csvNumber(entry.normDeviation)),\(csvNumber(entry.variance))\n"
      let path = "\(directory)/\(name(of: entry))"
      try replaceFile(
        path + "-mean.npy", with: NumPyFile.bytes(entry.mean, shape: [1, entry.mean.count]))
      guard !entry.directions.isEmpty else { continue }
      try replaceFile(
        path + "-pca.npy",
        with: NumPyFile.bytes(
          Array(entry.directions.joined()), shape: [entry.directions.count, entry.mean.count]))
    }
    try replaceFile("\(directory)/stats.csv", with: Array(csv.utf8))
  }

  func json() throws -> String {
    func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }
    return try encodedJSON(
      File(
        tool: toolVersion, command: CommandLine.arguments, cache: cacheIdentity(selection.reader),
        rows: rows, place: place, head: head, warnings: selection.rows.leftOut,
        hooks: statistics.map {
          .init(
            hook: $0.hook.name, prompts: $0.count, width: $0.mean.count,
            normOfMean: finite($0.normOfMean), meanNorm: finite($0.meanNorm),
            normDeviation: finite($0.normDeviation), variance: finite($0.variance),
            directionVariances: $0.directionVariances)
        }, timing: .init(readS: seconds, threads: threads)))
  }

  private struct File: Encodable {
    struct Hook: Encodable {
      let hook: String
      let prompts, width: Int
      let normOfMean, meanNorm, normDeviation, variance: Double?
      /// Of the principal directions, the largest first.
      let directionVariances: [Double]
    }

    let tool: String
    let command: [String]
    let cache: PatchFile.Identity
    let rows, place: String
    let head: Int?
    let warnings: [String]
    let hooks: [Hook]
    let timing: ReadingTiming
  }
}
