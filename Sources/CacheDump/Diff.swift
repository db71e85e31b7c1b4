import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump diff`
struct Diff: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compare two caches, value by value.",
    discussion: """
      Prompts are matched by text and tokens, hooks by name. Arrays are equal if their bits are: a NaN \
      equals a NaN of the same payload only. Differences of the plans come first; they alone do not \
      count. "of rms" is the largest difference in units of the hook's root mean square in A. The \
      exit status is 0 when every array is in both caches with equal bits, and 1 otherwise.
      """)

  @Argument(help: "The cache A, a directory that capture wrote to.")
  var a: String

  @Argument(help: "The cache B.")
  var b: String

  @Option(help: "Full names, globs or short names, separated by commas; each on a line of its own.")
  var hooks: String?

  @Flag(help: "Every hook on a line of its own.")
  var all = false

  @Flag(help: "Print the same facts as JSON, of single hooks and of kinds.")
  var json = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func run() throws {
    let (first, second) = (
      try CacheReader(directory: a, access: io.access),
      try CacheReader(directory: b, access: io.access)
    )
    var progress: Progress?
    let difference = try first.difference(
      to: second, hooks: try chosenHooks(of: first, second), threads: work.threads
    ) { done, all in
      progress =
        progress ?? Progress("comparing", unit: "prompts", total: all, quiet: work.quiet || json)
      progress?.update(done: done)
    }
    if json {
      try printJSON(difference)
    } else {
      let single = all || hooks != nil
      for line in try difference.lines(
        single: single, style: .forStandardOutput(), prompts: (first.prompts(), second.prompts()))
      {
        print(line)
      }
    }
    if !difference.isEmpty { throw ExitCode(1) }
  }

  /// The names that the patterns choose in either cache.
  private func chosenHooks(of first: CacheReader, _ second: CacheReader) throws -> Set<String>? {
    guard let hooks else { return nil }
    var chosen: Set<String> = []
    for pattern in hooks.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
      func names(_ reader: CacheReader) throws -> [String] {
        try reader.hooks(matching: [pattern]).map { reader.plan.hooks[$0].name }
      }
      let inSecond = try? names(second)
      chosen.formUnion(inSecond ?? [])
      do {
        chosen.formUnion(try names(first))
      } catch {
        if inSecond == nil { throw error }
      }
    }
    return chosen
  }
}

extension CacheDifference {
  func lines(single: Bool, style: Style, prompts: ([Prompt], [Prompt])) -> [String] {
    var lines = ["A  \(visible(first))", "B  \(visible(second))"]
    if !plan.isEmpty { lines += [""] + faintHeading(planTable, style) }
    lines += [
      "",
      "\(counted(sharedPrompts, "prompt")) in both"
        + only("A", promptsOnlyInFirst.map { name($0, prompts.0) })
        + only("B", promptsOnlyInSecond.map { name($0, prompts.1) }),
      "\(counted(hooks.count, "hook")) in both"
        + only("A", hooksOnlyInFirst) + only("B", hooksOnlyInSecond)
        + list("with another shape", hooksOfOtherShape),
    ]
    if !hooks.isEmpty { lines += [""] + faintHeading(table(single ? hooks : kinds), style) }
    let arrays = counted(sharedArrays, "shared array")
    return lines + [
      "",
      style.bold(
        unequalArrays == 0
          ? "no bit differs in \(arrays)"
          : "\(grouped(unequalArrays)) of \(arrays) \(unequalArrays == 1 ? "differs" : "differ")"),
    ]
  }

  private var planTable: Table {
    var table = Table([.left, .left, .left])
    table.add(["plan", "A", "B"])
    for fact in plan {
      let isDigest = fact.name.hasSuffix("digest")
      let values = [fact.first, fact.second].map {
        visible(isDigest ? String($0.prefix(12)) : $0)
      }
      table.add([fact.name] + values)
    }
    return table
  }

  private func name(_ prompt: Int, _ prompts: [Prompt]) -> String {
    let text = prompts.indices.contains(prompt) ? prompts[prompt].text : ""
    return "\(prompt) “\(visible(String(text.prefix(40))))\(text.count > 40 ? "…" : "")”"
  }

  private func only(_ cache: String, _ names: [String]) -> String {
    list("only in \(cache)", names)
  }

  private func list(_ what: String, _ names: [String]) -> String {
    guard !names.isEmpty else { return "" }
    let more = names.count > 3 ? ", …" : ""
    return ", \(grouped(names.count)) \(what): "
      + names.prefix(3).map(visible).joined(separator: ", ") + more
  }

  private func table(_ reports: [HookDifference]) -> Table {
    var table = Table([.left, .right, .right, .right, .right, .right, .right, .left])
    table.add(["hook", "hooks", "arrays", "unequal", "largest", "of rms", "non-finite", "where"])
    for report in reports {
      table.add([
        report.name, grouped(report.hooks), grouped(report.arrays), grouped(report.unequalArrays),
        report.largest.map { significant($0, 4) } ?? "-",
        report.largestOfRMS.map { significant($0, 3) } ?? "-",
        grouped(report.incomparableValues),
        report.place.map { place($0, in: report) } ?? "",
      ])
    }
    return table
  }

  /// `prompt 3 [2, 17]: 0.5 and 0.25`, with the hook's name where it is not the report's.
  private func place(_ place: HookDifference.Place, in report: HookDifference) -> String {
    let hook = place.hook == report.name ? "" : "\(place.hook), "
    let prompt =
      place.firstPrompt == place.secondPrompt
      ? "prompt \(place.firstPrompt)"
      : "prompt \(place.firstPrompt) of A, \(place.secondPrompt) of B"
    return "\(hook)\(prompt) \(place.index): \(place.first) and \(place.second)"
  }
}
