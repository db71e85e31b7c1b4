import ArgumentParser
import Model
import Patching
import Terminal

struct PathCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "path",
    abstract: "Path patching: what heads say to other heads, and to the logits.",
    discussion: """
      Every cell takes one head's output from the other run, but only as far as the receivers hear it: \
      the queries, keys or values of some heads (--receivers, --input), or the logits (--to logits). All \
      other heads' outputs stand still on the way. With --senders given, the receivers are swept \
      instead.

      Through MLPs (through-mlps) is the definition of Wang et al. 2022 and ARENA: MLPs on the way \
      are computed anew. Direct edges (direct) pass the residual stream alone, as in TransformerLens \
      4.3. Directions, effects, metrics and files are those of `analyze patch`.
      """)

  @OptionGroup var options: RunOptions

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      The heads that hear, such as 9.9,10.0,9.6: all of them together. Every option of its own is a \
      sweep of its own.
      """, valueName: "heads"))
  var receivers: [String] = []

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The heads that speak, all of them together; by default each head by itself.",
      valueName: "heads"))
  var senders: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "What of the receivers is patched: some of q, k and v, together.", valueName: "inputs"))
  var input: String?

  @Option(name: .long, help: "Where the paths end if not at heads: logits.")
  var to: PathEnd?

  @Option(
    name: .long,
    help: "What lies on a path: MLPs as well (through-mlps), or the residual stream alone (direct)."
  )
  var paths: PathPatch.Definition = .throughMLPs

  @Option(
    name: .long, help: "Which run is patched: the corrupted one (denoise) or the clean one (noise)."
  )
  var direction: PatchDirection = .denoise

  @Option(
    name: .long,
    help: """
      Whose output the senders get: the other run's (other), zeros (zero), or the mean of that run's \
      prompts over all positions (mean), at each position (mean-pos) or at each position of a \
      template (mean-template), or their own with normal noise on it (noise).
      """)
  var source: SourceOptions.Name = .other

  @OptionGroup var sourceOptions: SourceOptions

  func validate() throws {
    _ = try patchSource()
    _ = try patches()
  }

  func run() throws { try sweepRun().run() }

  /// - Parameter command: the command line, as results record it.
  func sweepRun(as command: [String] = CommandLine.arguments) throws -> SweepRun {
    let paths = try patches()
    return SweepRun(
      options: options, direction: direction.direction, source: try patchSource(),
      command: command
    ) { config, _ in
      try paths.map { try Sweep($0, config: config) }
    }
  }

  private func patchSource() throws -> PatchSource {
    try sourceOptions.source(
      source, seed: options.task.seed, meanOver: direction == .denoise ? .clean : .corrupted)
  }

  private func patches() throws -> [PathPatch] {
    let senders = try senders.map { try attentionHeads($0, option: "--senders") }
    guard to == nil || (receivers.isEmpty && input == nil) else {
      throw ValidationError("Give --to logits, or --receivers and --input, not both.")
    }
    if to != nil { return [try PathPatch(paths, toLogitsFrom: senders)] }
    guard let input else {
      throw ValidationError(
        "Say where the paths end: --to logits, or --input q, k or v with --receivers or --senders.")
    }
    let inputs = try input.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let kind = PathPatch.headInputs.first(where: { $0.shortName == name }) else {
        throw ValidationError("There is no input '\(name)' of a head; there are q, k and v.")
      }
      return kind
    }
    guard Set(inputs).count == inputs.count else {
      throw ValidationError("--input names an input twice.")
    }
    guard !receivers.isEmpty || senders != nil else {
      throw ValidationError("Say which heads hear (--receivers) or which speak (--senders).")
    }
    let lists = try receivers.map { try attentionHeads($0, option: "--receivers") }
    guard Set(lists).count == lists.count else {
      throw ValidationError("--receivers names the same heads twice.")
    }
    if lists.isEmpty { return [try PathPatch(paths, from: senders, to: nil, inputs: inputs)] }
    return try lists.map { try PathPatch(paths, from: senders, to: $0, inputs: inputs) }
  }
}

/// Where paths end that do not end at heads.
enum PathEnd: String, ExpressibleByArgument, CaseIterable {
  case logits
}

extension PathPatch.Definition: ExpressibleByArgument {}

/// Heads written as `9.9,10.0`.
///
/// - Throws: `ValidationError` if one is not a head or is there twice.
func attentionHeads(_ text: String, option: String) throws -> [AttentionHead] {
  let heads = try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
    guard let head = AttentionHead(name) else {
      throw ValidationError("'\(name)' is no head; \(option) takes heads such as 9.9,10.0.")
    }
    return head
  }
  guard Set(heads).count == heads.count else {
    throw ValidationError("\(option) names a head twice.")
  }
  return heads
}
