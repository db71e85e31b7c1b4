import CacheFormat
import Patching
import Terminal

/// The patched runs of one cell, to be written as a cache (`--capture`).
struct RunRecording {
  private let directory: String
  private let capture: PatchedCapture
  private let patched: PatchedRuns
  private let entries: [PatchedCapture.Entry]

  /// Sees that the runs are one cell's and that there is somewhere to write them to.
  ///
  /// - Parameter rows: all of the cache's prompt file.
  /// - Throws: `PatchingError.notOneCell`, `CacheError`.
  init(
    _ directory: String, of loaded: LoadedTask, rows: [PromptPair], _ sweeps: [Sweep],
    _ direction: Direction, _ source: PatchSource, command: [String]
  ) throws {
    capture = try PatchedCapture(
      sweeps, engine: loaded.engine, direction: direction, source: source, prompts: loaded.prompts)
    _ = try CacheWriter.survey(directory, start: .new, breakingLock: false)
    self.directory = directory
    entries = zip(loaded.selection.pairs, loaded.selection.numbers).map { ($0, rows[$1]) }
    let sweep = sweeps[0]
    let cell = sweep.name(of: capture.cell) { _ in nil }
    let what = sweep.axis == .list ? cell : "\(sweep.name) \(cell)"
    let runs = direction == .denoise ? "corrupted" : "clean"
    patched = PatchedRuns(
      what: "\(runs) runs, \(what) from \(source.words)", plan: loaded.cache.planDigest,
      command: command)
  }

  func write(quiet: Bool) throws {
    var progress = Progress("capturing", unit: "runs", total: entries.count, quiet: quiet)
    let count = try capture.write(
      entries, to: directory, patched: patched, tool: toolVersion
    ) { progress.update(done: $0) }
    printError("wrote \(counted(count, "run")) to \(directory): \(patched.what)")
  }
}

extension PatchSource {
  /// What is put in, in words.
  fileprivate var words: String {
    switch self {
    case .otherRun: "the other run"
    case .zero: "zero"
    case .mean(let grouping, let over): "the \(grouping.rawValue) of the \(over.rawValue) prompts"
    case .noise(let scale, let seed): "noise of scale \(scale), seed \(seed)"
    }
  }
}
