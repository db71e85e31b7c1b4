import ArgumentParser
import CacheFormat
import FileIO
import Hub
import Model
import Parallel
import Patching
import Terminal

struct AuditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit",
    abstract: "Runs the model again and compares every activation with the cache.",
    discussion: """
      Checksums say that a cache is what was written; an audit says that what was written is what the \
      model computes. Whole segments are run again and their arrays compared bit for bit; in a cache of f16 or \
      bf16 after rounding, and arrays that are derived from rounded ones within the largest error that \
      was recorded at capture. In a cache that was captured with another arithmetic, that of an earlier \
      version, values may differ by a thousandth of their array's root mean square. The exit status is \
      65 when an array differs.
      """)

  @OptionGroup var cached: CacheOptions

  @Option(
    name: .long,
    help: ArgumentHelp(
      "How many segments to run again, chosen at random, or all.", valueName: "number|all"))
  var sample = SampleSize.some(4)

  @Option(name: .long, help: "The seed of the choice; by default another one each time.")
  var seed: UInt64?

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  func validate() throws { try sample.check(option: "--sample") }

  func run() throws {
    let reader = try CacheReader(directory: cached.cache, access: io.access)
    try reader.requireOwnRuns()
    let prompts = try reader.prompts()
    let segments = reader.plan.segmentRanges(tokenCounts: prompts.map(\.tokens.count))
      .filter { $0.upperBound <= reader.committedPrompts }
    guard !segments.isEmpty else {
      throw CacheError.noSuchPrompt(
        directory: reader.directory, prompt: 0, committed: 0, planned: reader.plan.promptCount)
    }
    let seed = seed ?? UInt64.random(in: 0...UInt64(UInt32.max))
    let chosen = sample.choose(from: segments, seed: seed)
    let gpt2 = try loadModel(for: reader, name: cached.model, work: work)
    _ = try loadTokenizer(for: reader, name: cached.model, quiet: work.quiet)
    let rerun = try SegmentRerun(reader: reader, model: gpt2, prompts: prompts)

    let audited = chosen.reduce(0) { $0 + $1.count }
    var progress = Progress("auditing", unit: "prompts", total: audited, quiet: work.quiet || json)
    var audit = CacheAudit(of: reader, hasSameKernels: rerun.hasSameKernels)
    var done = 0
    try parallelForEach(chosen.count, threads: work.threads) { (index) throws(any Error) in
      try rerun.run(chosen[index])
    } then: { (arrays: [AuditedArray]) throws(any Error) in
      for array in arrays { audit.add(array) }
      done += arrays.count / max(1, reader.plan.hooks.count)
      progress.update(done: done)
    }
    let report = AuditReport(
      audit: audit, cache: reader.directory, model: reader.plan.model.name,
      segments: chosen.count, allSegments: segments.count, prompts: audited, seed: seed,
      kernel: Linear.arithmetic, capturedKernel: reader.plan.kernel,
      isRounded: reader.plan.elementType != .f32)
    if json {
      print(try report.json())
    } else {
      for line in report.lines(style: .forStandardOutput()) { print(line) }
    }
    if audit.failedArrays > 0 { throw AuditFailed(report: report) }
  }
}

extension SampleSize {
  /// Segments without repetition, in their order in the cache.
  func choose(from segments: [Range<Int>], seed: UInt64) -> [Range<Int>] {
    guard let count = limit, count < segments.count else { return segments }
    var generator = SplitMix64(state: seed)
    return segments.shuffled(using: &generator).prefix(count)
      .sorted { $0.lowerBound < $1.lowerBound }
  }
}

/// Runs segments of a cache again, each as one batch with the hooks of the capture.
private struct SegmentRerun: Sendable {
  let reader: CacheReader
  let model: GPT2
  let prompts: [Prompt]
  let hasSameKernels: Bool
  /// The place of each hook point in the cache's table.
  private let columns: [HookPoint: Int]

  /// - Throws: `CacheMismatch.unknownHook`.
  init(reader: CacheReader, model: GPT2, prompts: [Prompt]) throws {
    self.reader = reader
    self.model = model
    self.prompts = prompts
    hasSameKernels = Linear.arithmetic == reader.plan.kernel
    let known = Set(model.config.hookPoints)
    var columns: [HookPoint: Int] = [:]
    for (column, hook) in reader.plan.hooks.enumerated() {
      guard let point = HookPoint(name: hook.name), known.contains(point) else {
        throw CacheMismatch.unknownHook(cache: reader.directory, hook.name)
      }
      columns[point] = column
    }
    self.columns = columns
  }

  /// Every array of a segment, hook by hook.
  func run(_ segment: Range<Int>) throws -> [AuditedArray] {
    var arrays: [AuditedArray] = []
    let hooks = PassHooks(reading: Set(columns.keys)) { activation in
      guard let column = columns[activation.hook] else { return }
      for (index, prompt) in segment.enumerated() {
        arrays.append(
          try reader.audit(
            hook: column, prompt: prompt,
            computed: UnsafeBufferPointer(activation.sequence(index)),
            hasSameKernels: hasSameKernels))
      }
    }
    try ForwardPass(model).run(tokens: prompts[segment].map(\.tokens), hooks: hooks)
    return arrays
  }
}
