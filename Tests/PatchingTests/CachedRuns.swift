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
    cache = try writeCache(model, prompts, to: directory.path + "/cache", hooks: hooks)
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
