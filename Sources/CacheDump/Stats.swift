import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump stats`
struct Stats: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Statistics of all values, hook by hook, and how they are stored.",
    discussion: """
      Reads every array. mean, std, rms, min and max are of the finite values; norm is the mean, over \
      positions, of the square root of the sum of squares; masked are attention scores above the \
      diagonal, which are -infinity by design. Bytes and encodings are those of the whole cache. GB/s \
      is float32 that one core read and decoded or derived, in this run. In caches of f16 and bf16 the \
      errors are differences from what was captured. Hooks are added up by kind unless --hooks or \
      --all asks for single ones.
      """)

  @OptionGroup var cache: CacheArgument

  @Option(help: "Full names, globs or short names, separated by commas; each on a line of its own.")
  var hooks: String?

  @Flag(help: "Every hook on a line of its own.")
  var all = false

  @Option(
    help: ArgumentHelp(
      "Only this prompt, or those from A to B, both counted; numbers as ls has them.",
      valueName: "A-B"))
  var prompts: PromptRange?

  @Flag(help: "Print the same facts as JSON, of single hooks and of kinds.")
  var json = false

  @OptionGroup var work: WorkOptions

  func run() throws {
    let reader = try cache.open()
    let chosen = try reader.hooks(matching: hooks.map { [$0] } ?? [])
    let range = try prompts?.checked(in: reader) ?? 0..<reader.committedPrompts
    var progress = Progress(
      "reading", unit: "prompts", total: range.count, quiet: work.quiet || json)
    let statistics = try reader.statistics(hooks: chosen, prompts: range, threads: work.threads) {
      progress.update(done: $0)
    }
    if json { return try printJSON(statistics) }
    let single = all || hooks != nil
    for line in statistics.lines(single: single, style: .forStandardOutput()) { print(line) }
  }
}

/// Prompts from one to another, both counted.
struct PromptRange: ExpressibleByArgument {
  let first: Int
  let last: Int

  init?(argument: String) {
    let ends = argument.split(separator: "-", omittingEmptySubsequences: false).map {
      $0.allSatisfy { $0.isASCII && $0.isNumber } ? Int($0) : nil
    }
    guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1],
      first <= last, last < Int.max
    else { return nil }
    self.first = first
    self.last = last
  }

  /// - Throws: `CacheError.noSuchPrompt`.
  func checked(in reader: CacheReader) throws -> Range<Int> {
    guard last < reader.committedPrompts else {
      throw CacheError.noSuchPrompt(
        directory: reader.directory, prompt: last, committed: reader.committedPrompts,
        planned: reader.plan.promptCount)
    }
    return first..<last + 1
  }
}

extension CacheStatistics {
  func lines(single: Bool, style: Style) -> [String] {
    let reports = single ? hooks : kinds
    let rate = readSeconds > 0 ? gigabytes(Double(readBytes) / readSeconds) : "-"
    var lines = [
      style.bold("\(visible(directory))  \(promptsText)"),
      "\(byteSize(readBytes)) of float32 read, \(rate) GB/s a core in this run", "",
    ]
    lines += faintHeading(valueTable(reports), style)
    lines += [""] + faintHeading(storageTable(reports), style)
    let odd = hooks.reduce(0) { $0 + $1.values.nonFinite }
    if odd > 0 {
      lines += ["", "\(grouped(odd)) values are NaN or infinite and not masked"]
    }
    return lines
  }

  private var promptsText: String {
    let range = prompts == 1 ? "prompt \(firstPrompt)" : "prompts \(firstPrompt) to \(lastPrompt)"
    return prompts == 0 ? "no prompts" : "\(range), \(counted(tokens, "token"))"
  }

  private var lastPrompt: Int { firstPrompt + prompts - 1 }

  private func valueTable(_ reports: [HookStatistics]) -> Table {
    var table = Table([.left] + Array(repeating: .right, count: 10))
    table.add([
      "values", "count", "mean", "std", "rms", "norm", "min", "max", "zeros", "masked",
      "non-finite",
    ])
    for report in reports {
      let values = report.values
      let moments = [
        values.mean, values.standardDeviation, values.rms, values.norm,
        values.minimum.map(Double.init), values.maximum.map(Double.init),
      ].map { $0.map { significant($0, 5) } ?? "-" }
      table.add(
        [report.name, grouped(values.count)] + moments
          + [grouped(values.zeros), grouped(values.masked), values.nonFiniteText])
    }
    return table
  }

  private func storageTable(_ reports: [HookStatistics]) -> Table {
    let isRounded = elementType != .f32
    let errors: [Table.Alignment] = isRounded ? [.right, .right] : []
    var table = Table(
      [.left, .right, .left] + [.right, .right, .right, .right] + errors + [.left])
    table.add(
      ["storage", "hooks", "shape", "raw", "stored", "ratio", "GB/s"]
        + (isRounded ? ["worst error", "rms error"] : []) + ["encoding"])
    for report in reports {
      var row = [
        report.name, grouped(report.hooks), text(report.shape), byteSize(report.rawBytes),
        byteSize(report.storedBytes), ratio(report.storedBytes, of: report.rawBytes),
        report.readRate.map(gigabytes) ?? "-",
      ]
      if isRounded {
        row += [report.worstError.map(Double.init), report.rmsError].map {
          $0.map { significant($0, 3) } ?? "unknown"
        }
      }
      table.add(row + [text(encodings: report.encodings)])
    }
    return table
  }
}

extension ValueStatistics {
  /// `0`, or what there is of NaN and infinities.
  var nonFiniteText: String {
    let parts = [(nan, "NaN"), (positiveInfinity, "+inf"), (negativeInfinity, "-inf")]
      .filter { $0.0 > 0 }.map { "\(grouped($0.0)) \($0.1)" }
    return parts.isEmpty ? "0" : parts.joined(separator: ", ")
  }
}

/// Bytes a second in billions.
private func gigabytes(_ rate: Double) -> String { significant(rate / 1e9, 3) }

/// The lines of a table, the first one faint.
func faintHeading(_ table: Table, _ style: Style) -> [String] {
  let lines = table.lines()
  return lines.prefix(1).map { style.faint($0) } + lines.dropFirst()
}
