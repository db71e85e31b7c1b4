import CacheFormat
import Model
import Parallel

/// What a patch puts into the receiving run.
public enum PatchSource: String, Sendable, CaseIterable {
  /// The activations of the pair's other run.
  case otherRun = "other"
  /// Zeros.
  case zero
  /// The mean over all positions of the source runs of all pairs, each prompt counted once.
  case mean
  /// The mean at each position over the source runs that have as many positions.
  case meanByPosition = "mean-pos"
}

/// Mean activations of a set of prompts.
final class MeanActivations: Sendable {
  private struct Key: Hashable {
    let hook: HookPoint
    /// T.
    let length: Int
  }

  private let arrays: [Key: Matrix]

  /// Reads the arrays of all prompts, one hook after the other.
  ///
  /// - Parameters:
  ///   - prompts: numbers and lengths of the prompts, each once.
  ///   - byPosition: whether positions are kept apart, and with them prompts of other lengths.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`, `.noMeanOverPositions`.
  init(
    of hooks: [HookPoint], cache: CacheReader, config: ModelConfig,
    prompts: [(number: Int, length: Int)], byPosition: Bool, threads: Int
  ) throws {
    let lengths = Dictionary(grouping: prompts, by: \.length)
    let arrays = try parallelMap(hooks.count, threads: threads) { number in
      let hook = hooks[number]
      if hook.kind.isAttention, !byPosition { throw PatchingError.noMeanOverPositions(hook.kind) }
      guard let index = cache.hookIndex(hook.name) else {
        throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
      }
      let unit = hook.kind.isAttention ? 0 : config.valueCount(of: hook.kind, positions: 1)
      var all = [Double](repeating: 0, count: unit)
      var rows = 0
      var means: [Int: Matrix] = [:]
      for (length, prompts) in lengths {
        let count = config.valueCount(of: hook.kind, positions: length)
        var sums = [Double](repeating: 0, count: count)
        for prompt in prompts {
          let values = try cache.read(hook: index, prompt: prompt.number)
          guard values.count == count else {
            throw CacheError.wrongCount(
              hook: hook.name, prompt: prompt.number, expected: values.count, given: count)
          }
          for i in 0..<count { sums[i] += Double(values[i]) }
        }
        if byPosition {
          means[length] = Matrix(
            rows: 1, columns: count, values: sums.map { Float($0 / Double(prompts.count)) })
        } else {
          for i in 0..<count { all[i % unit] += sums[i] }
          rows += prompts.count * length
        }
      }
      if !byPosition {
        let mean = all.map { Float($0 / Double(max(1, rows))) }
        for length in lengths.keys {
          means[length] = Matrix(
            rows: length, columns: unit, values: (0..<length).flatMap { _ in mean })
        }
      }
      return means
    }
    var byKey: [Key: Matrix] = [:]
    for (hook, means) in zip(hooks, arrays) {
      for (length, mean) in means { byKey[Key(hook: hook, length: length)] = mean }
    }
    self.arrays = byKey
  }

  /// In the hook's shape for `length` positions.
  ///
  /// - Precondition: hook and length are among those that it was made for.
  func array(_ hook: HookPoint, length: Int) -> Matrix {
    guard let array = arrays[Key(hook: hook, length: length)] else {
      preconditionFailure("no mean of \(hook.name) over \(length) positions was taken")
    }
    return array
  }
}
