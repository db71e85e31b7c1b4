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

extension LeftOut {
  init(_ error: any ReportableError) {
    let text = "\(error)"
    reason = text.prefix(1).uppercased() + text.dropFirst() + "."
  }
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
    case .hooksNotCached, .noPromptOf: return .failure(LeftOut(error))
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
    try ResultsDirectory.make(options.out, for: "index.html")
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
  var folders: [String] { parts.filter(\.isMade).map(\.folder) }

  /// The directories of parts that it does not have.
  var otherFolders: [String] { parts.filter { !$0.isMade }.map(\.folder) }

  private var parts: [(folder: String, isMade: Bool)] {
    [
      ("baselines", task.baselines.value != nil), ("lens", lens.value != nil),
      ("attribution", layers.value != nil || heads.value != nil),
      ("patching", stream.value != nil), ("heads", insides.value != nil),
      ("attention", detection.value != nil || patterns.value != nil),
      ("path-logits", toLogits.value != nil), ("path-q", toQueries.value != nil),
      ("path-v", toValues.value != nil), ("circuit", circuit?.value != nil), ("scores", true),
    ]
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
