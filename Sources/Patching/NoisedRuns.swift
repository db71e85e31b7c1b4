import CacheFormat
import Model
import Parallel

/// Computes the corrupted runs of pairs that have noise: no cache holds them.
///
/// Used by one thread at a time.
final class NoisedRuns {
  private let pass: ForwardPass
  private let model: GPT2
  private let hooks: Set<HookPoint>

  /// Rows of one pass, if one run has no more.
  private static let rowsPerPass = 256

  /// - Parameter hooks: those whose arrays are kept.
  init(_ model: GPT2, hooks: Set<HookPoint>) {
    pass = ForwardPass(model)
    self.model = model
    self.hooks = hooks
  }

  /// The arrays that a sweep's patched passes may ask for.
  static func hooks(for sweep: Sweep, config: ModelConfig) -> Set<HookPoint> {
    let kinds: [HookKind] = [
      .residPre, .residMid, .residPost, .q, .k, .v, .z, .attnOut, .mlpOut, .embed, .posEmbed,
      .finalNormalized,
    ]
    return Set(config.hookPoints.filter { kinds.contains($0.kind) })
      .union(sweep.hooks(config: config)).union(sweep.sourceHooks(config: config))
  }

  /// The arrays of the corrupted runs of some pairs, by the pair's number; none of pairs without noise.
  ///
  /// - Throws: `PassError`.
  func arrays(
    of numbers: [Int], _ pairs: [PatchingPair], prompts: [Prompt]
  ) throws -> [Int: [HookPoint: Matrix]] {
    var arrays: [Int: [HookPoint: Matrix]] = [:]
    for group in NoisedRuns.groups(numbers, pairs, prompts: prompts) {
      try run(group, pairs, prompts: prompts) { activation in
        guard self.hooks.contains(activation.hook) else { return }
        for (sequence, number) in group.enumerated() {
          arrays[number, default: [:]][activation.hook] = copy(of: activation, sequence: sequence)
        }
      }
    }
    return arrays
  }

  /// The rows [D] of ln_final.hook_normalized at the last positions of the corrupted runs, by pair; nil
  /// for pairs without noise.
  ///
  /// - Throws: `PassError`.
  static func finalRows(
    of pairs: [PatchingPair], prompts: [Prompt], _ model: GPT2, threads: Int
  ) throws -> [[Float]?] {
    let groups = groups(Array(pairs.indices), pairs, prompts: prompts)
    let found = try parallelMap(
      groups.count, threads: threads, with: { NoisedRuns(model, hooks: []) },
      { number, runs in
        try runs.run(groups[number], pairs, prompts: prompts) { _ in }
        return groups[number].indices.map { sequence in
          Array(
            UnsafeBufferPointer(
              start: runs.pass.lastRow(sequence: sequence), count: model.config.width))
        }
      })
    var rows = [[Float]?](repeating: nil, count: pairs.count)
    for (group, found) in zip(groups, found) {
      for (number, row) in zip(group, found) { rows[number] = row }
    }
    return rows
  }

  private func run(
    _ group: [Int], _ pairs: [PatchingPair], prompts: [Prompt],
    visit: @escaping (Activation) -> Void
  ) throws {
    try pass.run(
      tokens: group.map { prompts[pairs[$0].corrupted].tokens },
      hooks: PassHooks(editing: hooks.union([HookPoint(.embed)])) { activation in
        for (sequence, number) in group.enumerated() {
          pairs[number].noise?.add(to: activation, sequence: sequence)
        }
        visit(activation)
      })
  }

  /// Those of the pairs that have noise, as many together as make a pass.
  private static func groups(
    _ numbers: [Int], _ pairs: [PatchingPair], prompts: [Prompt]
  ) -> [[Int]] {
    var groups: [[Int]] = []
    var rows = 0
    for number in numbers where pairs[number].noise != nil {
      let length = prompts[pairs[number].corrupted].tokens.count
      if groups.isEmpty || rows + length > rowsPerPass {
        groups.append([])
        rows = 0
      }
      groups[groups.count - 1].append(number)
      rows += length
    }
    return groups
  }
}

extension EmbeddingNoise {
  /// Adds it to the token embeddings of a pass, and to nothing else.
  func add(to activation: Activation, sequence: Int = 0) {
    guard activation.hook.kind == .embed,
      let embeddings = activation.sequence(sequence).baseAddress
    else { return }
    add(to: embeddings)
  }
}

extension EmbeddingNoise? {
  /// The hooks that it changes.
  var hooks: Set<HookPoint> { self == nil ? [] : [HookPoint(.embed)] }
}
