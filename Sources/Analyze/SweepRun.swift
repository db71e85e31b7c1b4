import ArgumentParser
import CacheFormat
import Dispatch
import FileIO
import Model
import Patching
import Terminal

/// Runs the sweeps that a command asks for, and writes and prints what comes out.
struct SweepRun {
  let options: RunOptions
  let direction: Direction
  let source: PatchSource
  /// Where the patched runs of the one cell are written as a cache; nil where they are not.
  let capture: String?
  /// The command line, as results record it.
  let command: [String]
  /// What is swept in a model over some pairs.
  let sweeps: (ModelConfig, TaskSelection) throws -> [Sweep]
  private let clock = Stopwatch()

  init(
    options: RunOptions, direction: Direction, source: PatchSource, capture: String? = nil,
    command: [String] = CommandLine.arguments,
    sweeps: @escaping (ModelConfig, TaskSelection) throws -> [Sweep]
  ) {
    (self.options, self.direction, self.source) = (options, direction, source)
    (self.capture, self.command, self.sweeps) = (capture, command, sweeps)
  }

  func run() throws {
    let opened = try options.task.open()
    let report = try report(on: opened)
    if options.task.json {
      print(try report.json())
    } else {
      printReport(report, prompts: opened.prompts)
    }
    try report.checks?.requireReproduced()
  }

  /// Runs the sweeps on a cache that has been opened, and writes the results if there is an `--out`.
  func report(on opened: OpenedCache) throws -> PatchReport {
    let work = options.task.work
    let loaded = try LoadedTask(options.task, direction, source, of: opened)
    let (reader, prompts, engine) = (loaded.cache, loaded.prompts, loaded.engine)
    let (metrics, selection) = (loaded.metrics, loaded.selection)
    let sweeps = try self.sweeps(loaded.model.config, selection)
    for sweep in sweeps { try selection.checkPlaces(of: sweep, prompts: prompts) }
    // What could stop the run comes before the work, not after it.
    try engine.require(sweeps)
    let recording = try capture.map { directory in
      try RunRecording(
        directory, of: loaded, rows: opened.rows, sweeps, direction, source, command: command)
    }
    if let out = options.out { try ResultsDirectory.make(out) }
    let loading = clock.lap()

    let task = loaded.task
    let series = try SweepSeries(
      engine: engine, task: task, direction: direction, source: source, prompts: prompts,
      title: "patching", quiet: work.quiet || options.task.json, out: options.out
    ).run(sweeps)
    let results = series.results
    // What is waited for the weights' digest once all is computed is part of loading.
    let swept = results.reduce(0) { $0 + $1[0].seconds }
    let waited = max(0, clock.lap() - swept)

    let checks: [BruteForceCheck]? = try options.task.verify.map { count in
      try results.map { result in
        try engine.check(
          result, task, prompts: prompts, count: count.limit ?? .max, seed: options.task.seed)
      }
    }
    let resampling = Resampling(seed: options.task.seed, permutations: options.permutations)
    let report = PatchReport(
      command: command, cache: reader, direction: direction,
      metrics: metrics.map(\.name), selection: selection, baselines: series.baselines,
      results: results,
      statistics: results.map {
        $0.map {
          SweepStatistics(
            $0, resampling: resampling, method: options.fdr, threads: work.threads)
        }
      }, falseDiscovery: options.fdr, checks: checks,
      timing: .init(
        loadS: loading + waited, sweepS: swept, gflop: series.gflop, kernel: Linear.arithmetic,
        threads: work.threads))
    try recording?.write(quiet: work.quiet || options.task.json)
    if let out = options.out {
      let answers = selection.pairs.flatMap { [$0.answer, $0.wrongAnswer].compactMap { $0 } }
      try report.write(
        to: out, PatchFigures(report, prompts: prompts, top: options.top),
        answers: opened.tokenTexts(of: answers))
      series.unfinished?.remove()
    }
    return report
  }

  private func printReport(_ report: PatchReport, prompts: [Prompt]) {
    let style = Style.forStandardOutput()
    for line in report.heading(style) { print(line) }
    for (number, sweep) in report.results.enumerated() {
      for (metric, result) in sweep.enumerated() {
        print()
        print(style.bold(report.title(of: result)))
        let labels = ColumnLabels(result, pairs: report.selection.pairs, prompts: prompts)
        for line in Heatmap(result, labels: labels).lines(style: style) { print(line) }
        if options.top > 0 {
          print()
          let statistics = report.statistics[number][metric]
          for line in topCells(of: result, statistics, count: options.top, labels: labels) {
            print(line)
          }
        }
      }
      for line in report.notes(onSweep: number) { print(line) }
    }
    print()
    print(style.faint(report.caution))
    if let out = options.out {
      printError("wrote \(out)/cells.csv, patch.json, patch.html, an SVG and NPYs a sweep")
    }
  }
}

/// Seconds of wall time, lap by lap.
final class Stopwatch {
  private var last = DispatchTime.now().uptimeNanoseconds

  func lap() -> Double {
    let now = DispatchTime.now().uptimeNanoseconds
    defer { last = now }
    return Double(now - last) / 1e9
  }
}
