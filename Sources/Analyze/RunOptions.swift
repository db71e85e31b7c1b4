import ArgumentParser
import Patching
import Terminal

/// What every command takes that runs sweeps: on what, and what is measured, shown and written.
struct RunOptions: ParsableArguments {
  @Option(name: .long, help: "The cache that capture wrote.")
  var cache: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The model's directory; by default the one the cache names.", valueName: "dir"))
  var model: String?

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
    name: .long, help: "Seed of the bootstrap, of sampled p-values, of --verify and of noise.")
  var seed: UInt64 = 0

  @Option(name: .long, help: "Sign patterns drawn for a p-value where there are over 12 pairs.")
  var permutations: UInt32 = 1000

  @Option(
    name: .long,
    help: """
      What q controls the false discovery rate by: Benjamini and Hochberg (bh), or Benjamini and \
      Yekutieli (by), which holds however the cells depend on each other.
      """)
  var fdr: FalseDiscoveryMethod = .benjaminiHochberg

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write cells.csv, patch.json, patch.html, SVGs and NPYs into this directory.",
      valueName: "dir"))
  var out: String?

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @Option(name: .long, help: "How many cells the table of the largest effects shows.")
  var top = 10

  @Flag(name: .long, help: "Leave out pairs of unequal length.")
  var skipUnaligned = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func validate() throws {
    guard top >= 0 else { throw ValidationError("--top must not be negative.") }
    guard permutations <= 10_000_000 else {
      throw ValidationError("--permutations takes 10 million at the most.")
    }
    _ = try metrics()
  }

  func metrics() throws -> [AnswerMetric] {
    let names = metric.flatMap {
      $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    let metrics = try names.map { name in
      guard let metric = AnswerMetric(rawValue: name) else {
        let known = AnswerMetric.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("There is no metric '\(name)'; there are \(known).")
      }
      return metric
    }
    guard Set(metrics).count == metrics.count else {
      throw ValidationError("--metric names a metric twice.")
    }
    return metrics
  }
}

extension FalseDiscoveryMethod: ExpressibleByArgument {}
