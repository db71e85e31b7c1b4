import ArgumentParser
import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

/// Why a part of a study is not there, in a sentence.
struct LeftOut: Error {
  let reason: String
}

typealias Part<Value> = Result<Value, LeftOut>

extension Result {
  var value: Success? { try? get() }
}

/// Makes a part. What the cache lacks for it becomes the reason why it is not there; other errors end the
/// study.
func part<Value>(_ make: () throws -> Value) throws -> Part<Value> {
  do {
    return .success(try make())
  } catch let error as ReadingError {
    switch error {
    case .hooksNotCached, .noPromptOfLength: return .failure(LeftOut(error))
    default: throw error
    }
  } catch let error as PatchingError {
    switch error {
    case .hooksNotCached, .noPairs: return .failure(LeftOut(error))
    default: throw error
    }
  }
}

/// The parts of `analyze report`, each made and written by the command that makes it alone, on a cache
/// that is opened once.
struct Study {
  /// The sweeps of some hooks.
  struct Sweeps {
    let report: PatchReport
    /// What is missing of the hooks that were meant to be swept, a sentence each.
    let missing: [String]
  }

  let options: ReportOptions
  let opened: OpenedCache
  let task: StudyTask
  let config: ModelConfig
  /// nil without a circuit.
  private(set) var circuit: Part<CircuitReport>?
  let lens, layers, heads: Part<ReadingReport>
  let stream, insides: Part<Sweeps>
  let toLogits: Part<PatchReport>
  /// The heads that the paths behind `toLogits` go to; empty if there are none.
  let receivers: [AttentionHead]
  let toQueries, toValues: Part<PatchReport>
  let detection: Part<ReadingReport>
  let patterns: Part<StudyPatterns>
  let scores: ScoresReport
  /// What was found of every head, in the order of the page.
  let lists: [HeadList]

  /// - Throws: whatever is more than a part that the cache does not allow.
  init(_ options: ReportOptions, _ opened: OpenedCache) throws {
    self.options = options
    self.opened = opened
    // What is wrong with a circuit is said before the work.
    if let circuit = options.circuit { _ = try readCircuit(path: circuit) }
    let model = try opened.model()
    let config = model.config
    self.config = config
    task = try StudyTask(options, opened)
    let work = StudyWork(options, opened)
    try PatchReport.makeDirectory(options.out, for: "index.html")
    try task.writeBaselines(to: options.out + "/baselines")
    if let path = options.circuit {
      work.say("circuit: \(path)")
      circuit = try work.circuit(path, task)
    }

    work.say("attribution: logit lens, layers, heads")
    lens = try work.lens(task)
    (layers, heads) = (
      try work.attribution(by: "layer", task), try work.attribution(by: "head", task)
    )

    work.say("patching the stream, by \(task.axis.rawValue)")
    stream = try work.sweeps(
      of: ["resid_pre", "attn_out", "mlp_out"], ["--by", task.axis.rawValue], folder: "patching",
      task)
    work.say("patching heads")
    insides = try work.sweeps(of: ["z", "q", "k", "v", "pattern"], [], folder: "heads", task)

    work.say("paths to the logits")
    toLogits = try work.paths(["--to", "logits"], folder: "path-logits")
    let receivers =
      toLogits.value.map { Study.receivers($0, most: options.top, config) } ?? []
    self.receivers = receivers
    let names = receivers.map(\.description).joined(separator: ",")
    if !receivers.isEmpty { work.say("paths to q and v of \(names)") }
    let reason = Study.reasonWithoutReceivers(toLogits)
    func paths(to input: String) throws -> Part<PatchReport> {
      guard !names.isEmpty else { return .failure(reason) }
      return try work.paths(
        ["--receivers", names, "--input", input], folder: "path-\(input)")
    }
    (toQueries, toValues) = (try paths(to: "q"), try paths(to: "v"))

    work.say("attention")
    detection = try work.detection()
    scores = try work.scores(model)
    let found = HeadList.all(
      config, heads: heads, insides: insides, toLogits: toLogits, toQueries: toQueries,
      toValues: toValues, detection: detection, scores: scores)
    lists = found
    patterns = try work.patterns(
      of: HeadList.interesting(found, count: options.top, config), task)
  }

  /// The heads that write the answer: of those behind layer 0, which hears no head, those whose clear effect on
  /// the logits has the sign of the largest one and at least a fifth of its size, the largest first.
  private static func receivers(_ report: PatchReport, most: Int, _ config: ModelConfig)
    -> [AttentionHead]
  {
    let list = HeadList("path to logits", report, config)
    let ranked = list.top(.max).filter { $0 >= config.heads }
    guard let first = ranked.first, let largest = list.values[first] else { return [] }
    return ranked.filter { (list.values[$0] ?? 0) / largest >= 0.2 }.prefix(most)
      .map { HeadList.head($0, config) }
  }

  private static func reasonWithoutReceivers(_ toLogits: Part<PatchReport>) -> LeftOut {
    switch toLogits {
    case .failure(let reason): reason
    case .success:
      LeftOut(
        reason:
          "No head behind layer 0 has a clear effect on the logits, and layer 0 hears no head.")
    }
  }

  /// The directories that were written beside the page.
  var folders: [String] {
    let made: [(String, Bool)] = [
      ("baselines", task.baselines.value != nil), ("lens", lens.value != nil),
      ("attribution", layers.value != nil || heads.value != nil),
      ("patching", stream.value != nil), ("heads", insides.value != nil),
      ("attention", detection.value != nil || patterns.value != nil),
      ("path-logits", toLogits.value != nil), ("path-q", toQueries.value != nil),
      ("path-v", toValues.value != nil), ("circuit", circuit?.value != nil), ("scores", true),
    ]
    return made.filter(\.1).map(\.0)
  }
}

/// Runs the commands of a study's parts.
struct StudyWork {
  private let options: ReportOptions
  private let opened: OpenedCache

  init(_ options: ReportOptions, _ opened: OpenedCache) {
    (self.options, self.opened) = (options, opened)
  }

  func say(_ line: String) {
    if !options.work.quiet { printError("report: \(line)") }
  }

  /// A command with its words, as a user would write them to get the same files.
  ///
  /// - Parameter folder: where its results go, inside `--out`.
  private func command<Command: ParsableCommand>(
    _ type: Command.Type, _ more: [String], folder: String
  ) throws -> (Command, words: [String]) {
    let words =
      StudyWork.option("--cache", options.cache)
      + (options.model.map { StudyWork.option("--model", $0) } ?? []) + more
      + StudyWork.option("--out", "\(options.out)/\(folder)")
    // What no result depends on is left to the user.
    let work =
      ["--threads", "\(options.work.threads)", "--io", options.io.access.rawValue]
      + (options.work.quiet ? ["--quiet"] : [])
    return (
      try type.parse(words + work),
      ["analyze", type.configuration.commandName ?? ""] + words
    )
  }

  /// A value that begins with a dash would be taken for an option.
  private static func option(_ name: String, _ value: String) -> [String] {
    value.hasPrefix("-") ? ["\(name)=\(value)"] : [name, value]
  }

  private var pairOptions: [String] {
    ["--metric", options.metric.rawValue] + (options.skipUnaligned ? ["--skip-unaligned"] : [])
  }

  private var sweepOptions: [String] {
    pairOptions + ["--direction", options.direction.rawValue, "--top", "\(options.top)"]
  }

  func lens(_ task: StudyTask) throws -> Part<ReadingReport> {
    let metrics = [options.metric] + (task.hasAnswers && options.metric != .rank ? [.rank] : [])
    let names = metrics.map(\.rawValue).joined(separator: ",")
    return try part {
      let (lens, words) = try command(LensCommand.self, ["--metric", names], folder: "lens")
      let report = try lens.report(on: opened, command: words)
      try report.write(to: options.out + "/lens")
      return report
    }
  }

  func attribution(by split: String, _ task: StudyTask) throws -> Part<ReadingReport> {
    let target: LogitTarget =
      options.metric == .logit || !task.hasWrongAnswers ? .logit : .logitDiff
    return try part {
      let (attribution, words) = try command(
        AttributionCommand.self,
        ["--by", split, "--metric", target.rawValue, "--top", "\(options.top)"],
        folder: "attribution")
      let report = try attribution.report(on: opened, command: words)
      try report.write(to: options.out + "/attribution")
      return report
    }
  }

  /// Sweeps of those hooks that the cache allows.
  func sweeps(of hooks: [String], _ more: [String], folder: String, _ task: StudyTask) throws
    -> Part<Study.Sweeps>
  {
    let roles: [String]
    switch task.pairs {
    case .success(let pairs): roles = pairs.roles
    case .failure(let reason): return .failure(reason)
    }
    let engine = PatchEngine(
      cache: opened.reader, model: try opened.model(), threads: options.work.threads)
    func patch(_ hooks: [String]) throws -> (PatchCommand, words: [String]) {
      try command(
        PatchCommand.self, ["--hooks", hooks.joined(separator: ",")] + more + sweepOptions,
        folder: folder)
    }
    var held: [String] = []
    var missing: [String] = []
    for hook in hooks {
      let sweeps = try patch([hook]).0.sweeps.sweeps(for: engine.model.config, roles: roles)
      do {
        try engine.require(sweeps)
        held.append(hook)
      } catch {
        guard case .hooksNotCached = error else { throw error }
        let sentence = "\(hook): \(error.description)."
        missing.append(sentence)
      }
    }
    guard !held.isEmpty else {
      return .failure(LeftOut(reason: missing.first ?? ""))
    }
    return try part {
      let (patch, words) = try patch(held)
      return Study.Sweeps(
        report: try patch.sweepRun(as: words).report(on: opened), missing: missing)
    }
  }

  func paths(_ more: [String], folder: String) throws -> Part<PatchReport> {
    try part {
      let (path, words) = try command(PathCommand.self, more + sweepOptions, folder: folder)
      return try path.sweepRun(as: words).report(on: opened)
    }
  }

  func detection() throws -> Part<ReadingReport> {
    try part {
      let (attention, words) = try command(
        AttentionCommand.self, ["--top", "\(options.top)"], folder: "attention")
      let report = try attention.report(on: opened, command: words)
      try report.write(to: options.out + "/attention")
      return report
    }
  }

  /// The patterns of some heads on the example.
  func patterns(of heads: [AttentionHead], _ task: StudyTask) throws -> Part<StudyPatterns> {
    let number = task.example.clean
    let length = opened.prompts[number].tokens.count
    guard length <= StudyPatterns.mostPositions else {
      return .failure(
        LeftOut(
          reason: "Patterns of \(grouped(length)) positions are too large for this page; "
            + "`analyze attention --heads L.H --prompt \(number) --out DIR` draws them."))
    }
    guard !heads.isEmpty else {
      return .failure(LeftOut(reason: "No head stands out in what could be measured here."))
    }
    return try part {
      let names = heads.map(\.description).joined(separator: ",")
      let (attention, words) = try command(
        AttentionCommand.self, ["--heads", names, "--prompt", "\(number)"], folder: "attention")
      let show = AttentionShow(
        options: attention.options, heads: heads, number: number, command: words)
      let prompt = opened.prompts[number]
      return StudyPatterns(
        show: show, prompt: prompt, patterns: try show.patterns(in: opened.reader, of: prompt))
    }
  }

  func scores(_ model: GPT2) throws -> ScoresReport {
    let (scores, words) = try command(
      ScoresCommand.self, ["--top", "\(options.top)"], folder: "scores")
    return try scores.report(opened.reader, model, command: words)
  }

  /// Templates and corrupted prompts say what takes the place of what is outside the circuit.
  func circuit(_ path: String, _ task: StudyTask) throws -> Part<CircuitReport> {
    let source = task.haveTemplates ? "mean-template" : "mean-pos"
    let over = task.pairs.value == nil ? ["--mean-over", "clean"] : []
    return try part {
      let (circuit, words) = try command(
        CircuitCommand.self,
        StudyWork.option("--circuit", path) + ["--source", source] + over + pairOptions
          + ["--random", "10"], folder: "circuit")
      return try circuit.report(on: opened, command: words)
    }
  }
}

extension LeftOut {
  init(_ error: any ReportableError) {
    let text = "\(error)"
    reason = text.prefix(1).uppercased() + text.dropFirst() + "."
  }
}

/// The attention patterns of the top heads on the example.
struct StudyPatterns {
  let show: AttentionShow
  let prompt: Prompt
  /// By head, [T, T].
  let patterns: [[Float]]

  /// The most positions whose patterns the page shows.
  static let mostPositions = 256
}
