import ArgumentParser
import CacheFormat
import Patching
import Terminal

/// What `analyze report` takes.
struct ReportOptions: ParsableArguments {
  @OptionGroup var cached: CacheOptions

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write index.html into this directory, and the results of each part into one inside it.",
      valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String

  @Flag(name: .long, help: "Replace the report in the directory if there is one.")
  var force = false

  @Option(name: .long, help: "What is measured.")
  var metric: AnswerMetric = .logitDiff

  @Option(
    name: .long, help: "Which run is patched: the corrupted one (denoise) or the clean one (noise)."
  )
  var direction: PatchDirection = .denoise

  @Option(
    name: .long, help: "How many heads and cells count as the top ones of each part.")
  var top = 6

  @Option(
    name: .long,
    help: ArgumentHelp("A circuit to test, as `analyze circuit` takes it.", valueName: "file"))
  var circuit: String?

  @Option(name: .long, help: ArgumentHelp("The title of the page.", valueName: "text"))
  var title: String?

  @Flag(name: .long, help: "Leave out pairs of unequal length.")
  var skipUnaligned = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func validate() throws {
    guard 1...100 ~= top else { throw ValidationError("--top takes 1 to 100.") }
  }
}

extension AnswerMetric: ExpressibleByArgument {}
