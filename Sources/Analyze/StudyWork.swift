import ArgumentParser
import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

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
  /// - Parameters:
  ///   - folder: where its results go, inside `--out`.
  ///   - hasModel: whether it takes a model.
  private func command<Command: ParsableCommand>(
    _ type: Command.Type, _ more: [String], folder: String, hasModel: Bool = true
  ) throws -> (Command, words: [String]) {
    let words =
      StudyWork.cacheOptions(options, hasModel: hasModel) + more
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

  /// The cache and, where the user named one, the model.
  static func cacheOptions(_ options: ReportOptions, hasModel: Bool = true) -> [String] {
    let model = hasModel ? options.cached.model : nil
    return option("--cache", options.cached.cache) + (model.map { option("--model", $0) } ?? [])
  }

  /// A value that begins with a dash would be taken for an option.
  static func option(_ name: String, _ value: String) -> [String] {
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
    let engine = try opened.engine()
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
        AttentionCommand.self, ["--top", "\(options.top)"], folder: "attention", hasModel: false)
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
        AttentionCommand.self, ["--heads", names, "--prompt", "\(number)"], folder: "attention",
        hasModel: false)
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
