import ArgumentParser
import Patching
import Terminal

struct AblateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ablate",
    abstract: "Ablation: what the answer loses without an activation.",
    discussion: """
      Every cell takes one activation out of the clean run and measures the logits at the last \
      position. The effect is the difference to the run as it was, in the metric's own units. \
      Prompts need no corrupted counterpart; logit-diff needs an answer and a wrong one, logit, prob, \
      logprob, loss and rank an answer, and kl neither.

      Cells, metrics and files are those of `analyze patch`.
      """)

  @OptionGroup var options: RunOptions

  @OptionGroup var sweeps: SweepOptions

  @Option(
    name: .long,
    help: """
      What takes its place: zeros (zero), the mean over all positions of all prompts (mean), at each \
      position (mean-pos) or at each position of a template (mean-template), or what is there with \
      normal noise on it (noise).
      """)
  var source: SourceOptions.Name = .mean

  @OptionGroup var sourceOptions: SourceOptions

  func validate() throws {
    guard source != .other else {
      throw ValidationError(
        "An ablation has no other run; analyze patch --direction noise puts in that of the corrupted "
          + "prompt.")
    }
    _ = try patchSource()
  }

  func run() throws {
    try SweepRun(
      options: options, direction: .ablate, source: try patchSource(), capture: sweeps.capture
    ) { try sweeps.sweeps(for: $0, roles: $1.roles) }.run()
  }

  private func patchSource() throws -> PatchSource {
    try sourceOptions.source(source, seed: options.task.seed, meanOver: .clean)
  }
}
