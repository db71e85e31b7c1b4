import Terminal

/// Says on standard error what is fetched, and how far it is.
final class FetchDisplay {
  private let quiet: Bool
  private var progress: Progress?
  private var total = 0
  private var done = 0

  init(quiet: Bool) { self.quiet = quiet }

  func show(_ event: FetchEvent) {
    switch event {
    case .begins(let model, let endpoint):
      say("the hub's cache does not hold \(model): fetching it from \(endpoint)")
    case .moved(let model, let other): say("\(model) is \(other) on the hub now")
    case .planned(let files, let bytes):
      (total, done) = (bytes, 0)
      if bytes > 0 {
        say("\(counted(files, "file")), \(byteSize(bytes))")
        progress = Progress("fetching", unit: "MB", total: megabytes(bytes), quiet: quiet)
      }
    case .waits(let file): say("another program is fetching \(file); waiting for it")
    case .received(let bytes):
      done += bytes
      progress?.update(done: done >= total ? megabytes(total) : max(0, done) / 1_000_000)
    case .triesAgain(let error, let seconds):
      say("\(error) — trying again in \(duration(seconds))")
    case .ends(let model, let commit, let folder):
      say("\(model) is complete in \(folder), commit \(commit.prefix(12))")
    }
  }

  /// Rounded up, so that the last byte completes the last megabyte.
  private func megabytes(_ bytes: Int) -> Int { (bytes + 999_999) / 1_000_000 }

  private func say(_ line: String) {
    if let progress {
      progress.note(line)
    } else if !quiet {
      printError(line)
    }
  }
}
