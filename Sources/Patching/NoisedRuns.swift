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
  private let kept: NoisedArrays?

  /// Rows of one pass, if one run has no more.
  private static let rowsPerPass = 256

  /// - Parameters:
  ///   - hooks: those whose arrays are wanted.
  ///   - kept: what was computed before.
  init(_ model: GPT2, hooks: Set<HookPoint>, kept: NoisedArrays? = nil) {
    pass = ForwardPass(model)
    self.model = model
    self.hooks = hooks
    self.kept = kept.flatMap { hooks.isSubset(of: $0.hooks) ? $0 : nil }
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
    for number in numbers { arrays[number] = kept?.arrays(of: number, pairs[number]) }
    let others = numbers.filter { arrays[$0] == nil }
    for group in NoisedRuns.groups(others, pairs, prompts: prompts) {
      arrays.merge(try self.arrays(ofGroup: group, pairs, prompts: prompts)) { $1 }
    }
    return arrays
  }

  /// The same of pairs that make a pass.
  private func arrays(
    ofGroup group: [Int], _ pairs: [PatchingPair], prompts: [Prompt]
  ) throws -> [Int: [HookPoint: Matrix]] {
    var arrays: [Int: [HookPoint: Matrix]] = [:]
    try run(group, pairs, prompts: prompts) { activation in
      guard self.hooks.contains(activation.hook) else { return }
      for (sequence, number) in group.enumerated() {
        arrays[number, default: [:]][activation.hook] = copy(of: activation, sequence: sequence)
      }
    }
    return arrays
  }

  /// The rows [D] of ln_final.hook_normalized at the last positions of the corrupted runs, by pair; nil
  /// for pairs without noise.
  ///
  /// - Parameter kept: gets what fits.
  /// - Throws: `PassError`.
  static func finalRows(
    of pairs: [PatchingPair], prompts: [Prompt], _ model: GPT2, threads: Int, kept: NoisedArrays?
  ) throws -> [[Float]?] {
    let fitting = kept?.thatFit(pairs, prompts: prompts) ?? 0..<0
    // Every thread has its share.
    let rows = pairs.reduce(0) { $0 + ($1.noise == nil ? 0 : prompts[$1.corrupted].tokens.count) }
    let limit = min(rowsPerPass, max(1, rows / threads))
    func groups(_ numbers: Range<Int>) -> [[Int]] {
      NoisedRuns.groups(Array(numbers), pairs, prompts: prompts, rowsPerPass: limit)
    }
    let keeping = groups(fitting)
    let all = keeping + groups(fitting.upperBound..<pairs.count)
    let found = try parallelMap(
      all.count, threads: threads,
      with: { (NoisedRuns(model, hooks: kept?.hooks ?? []), NoisedRuns(model, hooks: [])) },
      { number, workers in
        let group = all[number]
        let runs = number < keeping.count ? workers.0 : workers.1
        for (pair, arrays) in try runs.arrays(ofGroup: group, pairs, prompts: prompts) {
          kept?.keep(arrays, of: pair, pairs[pair])
        }
        return group.indices.map { sequence in
          Array(
            UnsafeBufferPointer(
              start: runs.pass.lastRow(sequence: sequence), count: model.config.width))
        }
      })
    var finalRows = [[Float]?](repeating: nil, count: pairs.count)
    for (group, found) in zip(all, found) {
      for (number, row) in zip(group, found) { finalRows[number] = row }
    }
    return finalRows
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
    _ numbers: [Int], _ pairs: [PatchingPair], prompts: [Prompt],
    rowsPerPass: Int = NoisedRuns.rowsPerPass
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
