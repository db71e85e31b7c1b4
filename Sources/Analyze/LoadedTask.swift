import CacheFormat
import Model
import Patching
import Terminal

/// The pairs of a cache with the model that made it, ready to be run.
struct LoadedTask {
  let cache: CacheReader
  let prompts: [Prompt]
  let metrics: [AnswerMetric]
  let selection: TaskSelection
  let engine: PatchEngine

  var model: GPT2 { engine.model }
  var task: AnswerTask { AnswerTask(pairs: selection.pairs, metrics: metrics) }

  init(
    _ options: TaskOptions, _ direction: Direction, _ source: PatchSource, of opened: OpenedCache
  ) throws {
    cache = opened.reader
    try cache.requireOwnRuns()
    prompts = opened.prompts
    metrics = try options.metrics()
    selection = try TaskSelection(
      opened.rows, prompts: prompts, committed: cache.committedPrompts,
      needs: TaskNeeds(metrics, direction, source), skipUnaligned: options.skipUnaligned)
    engine = try opened.engine()
    try selection.checkTokens(vocabulary: engine.model.config.vocabulary)
  }
}
