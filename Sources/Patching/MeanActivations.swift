import CacheFormat
import Model
import Parallel

/// Mean activations of a set of prompts.
final class MeanActivations: Sendable {
  /// Prompts that share a mean.
  struct Group: Hashable {
    /// T.
    let length: Int
    /// nil where templates do not matter.
    let template: String?
  }

  private struct Key: Hashable {
    let hook: HookPoint
    let group: Group
  }

  private let arrays: [Key: Matrix]
  private let byTemplate: Bool

  /// Reads the arrays of all prompts, one hook after the other.
  ///
  /// - Parameter prompts: the number, length and template of each; a prompt counts once a group.
  /// - Throws: `CacheError`, `PatchingError.hooksNotCached`, `.noMeanOverPositions`, `.noTemplate`.
  init(
    of hooks: [HookPoint], cache: CacheReader, config: ModelConfig,
    prompts: [(number: Int, length: Int, template: String?)], grouping: MeanGrouping, threads: Int
  ) throws {
    byTemplate = grouping == .byTemplate
    var groups: [Group: Set<Int>] = [:]
    for prompt in prompts {
      if byTemplate, prompt.template == nil { throw PatchingError.noTemplate }
      let group = Group(
        length: prompt.length, template: byTemplate ? prompt.template : nil)
      groups[group, default: []].insert(prompt.number)
    }
    let members = groups
    let arrays = try parallelMap(hooks.count, threads: threads) { number in
      let hook = hooks[number]
      if hook.kind.isAttention, grouping == .everywhere {
        throw PatchingError.noMeanOverPositions(hook.kind)
      }
      guard let index = cache.hookIndex(hook.name) else {
        throw PatchingError.hooksNotCached([hook.name], directory: cache.directory)
      }
      let unit = hook.kind.isAttention ? 0 : config.valueCount(of: hook.kind, positions: 1)
      var all = [Double](repeating: 0, count: unit)
      var rows = 0
      var means: [Group: Matrix] = [:]
      // In one order, so that sums have the same bits every time.
      for (group, prompts) in members.sorted(by: { $0.value.min() ?? 0 < $1.value.min() ?? 0 }) {
        let count = config.valueCount(of: hook.kind, positions: group.length)
        var sums = [Double](repeating: 0, count: count)
        for prompt in prompts.sorted() {
          let values = try cache.read(hook: index, prompt: prompt)
          guard values.count == count else {
            throw CacheError.wrongCount(
              hook: hook.name, prompt: prompt, expected: values.count, given: count)
          }
          for i in 0..<count { sums[i] += Double(values[i]) }
        }
        if grouping == .everywhere {
          for i in 0..<count { all[i % unit] += sums[i] }
          rows += prompts.count * group.length
        } else {
          means[group] = Matrix(
            rows: 1, columns: count, values: sums.map { Float($0 / Double(prompts.count)) })
        }
      }
      if grouping == .everywhere {
        let mean = all.map { Float($0 / Double(max(1, rows))) }
        for group in members.keys {
          means[group] = Matrix(
            rows: group.length, columns: unit, values: (0..<group.length).flatMap { _ in mean })
        }
      }
      return means
    }
    var byKey: [Key: Matrix] = [:]
    for (hook, means) in zip(hooks, arrays) {
      for (group, mean) in means { byKey[Key(hook: hook, group: group)] = mean }
    }
    self.arrays = byKey
  }

  /// In the hook's shape for `length` positions.
  ///
  /// - Precondition: hook, length and template are among those that it was made for.
  func array(_ hook: HookPoint, length: Int, template: String?) -> Matrix {
    let group = Group(length: length, template: byTemplate ? template : nil)
    guard let array = arrays[Key(hook: hook, group: group)] else {
      preconditionFailure("no mean of \(hook.name) over \(length) positions was taken")
    }
    return array
  }
}
