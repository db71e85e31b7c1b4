import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump verify`
struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read and decode everything and compare all checksums.",
    discussion: """
      Names the first damaged place of each segment or other file, counts the others, and exits with \
      65 when there is any.
      """)

  @OptionGroup var cache: CacheArgument

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  @Flag(help: "Show no progress.")
  var quiet = false

  func run() throws {
    let reader = try cache.open()
    var progress = Progress(
      "verifying", unit: "prompts", total: reader.committedPrompts, quiet: quiet || json)
    let report = try reader.verify { progress.update(done: $0) }
    if json { try printJSON(report) } else { print(report, of: reader) }
    guard report.isHealthy else {
      throw DamageFound(
        description: "\(reader.directory) is damaged in \(counted(report.damaged, "place")) of "
          + "\(counted(report.damagedFiles, "file")); restore a copy, or see with cachedump repair "
          + "what can be kept")
    }
  }

  private func print(_ report: VerificationReport, of reader: CacheReader) {
    for finding in report.findings {
      Swift.print(
        finding.problem
          + (finding.more > 0 ? "; \(counted(finding.more, "more place")) in this file" : ""))
    }
    if report.damagedFiles > report.findings.count {
      Swift.print("… and \(counted(report.damagedFiles - report.findings.count, "more file"))")
    }
    for name in report.leftovers {
      Swift.print("\(visible(name)) is not part of the cache; \(advice(on: name, in: reader))")
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

  private func advice(on leftover: String, in reader: CacheReader) -> String {
    if leftover.hasSuffix(".pbs"), !reader.isComplete {
      return "capture --resume takes it back if it is sound"
    }
    return leftover.hasSuffix(".damaged")
      ? "repair put it aside, it may be removed"
      : "it may be removed"
  }
}
