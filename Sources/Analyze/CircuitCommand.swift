import ArgumentParser
import CacheFormat
import FileIO
import Patching
import Terminal

struct CircuitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "circuit",
    abstract: "Tests a circuit: is it faithful, complete and minimal?",
    discussion: """
      A circuit is a file of heads, each kept where it matters. F is the mean metric over the clean \
      prompts: F(M) of the model, F(C) of the circuit, in which every other head's output is \
      replaced, everywhere, and those of the circuit outside their positions. MLPs are computed as \
      always.

      Faithful: |F(M) - F(C)| is small. Complete: |F(C\\K) - F(M\\K)| is small for every set K of its \
      heads. Minimal: for every head v there is a K with a large |F(C\\(K+v)) - F(C\\K)| / |F(M)| \
      (Wang et al. 2022, section 4). examples/ioi-circuit.csv is the circuit of that paper.
      """)

  @OptionGroup var options: TaskOptions

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      The circuit: CSV with a header of class, layer, head, pos and k, or JSON with the same keys. pos is \
      where a head is kept, k what is taken out with it for its minimality.
      """, valueName: "file"))
  var circuit: String

  @Option(
    name: .long,
    help: """
      What takes the place of outputs: a mean over all positions (mean), at each position (mean-pos) or \
      at each position of a template (mean-template), zeros (zero), or the corrupted run's (other).
      """)
  var source: SourceOptions.Name = .meanByTemplate

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Whose mean it is: that of the clean or of the corrupted prompts, which is the default.",
      valueName: "which"))
  var meanOver: MeanPrompts?

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "A set K to test completeness with besides those of the classes, such as 9.9,9.6.",
      valueName: "heads"))
  var without: [String] = []

  @Option(name: .long, help: "So many random sets K, each head in it with probability 1/2.")
  var random = 0

  @Option(
    name: .long,
    help: "Take out so many heads one by one, each the one that makes C and M differ most.")
  var greedy = 0

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write circuit.json, minimality.csv, completeness.csv and completeness.svg into this directory.",
      valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String?

  func validate() throws {
    guard try options.metrics().count == 1 else {
      throw ValidationError("A circuit is tested with one metric.")
    }
    _ = try patchSource()
    guard 0...100_000 ~= random, 0...100_000 ~= greedy else {
      throw ValidationError("--random and --greedy take numbers from 0 to 100,000.")
    }
    _ = try sets()
  }

  func run() throws {
    let report = try report(on: try options.open())
    if options.json {
      print(try report.json())
    } else {
      for line in report.lines(style: .forStandardOutput()) { print(line) }
      if let out {
        printError("wrote \(out)/circuit.json, minimality.csv, completeness.csv, completeness.svg")
      }
    }
    try report.checks?.requireReproduced()
  }

  /// Tests the circuit on a cache that has been opened, and writes the results if there is an `--out`.
  ///
  /// - Parameter command: the command line, as results record it.
  func report(
    on opened: OpenedCache, command: [String] = CommandLine.arguments
  ) throws -> CircuitReport {
    let circuit = try readCircuit(path: self.circuit)
    let source = try patchSource()
    let loaded = try LoadedTask(
      options, source == .otherRun ? .noise : .ablate, source, of: opened)
    let choice = try choice(circuit)
    if let out { try ResultsDirectory.make(out) }
    let runs = try CircuitRuns(
      circuit, engine: loaded.engine, task: loaded.task, source: source, prompts: loaded.prompts)
    var bar: Progress?
    let found = try CircuitEvaluation(runs, completeness: choice) { done, total in
      if done == 0 {
        bar = Progress(
          "running", unit: "passes", total: total, quiet: options.work.quiet || options.json)
      }
      bar?.update(done: done)
    }
    let checks = try options.verify.map { sample in
      try runs.results.map {
        try loaded.engine.check(
          [$0], loaded.task, prompts: loaded.prompts, count: sample.limit ?? .max,
          seed: options.seed)
      }
    }
    let report = CircuitReport(
      command: command, path: self.circuit, circuit: circuit, loaded: loaded,
      source: source, found: found, seed: options.seed, checks: checks)
    if let out { try report.write(to: out) }
    return report
  }

  private func patchSource() throws -> PatchSource {
    guard source != .noise else {
      throw ValidationError(
        "A circuit is tested with means, zeros or the other run, not with noise.")
    }
    return try source.source(meanOver: meanOver, .corrupted, noise: .zero)
  }

  private func sets() throws -> [[AttentionHead]] {
    try without.map { try attentionHeads($0, option: "--without") }
  }

  private func choice(_ circuit: Circuit) throws -> CircuitEvaluation.Choice {
    var choice = CircuitEvaluation.Choice()
    choice.random = random
    choice.greedy = greedy
    choice.seed = options.seed
    choice.sets = try sets().map { heads in
      let removed = try heads.map { head in
        guard let number = circuit.members.firstIndex(where: { $0.head == head }) else {
          throw UsageError("--without names \(head), which is no head of \(self.circuit)")
        }
        return number
      }
      return (heads.map(\.description).joined(separator: " "), Set(removed))
    }
    return choice
  }
}
