import ArgumentParser
import CacheFormat
import Model
import Patching
import Terminal

struct TraceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Causal tracing: where a fact is recalled.",
    discussion: """
      The token embeddings of a fact's subject get noise, so that the model no longer knows what it \
      speaks of; then one activation at one position is restored to what it was, and the answer's \
      probability is measured (Meng et al. 2022). Rows of the prompt file need a subject. The answer \
      is the row's own, or what the model says where the row has none; facts that the model does not \
      know are left out.

      Noise is that of ROME's causal_trace.py, number for number. Prompts captured with --no-bos and \
      --weights raw are those that it runs.
      """)

  @OptionGroup var cached: CacheOptions

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      What is restored, separated by commas: hooks of the residual stream and what is written to it, in \
      every layer.
      """, valueName: "names"))
  var hooks: [String] = ["resid_post,mlp_out,attn_out"]

  @Option(
    name: .long,
    help: """
      How many neighbouring layers of mlp_out and attn_out are restored at once, from layer - window/2 \
      on.
      """)
  var window = 10

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      Trace resid_post once more with these severed, mlp_out or attn_out: what the restored position \
      writes with them in later layers stays what it is with noise.
      """, valueName: "names"))
  var sever: [String] = []

  @Option(name: .long, help: "How many times a fact's subject gets noise; scores are the mean.")
  var samples = 10

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      The noise's standard deviation, in units of that of the embeddings of all subjects' tokens; 3 \
      unless given.
      """, valueName: "scale"))
  var noiseScale: Double?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The noise's standard deviation as a number of its own.", valueName: "number"))
  var noiseDeviation: Double?

  @Option(name: .long, help: "Seed of the noise, and of the cells that --verify draws.")
  var seed: UInt32 = 1

  @Option(
    name: .long,
    help: ArgumentHelp(
      "What is measured, of the one answer that a fact has.", valueName: "name"))
  var metric = FactMetric(name: .probability)

  @Option(name: .long, help: "Trace only so many facts, the first ones.")
  var limit: Int?

  @Flag(name: .long, help: "Trace facts too whose answer is not what the model says.")
  var keepUnknown = false

  @Option(
    name: .long, defaultAsFlag: SampleSize.some(32),
    help: ArgumentHelp(
      "Run so many cells, or all, again as whole forward passes, and show the largest difference.",
      valueName: "n|all"))
  var verify: SampleSize?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write trace.json, trace.csv, SVGs and an NPZ a fact and hook, as ROME's, into this directory.",
      valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String?

  @Option(name: .long, help: "So many facts get pictures of their own.")
  var pictures = 20

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func validate() throws {
    try verify?.check(option: "--verify")
    guard 1...10_000 ~= samples else { throw ValidationError("--samples takes 1 to 10,000.") }
    _ = try severed()
    guard limit ?? 1 >= 1 else { throw ValidationError("--limit must be at least 1.") }
    guard pictures >= 0 else { throw ValidationError("--pictures must not be negative.") }
    guard noiseScale == nil || noiseDeviation == nil else {
      throw ValidationError("Give --noise-scale or --noise-deviation, not both.")
    }
    for size in [noiseScale, noiseDeviation].compactMap({ $0 }) {
      guard Float(size).isFinite, size >= 0 else {
        throw ValidationError("Noise has a standard deviation that is a number from 0 on.")
      }
    }
  }

  func run() throws {
    let clock = Stopwatch()
    let opened = try cached.open(work, io)
    let (reader, prompts, engine) = (opened.reader, opened.prompts, try opened.engine())
    let gpt2 = engine.model
    let sweeps = try sweeps(gpt2.config)
    try engine.require(sweeps)
    let selection = try FactSelection(
      opened.rows, engine, prompts: prompts, limit: limit, keepsUnknown: keepUnknown,
      tokenizer: { try loadTokenizer(for: reader, name: cached.model, quiet: work.quiet) })
    if let out { try ResultsDirectory.make(out, for: "trace.json") }
    let loading = clock.lap()

    let noise = selection.noise(
      samples: samples, scale: noiseScale ?? 3, deviation: noiseDeviation, seed: seed,
      embeddings: gpt2)
    let task = AnswerTask(
      pairs: selection.pairs(samples: samples, noise: noise, width: gpt2.config.width),
      metrics: [metric.name])
    let series = try SweepSeries(
      engine: engine, task: task, direction: .denoise, source: .otherRun, prompts: prompts,
      title: "tracing", quiet: work.quiet || json, out: out
    ).run(sweeps)
    let results = series.results.map { $0[0] }
    let traced = results.reduce(0) { $0 + $1.seconds }
    let waited = max(0, clock.lap() - traced)
    let checks = try verify.map { count in
      try results.map {
        try engine.check(
          [$0], task, prompts: prompts, count: count.limit ?? .max, seed: UInt64(seed))
      }
    }
    let report = TraceReport(
      command: CommandLine.arguments, cache: reader, metric: metric.name, samples: samples,
      noise: noise, selection: selection, prompts: prompts, results: results, checks: checks,
      timing: .init(
        loadS: loading + waited, sweepS: traced, gflop: series.gflop, kernel: Linear.arithmetic,
        threads: work.threads))
    if let out {
      try TraceFiles(report: report, pictures: pictures).write(to: out)
      series.unfinished?.remove()
    }
    if json {
      print(try report.json())
    } else {
      for line in report.lines(style: .forStandardOutput()) { print(line) }
      if let out {
        printError("wrote \(out)/trace.json, trace.csv, SVGs and NPZs in \(out)/facts")
      }
    }
    try checks?.requireReproduced()
  }

  /// One a kind of hook, over all layers and positions; the residual stream is restored layer by layer.
  /// Then one a kind that is severed.
  private func sweeps(_ config: ModelConfig) throws -> [Sweep] {
    let names = hooks.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
    var kinds: [HookKind] = []
    for name in try names.flatMap({ try hookSelector(for: config).select([String($0)]) }) {
      guard let kind = HookPoint(name: name)?.kind, !kinds.contains(kind) else { continue }
      guard kind.isInBlock, Sweep.usualAxis(of: kind) == .position else {
        throw UsageError(
          "\(name) is not traced position by position; take resid_pre, resid_mid, resid_post, "
            + "attn_out or mlp_out")
      }
      kinds.append(kind)
    }
    let layers = Array(0..<config.layers)
    let restored = try kinds.map { kind in
      let isBranch = kind == .attnOut || kind == .mlpOut
      return try Sweep(kind, layers: layers, by: .position, window: isBranch ? window : 1)
    }
    return try restored
      + severed().map { try Sweep(.residPost, layers: layers, by: .position, severing: [$0]) }
  }

  private func severed() throws -> [HookKind] {
    let names = sever.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
    var kinds: [HookKind] = []
    for name in names {
      guard let kind = [HookKind.mlpOut, .attnOut].first(where: { $0.shortName == name }) else {
        throw ValidationError("--sever takes mlp_out and attn_out, not \(name).")
      }
      if !kinds.contains(kind) { kinds.append(kind) }
    }
    return kinds
  }
}

/// A metric that needs no wrong answer.
struct FactMetric: ExpressibleByArgument {
  let name: AnswerMetric

  init(name: AnswerMetric) { self.name = name }

  init?(argument: String) {
    guard FactMetric.allValueStrings.contains(argument), let name = AnswerMetric(rawValue: argument)
    else { return nil }
    self.name = name
  }

  static var allValueStrings: [String] {
    AnswerMetric.allCases.filter { !$0.readsWrongAnswer }.map(\.rawValue)
  }

  var defaultValueDescription: String { name.rawValue }
}
