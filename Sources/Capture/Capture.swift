import ArgumentParser
import CacheFormat
import FileIO
import Hub
import Model
import Terminal

extension ElementType: ExpressibleByArgument {}

/// How weights are processed, as `--weights` names it.
enum WeightsOption: String, ExpressibleByArgument, CaseIterable {
  case transformerlens, raw
}

extension Proofs: ExpressibleByArgument {}

/// Which arrays a cache stores.
enum StoreOption: String, ExpressibleByArgument, CaseIterable {
  case compact, full
}

/// A number of bytes as people write it.
struct ByteCount: ExpressibleByArgument {
  let count: Int

  init?(argument: String) {
    var digits = argument[...]
    var unit = 1
    if let last = argument.last, let power = "KMGT".firstIndex(of: Character(last.uppercased())) {
      let steps = "KMGT".distance(from: "KMGT".startIndex, to: power) + 1
      unit = (0..<steps).reduce(1) { product, _ in product * 1000 }
      digits = digits.dropLast()
    }
    guard let number = Int(digits), number >= 0 else { return nil }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: unit)
    guard !overflow else { return nil }
    count = bytes
  }
}

struct CaptureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "capture",
    abstract: "Runs GPT-2 once per prompt and writes every activation into a cache.",
    discussion: """
      The cache is a directory that `analyze` and `cachedump` read. Activations have TransformerLens's \
      names, shapes and values. Every distinct prompt is run once, however often it occurs.
      """,
    version: toolVersion)

  @Option(
    name: .long, help: ArgumentHelp("The prompt file, .txt or .jsonl.", valueName: "file"))
  var prompts: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The cache to make: a directory that is empty or not there.", valueName: "dir"))
  var out: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      A directory in Hugging Face's layout, or a name on its hub, such as gpt2-medium or \
      owner/name@revision, which is fetched unless it is in the hub's local cache.
      """, valueName: "model"))
  var model = "gpt2"

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      Hooks to capture, separated by commas: full names, globs, short names (resid_pre, z, k6). By \
      default all those that TransformerLens's run_with_cache keeps.
      """, valueName: "names"))
  var hooks: [String] = []

  @Option(name: .long, help: "The number format in the cache; f16 and bf16 round.")
  var dtype: ElementType = .f32

  @Option(
    name: .long,
    help: """
      compact derives what needs no matrix product from the other arrays, when it is read: half the \
      bytes, the same values bit for bit. full stores every array.
      """)
  var store: StoreOption = .compact

  @Option(
    name: .long,
    help: """
      How many of the arrays that are to be derived are computed while capturing and compared with \
      the true ones. Checksums of all of them are checked whenever they are read.
      """)
  var prove: Proofs = .sample

  @Option(
    name: .long,
    help:
      "transformerlens folds and centres as HookedTransformer.from_pretrained does; raw leaves the checkpoint alone."
  )
  var weights: WeightsOption = .transformerlens

  @Flag(
    name: .long,
    help: "Refactor each head's factored matrices too (refactor_factored_attn_matrices).")
  var refactor = false

  @Flag(name: .long, help: "Do not put <|endoftext|> before each prompt.")
  var noBos = false

  @Flag(name: .long, help: "Leave out pairs whose prompts differ in length.")
  var skipUnaligned = false

  @Flag(
    name: .long,
    help: "Go on with an interrupted capture; the cache ends as if it had never been interrupted.")
  var resume = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Stop, at a whole prompt, before the cache takes more: 500M, 20G, 1T or plain bytes.",
      valueName: "size"))
  var maxBytes: ByteCount?

  @Flag(
    name: .long,
    help: "Take the lock that a capture on another host left, if that capture is gone.")
  var breakLock = false

  @Flag(name: .long, help: "Show what would be captured and how large it is, and write nothing.")
  var dryRun = false

  @OptionGroup var work: WorkOptions

  func validate() throws {
    guard !refactor || weights == .transformerlens else {
      throw ValidationError("--refactor needs folded weights; leave out --weights raw.")
    }
  }

  func run() throws {
    let file = try PromptFile(path: prompts)
    let directory = try locateModel(
      model, for: dryRun ? .tokenizer : .weights, quiet: work.quiet)
    let config = try ModelConfig(directory: directory)
    let tokenizer = try Tokenizer(directory: directory)
    if let doubt = tokenizer.doubt { printError("warning: \(doubt)") }
    let set = try PromptSet(
      file, encode: tokenizer.encode, piece: tokenizer.piece,
      bytes: tokenizer.bytes(of:), bos: noBos ? nil : tokenizer.endOfText,
      contextLength: config.contextLength, skipUnaligned: skipUnaligned)
    let points = try hookPoints(of: config)
    let processing: WeightProcessing =
      weights == .raw ? .raw : refactor ? .refactored : .transformerlens
    let table = HookTable(
      points: points, config: config, isCompact: store == .compact,
      foldsLayerNorm: processing != .raw)
    let size = try CaptureSize(
      prompts: set.prompts, points: points, specs: table.specs, dtype: dtype)
    for line in set.warnings { printError("warning: \(line)") }
    if dryRun {
      for line in size.lines(out: out) { print(line) }
      return
    }

    // Before the model is loaded, which takes longest, see that there is somewhere to write to.
    let start: CacheWriter.Start = resume ? .resume : .new
    let there = try CacheWriter.survey(out, start: start, breakingLock: breakLock)
    let limit = maxBytes.map { max(0, $0.count - there.bytes) }
    if let free = freeSpace(at: out),
      let tight = try size.checkRoom(at: out, free: free, after: there.prompts, limit: limit)
    {
      printError("warning: \(tight)")
    }
    StopSignal.watch()
    let gpt2 = try GPT2(directory: directory, processing: processing, threads: work.threads)
    let plan = CachePlan(
      tool: toolVersion,
      model: ModelIdentity(
        name: model, weightsDigest: gpt2.weightsDigest, tokenizerDigest: tokenizer.digest, config),
      weights: processing.rawValue, prependBOS: !noBos, kernel: Linear.arithmetic,
      promptFileName: prompts, promptFileDigest: file.digest, promptCount: set.prompts.count,
      pairCount: set.pairs.count, store: store.rawValue, proofs: prove, elementType: dtype,
      segmentBytes: CaptureRun.segmentBytes(of: size), hooks: table.specs)
    let writer = try CacheWriter(
      directory: out, plan: plan, prompts: set.prompts, pairs: set.pairs,
      start: start, breakingLock: breakLock)
    if writer.isComplete {
      print("\(out) is complete: \(grouped(set.prompts.count)) prompts")
      return
    }
    if writer.committedPrompts > 0, !work.quiet {
      printError(
        "resuming: \(grouped(writer.committedPrompts)) of \(grouped(set.prompts.count)) prompts "
          + "are there")
    }
    let run = CaptureRun(
      model: gpt2, points: points, prompts: set.prompts, segments: writer.segmentRanges,
      writer: writer, threads: work.threads, maxBytes: maxBytes?.count)
    let summary = try run.run(quiet: work.quiet)
    if summary.adopted > 0, !work.quiet {
      printError("adopted \(counted(summary.adopted, "segment")), there already, whole and sound")
    }
    if let first = summary.strange.first {
      printError(
        "warning: the last rows of \(counted(summary.strange.count, "prompt")), number \(first) the first, are "
          + "not finite numbers; look at the weights")
    }
    print(
      "captured \(counted(set.prompts.count, "prompt")) (\(grouped(size.tokens)) tokens), "
        + "\(points.count) hooks: \(byteSize(size.bytes)) of activations in \(byteSize(summary.bytes)), "
        + "\(duration(summary.seconds)), "
        + "\(grouped(Int(Double(summary.tokens) / summary.seconds))) tokens/s "
        + "(\(Linear.arithmetic) kernels)")
  }

  private func hookPoints(of config: ModelConfig) throws -> [HookPoint] {
    let points = config.hookPoints
    guard !hooks.isEmpty else { return points.filter(\.kind.isDefault) }
    let selector = HookSelector(
      defaults: points.filter(\.kind.isDefault).map(\.name),
      optional: points.filter { !$0.kind.isDefault }.map(\.name), layers: config.layers)
    let selected = Set(try selector.select(hooks))
    return points.filter { selected.contains($0.name) }
  }
}

@main
enum Capture {
  static func main() {
    runCommand(CaptureCommand.self, name: "capture")
  }
}
