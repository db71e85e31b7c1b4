import ArgumentParser
import CacheFormat
import Dispatch
import FileIO
import Model
import Patching
import Terminal

extension Direction: ExpressibleByArgument {}
extension SweepAxis: ExpressibleByArgument {}
extension PatchSource: ExpressibleByArgument {}
extension FalseDiscoveryMethod: ExpressibleByArgument {}

extension Resampling.Statistic: ExpressibleByArgument {}

struct PatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "patch",
    abstract: "Activation patching: which activations carry the answer from one run to the other.",
    discussion: """
      Every cell puts one activation of the clean run into the corrupted run (denoise), or the other \
      way round (noise), and measures the logits at the last position. Effects are normalised by the \
      gap between the two runs: denoising 0 is no effect and 1 full recovery, noising 0 is no harm \
      and -1 an answer as in the corrupted run. The ratio of the mean differences over all pairs is \
      shown first; the mean of the pairs' own ratios is in the files.

      Metrics: logit-diff is logit[answer] - logit[wrong answer]; prob, logprob and loss are the \
      answer's probability, its logarithm and the negative of that; kl is KL(clean run || run) over \
      the vocabulary; rank is the number of tokens with a larger logit than the answer.
      """)

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
      "Hooks to patch, separated by commas: short names (resid_pre, z, k6), full names or globs.",
      valueName: "names"))
  var hooks: [String]

  @Option(
    name: .long,
    help: """
      One cell for each layer and position (pos), head (head), position and head (head-pos), head \
      and two positions of a pattern (head-dest-src), single value (neuron), or one a layer (all); \
      by default pos for the residual stream and its writers, head inside attention, all elsewhere.
      """)
  var by: SweepAxis?

  @Option(
    name: .long, parsing: .unconditional,
    help: "The one position to patch where --by leaves it open; negative counts from the end.")
  var pos: Int?

  @Option(
    name: .long, help: "Which run is patched: the corrupted one (denoise) or the clean one (noise)."
  )
  var direction: Direction = .denoise

  @Option(
    name: .long,
    help: """
      What is put in: the other run's activations (other), zeros (zero), or the mean of that \
      direction's source prompts over all positions (mean) or at each position (mean-pos). With \
      --direction noise, the last three are ablations of the clean run.
      """)
  var source: PatchSource = .otherRun

  @Option(
    name: .long,
    help: "How many neighbouring layers a cell patches at once, from layer - window/2 on.")
  var window = 1

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

  @Option(name: .long, help: "Seed of the bootstrap, of sampled p-values and of --verify.")
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

  private func metrics() throws -> [AnswerMetric] {
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

  func run() throws {
    let clock = Stopwatch()
    let reader = try CacheReader(directory: cache, access: io.access)
    let prompts = try reader.prompts()
    let selection = try TaskSelection(
      try reader.pairs(), prompts: prompts, committed: reader.committedPrompts,
      skipUnaligned: skipUnaligned)
    let gpt2 = try loadModel(for: reader, name: model, threads: work.threads)
    try selection.checkTokens(vocabulary: gpt2.config.vocabulary)
    if let pos { try selection.checkPosition(pos, prompts: prompts) }
    let sweeps = try sweeps(for: gpt2.config)
    let engine = PatchEngine(cache: reader, model: gpt2, threads: work.threads)
    // What could stop the run comes before the work, not after it.
    try engine.requireHooks(of: sweeps)
    if let out { try PatchReport.makeDirectory(out) }
    let loading = clock.lap()

    let metrics = try metrics()
    let task = AnswerTask(pairs: selection.pairs, metrics: metrics)
    let baselines = try engine.baselines(task, prompts: prompts)
    let cellCount = sweeps.reduce(0) {
      $0 + engine.cellCount(of: $1, task.pairs, prompts: prompts)
    }
    var progress = Progress(
      "patching", unit: "cells", total: cellCount,
      quiet: work.quiet || json)
    let unfinished = try out.map { out in
      try UnfinishedSweeps(
        in: out, identity: identity(of: sweeps, reader, selection), metrics: metrics.count)
    }
    var results: [[SweepResult]] = []
    var before = 0
    for (number, sweep) in sweeps.enumerated() {
      let result = try engine.run(
        sweep, task, direction: direction, source: source, prompts: prompts, baselines: baselines,
        known: unfinished?.known(ofSweep: number) ?? [],
        note: { try unfinished?.note($0, ofSweep: number) }
      ) { done in
        progress.update(done: before + done)
      }
      before += result[0].cellCount
      results.append(result)
    }
    let sweeping = clock.lap()

    let checks: [BruteForceCheck]? = try verify.map { count in
      try results.map { result in
        try engine.check(
          result, task, prompts: prompts, count: count.limit ?? .max, seed: seed)
      }
    }
    let resampling = Resampling(seed: seed, permutations: permutations)
    let report = PatchReport(
      command: CommandLine.arguments, cache: reader, direction: direction,
      metrics: metrics.map(\.name), selection: selection, baselines: baselines, results: results,
      statistics: results.map {
        $0.map {
          SweepStatistics($0, resampling: resampling, method: fdr, threads: work.threads)
        }
      }, falseDiscovery: fdr, checks: checks,
      timing: .init(loadSeconds: loading, sweepSeconds: sweeping, threads: work.threads))
    if let out {
      try report.write(to: out)
      try PatchFigures(report, prompts: prompts, top: top).write(to: out)
      unfinished?.remove()
    }
    if json {
      print(try report.json())
    } else {
      printReport(report, prompts: prompts)
    }
    if let checks, !checks.allSatisfy(\.isWithinTolerance) {
      throw PatchingError.notReproduced(
        largest: checks.flatMap(\.largestDifference).reduce(0) { $0.isNaN || $0 > $1 ? $0 : $1 })
    }
  }

  /// All that the metrics of the sweeps depend on.
  private func identity(
    of sweeps: [Sweep], _ cache: CacheReader, _ selection: TaskSelection
  ) -> String {
    let plan = cache.plan
    let parts =
      [
        toolVersion, Linear.arithmetic, cache.planDigest, plan.model.weightsDigest,
        direction.rawValue, source.rawValue, "\(metric)",
      ] + sweeps.map { "\($0)" } + selection.pairs.map { "\($0)" }
    return parts.joined(separator: "\n")
  }

  private func sweeps(for config: ModelConfig) throws -> [Sweep] {
    let points = config.hookPoints
    let selector = HookSelector(
      defaults: points.filter(\.kind.isDefault).map(\.name),
      optional: points.filter { !$0.kind.isDefault }.map(\.name), layers: config.layers)
    let patterns = hooks.flatMap {
      $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    // One sweep a kind of hook, in the order in which the user named them.
    var layers: [HookKind: Set<Int>] = [:]
    var order: [HookKind] = []
    for point in try patterns.flatMap({ try selector.select([$0]) }).compactMap(
      HookPoint.init(name:))
    {
      if layers[point.kind] == nil { order.append(point.kind) }
      layers[point.kind, default: []].formUnion(point.layer.map { [$0] } ?? [])
    }
    return try order.map { kind in
      try Sweep(kind, layers: (layers[kind] ?? []).sorted(), by: by, position: pos, window: window)
    }
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
        if top > 0 {
          print()
          let statistics = report.statistics[number][metric]
          for line in topCells(of: result, statistics, count: top, labels: labels) { print(line) }
        }
      }
      for line in report.notes(onSweep: number) { print(line) }
    }
    print()
    print(style.faint(report.caution))
    if let out {
      printError("wrote \(out)/cells.csv, patch.json, patch.html, an SVG and NPYs a sweep")
    }
  }
}

/// Seconds of wall time, lap by lap.
private final class Stopwatch {
  private var last = DispatchTime.now().uptimeNanoseconds

  func lap() -> Double {
    let now = DispatchTime.now().uptimeNanoseconds
    defer { last = now }
    return Double(now - last) / 1e9
  }
}
