import CacheFormat
import Model

/// Runs prompts and writes what hooks see of them, as `capture --store full` would.
///
/// - Parameters:
///   - path: of a directory that is made.
///   - hooks: which hooks; by default those of `run_with_cache`.
public func writeCache(
  _ model: GPT2, _ prompts: [Prompt], pairs: [PromptPair] = [], to path: String,
  hooks: (HookPoint) -> Bool = { $0.kind.isDefault }
) throws -> CacheReader {
  let config = model.config
  let points = config.hookPoints.filter(hooks)
  let zeros = String(repeating: "0", count: 64)
  let plan = CachePlan(
    tool: "test",
    model: ModelIdentity(
      name: "test", weightsDigest: model.weightsDigest, tokenizerDigest: zeros,
      layers: config.layers, heads: config.heads, width: config.width,
      headWidth: config.headWidth, mlpWidth: config.mlpWidth, vocabulary: config.vocabulary,
      contextLength: config.contextLength),
    weights: model.processing.rawValue, prependBOS: false, kernel: Linear.arithmetic,
    promptFileName: "test", promptFileDigest: zeros, promptCount: prompts.count,
    pairCount: pairs.count,
    hooks: points.map { point in
      HookSpec(
        name: point.name,
        shape: point.kind.axes.map { $0.length(in: config).map(Dimension.fixed) ?? .positions })
    })
  let writer = try CacheWriter(directory: path, plan: plan, prompts: prompts, pairs: pairs)
  let columns = Dictionary(uniqueKeysWithValues: points.enumerated().map { ($1, $0) })
  for (number, range) in writer.segmentRanges.enumerated() {
    let segment = try writer.openSegment(number)
    try ForwardPass(model).run(
      tokens: prompts[range].map(\.tokens),
      hooks: PassHooks(reading: Set(points)) { activation in
        guard let column = columns[activation.hook] else { return }
        for (index, prompt) in range.enumerated() {
          try segment.append(
            hook: column, prompt: prompt, values: activation.pieces(of: index))
        }
      })
    try writer.commit(try segment.seal())
  }
  try writer.finish()
  return try CacheReader(directory: path)
}
