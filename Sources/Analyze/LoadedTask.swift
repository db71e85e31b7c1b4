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

  init(_ options: TaskOptions, _ direction: Direction, _ source: PatchSource) throws {
    cache = try CacheReader(directory: options.cache, access: options.io.access)
    prompts = try cache.prompts()
    metrics = try options.metrics()
    selection = try TaskSelection(
      try cache.pairs(), prompts: prompts, committed: cache.committedPrompts,
      needs: TaskNeeds(metrics, direction, source), skipUnaligned: options.skipUnaligned)
    let model = try loadModel(for: cache, name: options.model, work: options.work)
    try selection.checkTokens(vocabulary: model.config.vocabulary)
    engine = PatchEngine(cache: cache, model: model, threads: options.work.threads)
  }
}
