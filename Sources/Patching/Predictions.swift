import CacheFormat
import Model
import Parallel

extension PatchEngine {
  /// The token with the largest logit at the last position of each of some prompts, the first of equal
  /// ones, from the cached final rows.
  ///
  /// - Parameters:
  ///   - numbers: in the cache.
  ///   - prompts: those of the cache.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`.
  public func predictions(of numbers: [Int], prompts: [Prompt]) throws -> [Int32] {
    try parallelMap(
      numbers.count, threads: threads, with: { MultiplyScratch() },
      { index, scratch in
        let row = try finalRow(of: numbers[index], prompts)
        var logits = [Float](repeating: 0, count: model.config.vocabulary)  // [V]
        model.unembedding.linear.apply(row, rows: 1, into: &logits, scratch: scratch)
        let best = logits.indices.reduce(0) { logits[$1] > logits[$0] ? $1 : $0 }
        return Int32(clamping: best)
      })
  }
}
