import ArgumentParser
import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

struct StatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Means, norms and principal directions of activations over prompts.",
    discussion: """
      Takes one row a prompt, at a position or role, of each hook. --out writes the means and the \
      principal directions as arrays that `analyze patch --subspace` reads. --rows difference takes \
      the clean prompt's row minus the corrupted one's: the mean is then the difference of means. Needs \
      no model.
      """)

  enum RowKind: String, ExpressibleByArgument, CaseIterable {
    case clean, corrupted, difference

    var rows: RowStatistics.Rows {
      switch self {
      case .clean: .run(.clean)
      case .corrupted: .run(.corrupted)
      case .difference: .difference
      }
    }
  }

  @OptionGroup var options: ReadingOptions

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "Hooks, separated by commas: short names (resid_pre, z, k6), full names or globs.",
      valueName: "names"))
  var hooks: [String]

  @Option(
    name: .long,
    help: "The rows of the clean prompts, of the corrupted ones, or their difference.")
  var rows: RowKind = .clean

  @Option(
    name: .long, parsing: .unconditional,
    help: ArgumentHelp(
      "A position or role; a negative number counts from the end.", valueName: "place"))
  var pos: Place = .index(-1)

  @Option(name: .long, help: "Take this head's part of q, k, v, z and result.")
  var head: Int?

  @Option(
    name: .long, help: ArgumentHelp("How many principal directions.", valueName: "count"))
  var pca = 0

  func validate() throws {
    guard pca >= 0 else { throw ValidationError("--pca must not be negative.") }
    guard !hooks.isEmpty else { throw ValidationError("Give --hooks: whose rows.") }
  }

  /// Those of the cache's hooks that are asked for.
  ///
  /// - Throws: `ReadingError.hooksNotCached` for a name of hooks of which it holds none.
  private func heldHooks(_ reader: CacheReader) throws -> [String] {
    let layers = reader.plan.model.layers
    do throws(HookSelectionError) {
      return try HookSelector(defaults: reader.plan.hooks.map(\.name), layers: layers)
        .select(hooks)
    } catch {
      guard case .unknown(let pattern, _) = error else { throw error }
      let all = HookPoint.all(layers: max(0, min(layers, Limits.layers))).map(\.name)
      guard let missing = try? HookSelector(defaults: all, layers: layers).select([pattern]) else {
        throw error
      }
      throw ReadingError.hooksNotCached(missing, directory: reader.directory)
    }
  }

  func run() throws {
    let selection = try ReadingSelection(
      try options.open(), run: rows == .corrupted ? .corrupted : .clean,
      corrupted: rows == .difference)
    _ = try selection.places([.place(pos)])
    let reader = selection.reader
    let names = try heldHooks(reader)
    let points = try names.map { name in
      guard let point = HookPoint(name: name) else {
        throw CacheMismatch.unknownHook(cache: reader.directory, name)
      }
      return point
    }
    // Both prompts of a pair have as many tokens, and so the same places.
    let pairs = selection.rows.pairs.filter {
      ReadPrompt($0, run: .clean, prompts: selection.prompts).positions(of: pos) != nil
    }
    try options.makeOut(for: "stats.json")
    var progress = options.progress("reading", pairs.count)
    let clock = Stopwatch()
    let statistics = try RowStatistics.read(
      points, of: pairs, rows: rows.rows, at: pos, head: head, directions: pca, cache: reader,
      prompts: selection.prompts, threads: options.work.threads
    ) { progress.update(done: $0) }
    let report = StatsReport(
      statistics: statistics, rows: rows.rawValue, place: "\(pos)", head: head,
      seconds: clock.lap(), threads: options.work.threads, selection: selection)
    if let out = options.out { try report.write(to: out) }
    if options.json {
      print(try report.json())
    } else {
      for line in report.lines(style: .forStandardOutput()) { print(line) }
      if let out = options.out {
        printError("wrote \(out)/stats.json, stats.csv and NPYs a hook")
      }
    }
  }
}
