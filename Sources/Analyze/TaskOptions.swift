import ArgumentParser
import Patching
import Terminal

/// What every command takes that patches or ablates the runs of a cache: on what, and what is measured.
struct TaskOptions: ParsableArguments {
  @OptionGroup var cached: CacheOptions

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      What is measured, several separated by commas: \
      \(AnswerMetric.allCases.map(\.rawValue).joined(separator: ", ")).
      """, valueName: "names"))
  var metric: [String] = [AnswerMetric.logitDiff.rawValue]

  @Option(
    name: .long, defaultAsFlag: SampleSize.some(32),
    help: ArgumentHelp(
      "Run so many cells, or all, again as whole forward passes, and show the largest difference.",
      valueName: "n|all"))
  var verify: SampleSize?

  @Option(
    name: .long, help: "Seed of whatever is drawn at random.")
  var seed: UInt64 = 0

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @Flag(name: .long, help: "Leave out pairs of unequal length.")
  var skipUnaligned = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func validate() throws {
    _ = try metrics()
    try verify?.check(option: "--verify")
  }

  func metrics() throws -> [AnswerMetric] { try answerMetrics(metric) }

  func open() throws -> OpenedCache {
    try cached.open(work, io)
  }
}
