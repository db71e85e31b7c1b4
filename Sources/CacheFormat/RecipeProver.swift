/// Evaluates recipes while a segment is written, from the same arrays that a reader will have, and
/// keeps those arrays as long as a recipe needs them. Used by one thread.
final class RecipeProver {
  private let plan: CachePlan
  private let graph: HookGraph
  private let scratch = ScratchPool()
  private let result = ByteBuffer(capacity: 0)
  /// By hook and prompt.
  private var kept: [Int: [Int: Kept]] = [:]
  private var free: [ByteBuffer] = []
  private let covered: Range<Int>
  /// So many prompts of the first segment are covered.
  private static let firstPrompts = 32

  private struct Kept {
    let buffer: ByteBuffer
    let count: Int
  }

  /// - Parameters:
  ///   - segment: its number; the proofs of a segment depend on nothing else.
  ///   - prompts: the segment's.
  init(plan: CachePlan, graph: HookGraph, segment: Int, prompts: Range<Int>) {
    self.plan = plan
    self.graph = graph
    // Rounded sources give other values than the true ones; how far off is recorded for all.
    let all = plan.elementType != .f32 || plan.proofs == .all
    let sample = segment == 0 ? RecipeProver.firstPrompts : segment % 8 == 0 ? 1 : 0
    covered = all ? prompts : prompts.lowerBound..<prompts.lowerBound + min(sample, prompts.count)
  }

  /// Whether the recipes of a prompt are evaluated.
  func covers(prompt: Int) -> Bool { covered.contains(prompt) }

  /// Keeps an array, as a reader will have it, if a recipe after it needs it.
  func keep(_ values: UnsafeBufferPointer<Float>, hook: Int, prompt: Int) {
    guard covers(prompt: prompt), graph.lastUse[hook] != nil, let source = values.baseAddress else {
      return
    }
    let buffer = free.popLast() ?? ByteBuffer(capacity: 0)
    buffer.reserve(4 * values.count)
    buffer.base.copyMemory(from: source, byteCount: 4 * values.count)
    kept[hook, default: [:]][prompt] = Kept(buffer: buffer, count: values.count)
  }

  /// What the recipe of a hook gives for a prompt that is covered. Valid until the next call.
  ///
  /// - Parameter count: the number of the array's values.
  func derive(_ step: HookGraph.Step, prompt: Int, positions T: Int, count: Int)
    -> UnsafeBufferPointer<Float>
  {
    result.reserve(4 * count)
    let values = result.values(count)
    let shapes = step.sources.map { plan.hooks[$0].dimensions(positions: T) }
    step.derive(into: values, shapes: shapes, scratch: scratch) { source, memory in
      guard let array = kept[source]?[prompt], array.count == memory.count,
        let target = memory.baseAddress
      else { return }
      UnsafeMutableRawPointer(target).copyMemory(
        from: array.buffer.base, byteCount: 4 * array.count)
    }
    return UnsafeBufferPointer(values)
  }

  /// Lets go of what no hook after this one needs.
  func finish(hook: Int) {
    for source in kept.keys where graph.lastUse[source].map({ $0 <= hook }) ?? true {
      free += (kept.removeValue(forKey: source) ?? [:]).values.map(\.buffer)
    }
  }
}
