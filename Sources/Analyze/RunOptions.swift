import ArgumentParser
import CacheFormat
import Patching
import Terminal

/// What every command takes that runs sweeps.
struct RunOptions: ParsableArguments {
  @OptionGroup var task: TaskOptions

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
      valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String?

  @Option(name: .long, help: "How many cells the table of the largest effects shows.")
  var top = 10

  func validate() throws {
    guard top >= 0 else { throw ValidationError("--top must not be negative.") }
    guard permutations <= 10_000_000 else {
      throw ValidationError("--permutations takes 10 million at the most.")
    }
  }
}

extension FalseDiscoveryMethod: ExpressibleByArgument {}
