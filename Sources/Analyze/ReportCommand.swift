import ArgumentParser
import Dispatch
import FileIO
import Patching
import Terminal

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "A whole study of a cache as one page: from the prompts to the heads that matter.",
    discussion: """
      Runs what the other commands run, one after the other, with the model loaded once: baselines, \
      logit lens, direct logit attribution, patching of the stream and of heads, attention, path \
      patching, scores of heads and, with --circuit, the tests of a circuit. DIR/index.html shows it all \
      and says which command makes each part alone; the parts' own files stand in directories beside \
      it. What a cache does not allow is left out, and the page says why.
      """)

  @OptionGroup var options: ReportOptions

  func run() throws {
    let start = DispatchTime.now().uptimeNanoseconds
    let page = options.out + "/index.html"
    // Said before the work, not after it.
    guard options.force || !isTaken(page) else { throw ReportExists(page: page) }
    let opened = try options.cached.open(options.work, options.io)
    try opened.reader.requireOwnRuns()
    let study = try Study(options, opened)
    let html = ReportPage(study: study, command: CommandLine.arguments).html()
    try replaceFile(page, with: Array(html.utf8))
    let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
    printError(
      "wrote \(page) (\(byteSize(html.utf8.count))) and the results of "
        + "\(counted(study.folders.count, "part")) beside it in \(duration(seconds))")
    let old = study.otherFolders.filter { isTaken("\(options.out)/\($0)") }
    if !old.isEmpty {
      printError(
        "not of this report: \(old.joined(separator: ", ")) in \(options.out)")
    }
  }
}

/// A report that would have to be replaced.
struct ReportExists: ReportableError {
  let page: String

  var description: String {
    "\(page) is there already; give --force to replace the report, or another --out"
  }

  var exitCode: SysExit { .cannotCreate }
}
