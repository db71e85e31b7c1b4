import ArgumentParser
import Patching
import Terminal

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

      Metrics: logit-diff is logit[answer] - logit[wrong answer], logit the first of them; prob, logprob and loss are the \
      answer's probability, its logarithm and the negative of that; kl is KL(clean run || run) over \
      the vocabulary; rank is the number of tokens with a larger logit than the answer.
      """)

  @OptionGroup var options: RunOptions

  @OptionGroup var sweeps: SweepOptions

  @Option(
    name: .long, help: "Which run is patched: the corrupted one (denoise) or the clean one (noise)."
  )
  var direction: PatchDirection = .denoise

  @Option(
    name: .long,
    help: """
      What is put in: the other run's activations (other), zeros (zero), the mean of that run's \
      prompts over all positions (mean), at each position (mean-pos) or at each position of a \
      template (mean-template), or what is there with normal noise on it (noise).
      """)
  var source: SourceOptions.Name = .other

  @OptionGroup var sourceOptions: SourceOptions

  func validate() throws { _ = try patchSource() }

  func run() throws { try sweepRun().run() }

  /// - Parameter command: the command line, as results record it.
  func sweepRun(as command: [String] = CommandLine.arguments) throws -> SweepRun {
    SweepRun(
      options: options, direction: direction.direction, source: try patchSource(),
      capture: sweeps.capture, command: command
    ) { try sweeps.sweeps(for: $0, roles: $1.roles) }
  }

  private func patchSource() throws -> PatchSource {
    try sourceOptions.source(
      source, seed: options.task.seed, meanOver: direction == .denoise ? .clean : .corrupted)
  }
}

/// The directions between two runs.
enum PatchDirection: String, ExpressibleByArgument, CaseIterable {
  case denoise, noise

  var direction: Direction { self == .denoise ? .denoise : .noise }
}
