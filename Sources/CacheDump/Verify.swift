import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump verify`
struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read and decode everything and compare all checksums.",
    discussion: "Names the first 20 damaged arrays or files, counts the rest, and exits with 65.")

  @OptionGroup var cache: CacheArgument

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  @Flag(help: "Show no progress.")
  var quiet = false

  func run() throws {
    let reader = try cache.open()
    var progress = Progress(
      "verifying", unit: "prompts", total: reader.committedPrompts, quiet: quiet || json)
    let report = reader.verify { progress.update(done: $0) }
    if json { try printJSON(report) } else { print(report, of: reader) }
    guard report.isHealthy else {
      throw DamageFound(
        description: "\(reader.directory) is damaged in \(counted(report.damaged, "place")); "
          + "capture again or restore a copy")
    }
  }

  private func print(_ report: VerificationReport, of reader: CacheReader) {
    for finding in report.findings { Swift.print(finding.problem) }
    if report.damaged > report.findings.count {
      Swift.print("… and \(grouped(report.damaged - report.findings.count)) more")
    }
    for name in report.leftovers {
      Swift.print("\(visible(name)) is not part of the cache; it may be removed")
    }
    let prompts =
      reader.isComplete
      ? "all of \(counted(reader.committedPrompts, "prompt"))"
      : "\(grouped(reader.committedPrompts)) of \(grouped(reader.plan.promptCount)) prompts, "
        + "the capture was interrupted"
    Swift.print(
      "\(grouped(report.checkedArrays)) arrays in \(counted(report.checkedSegments, "segment")) "
        + "are sound, \(byteSize(report.checkedBytes)) decoded (\(prompts))")
  }
}
