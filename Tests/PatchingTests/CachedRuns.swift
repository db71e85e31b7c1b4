import CacheFormat
import Model
import Patching
import TestSupport

/// Runs of a fixture model in a cache of their own, as `capture` would write them.
final class CachedRuns: Sendable {
  let model: GPT2
  let prompts: [Prompt]
  let cache: CacheReader
  private let directory: TemporaryDirectory

  init(
    _ model: GPT2, _ tokens: [[Int32]], hooks: (HookPoint) -> Bool = { $0.kind.isDefault }
  ) throws {
    self.model = model
    directory = try TemporaryDirectory()
    prompts = tokens.map { Prompt(text: "", tokens: $0, pieces: $0.map { "\($0)" }) }
    let config = model.config
    let points = config.hookPoints.filter(hooks)
    let plan = CachePlan(
      tool: "test",
      model: ModelIdentity(
        name: "test", weightsDigest: model.weightsDigest,
        tokenizerDigest: String(repeating: "0", count: 64),
        layers: config.layers, heads: config.heads, width: config.width,
        headWidth: config.headWidth, mlpWidth: config.mlpWidth, vocabulary: config.vocabulary,
        contextLength: config.contextLength),
      weights: model.processing.rawValue, prependBOS: false, kernel: Linear.arithmetic,
      promptFileName: "test", promptFileDigest: String(repeating: "0", count: 64),
      promptCount: tokens.count, pairCount: 0,
      hooks: points.map { point in
        HookSpec(
          name: point.name,
          shape: point.kind.axes.map { $0.length(in: config).map(Dimension.fixed) ?? .positions })
      })
    let path = directory.path + "/cache"
    let writer = try CacheWriter(directory: path, plan: plan, prompts: prompts, pairs: [])
    let columns = Dictionary(uniqueKeysWithValues: points.enumerated().map { ($1, $0) })
    for (number, range) in writer.segmentRanges.enumerated() {
      let segment = try writer.openSegment(number)
      try ForwardPass(model).run(
        tokens: prompts[range].map(\.tokens),
        hooks: PassHooks(reading: Set(points)) { activation in
          guard let column = columns[activation.hook] else { return }
          for (index, prompt) in range.enumerated() {
            try segment.append(
              hook: column, prompt: prompt, values: UnsafeBufferPointer(activation.sequence(index)))
          }
        })
      try writer.commit(try segment.seal())
    }
    try writer.finish()
    cache = try CacheReader(directory: path)
  }

  func engine(threads: Int = 2, rowsPerPass: Int = 512) -> PatchEngine {
    PatchEngine(cache: cache, model: model, threads: threads, rowsPerPass: rowsPerPass)
  }

  func run(
    _ sweep: Sweep, _ task: any PatchingTask, _ direction: Direction, threads: Int = 2,
    rowsPerPass: Int = 512
  ) throws -> SweepResult {
    let engine = engine(threads: threads, rowsPerPass: rowsPerPass)
    return try engine.run(
      sweep, task, direction: direction, prompts: prompts,
      baselines: try engine.baselines(task, prompts: prompts))[0]
  }
}

/// The pairs of a fixture's patching.safetensors: prompt 2i is the clean one of pair i, 2i + 1 the
/// corrupted one.
struct ReferencePairs {
  let arrays: ReferenceArrays
  let tokens: [[Int32]]
  let task: AnswerTask

  init(_ folder: String) throws {
    arrays = try ReferenceArrays("\(folder)/patching.safetensors")
    var tokens: [[Int32]] = []
    var pairs: [PatchingPair] = []
    for index in 0..<3 {
      tokens.append(try arrays.tokens("pair\(index)/clean_tokens"))
      tokens.append(try arrays.tokens("pair\(index)/corrupted_tokens"))
      let answers = try arrays.tokens("pair\(index)/answers")
      pairs.append(
        PatchingPair(
          clean: 2 * index, corrupted: 2 * index + 1, answer: answers[0], wrongAnswer: answers[1]))
    }
    self.tokens = tokens
    task = AnswerTask(pairs: pairs)
  }
}
