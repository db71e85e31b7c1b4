import CacheFormat
import Model
import Patching
import Terminal

/// Sweeps that run one after the other, with progress on the terminal. Where results are written, what
/// was computed is kept on the way, so that the same command goes on where an interrupted one stopped.
struct SweepSeries {
  let engine: PatchEngine
  let task: AnswerTask
  let direction: Direction
  let source: PatchSource
  let prompts: [Prompt]
  /// What is done, in a word.
  let title: String
  let quiet: Bool
  /// Where the results will be written; nil where they are not.
  let out: String?

  struct Results {
    /// By metric and pair.
    let baselines: [[Baseline]]
    /// By sweep and metric.
    let results: [[SweepResult]]
    /// To be removed once the results are written.
    let unfinished: UnfinishedSweeps?

    var gflop: Double { results.reduce(0) { $0 + $1[0].operations } / 1e9 }
  }

  /// - Throws: what the engine throws, `PatchingError.otherSweeps`, `FileError`.
  func run(_ sweeps: [Sweep]) throws -> Results {
    let noised = NoisedArrays(for: sweeps, config: engine.model.config)
    let baselines = try engine.baselines(task, prompts: prompts, noised: noised)
    var progress = Progress(
      title, unit: "cells",
      total: sweeps.reduce(0) {
        $0 + engine.cellCount(of: $1, task.pairs, prompts: prompts)
      }, quiet: quiet)
    let unfinished = try out.map {
      try UnfinishedSweeps(in: $0, identity: identity(of: sweeps), metrics: task.metrics.count)
    }
    var before = 0
    let results = try sweeps.enumerated().map { number, sweep in
      let result = try engine.run(
        sweep, task, direction: direction, source: source, prompts: prompts, baselines: baselines,
        noised: noised, known: unfinished?.known(ofSweep: number) ?? [],
        note: { try unfinished?.note($0, ofSweep: number) }
      ) { progress.update(done: before + $0) }
      before += result[0].cellCount
      return result
    }
    return Results(baselines: baselines, results: results, unfinished: unfinished)
  }

  /// All that the metrics of the sweeps depend on.
  private func identity(of sweeps: [Sweep]) -> String {
    let cache = engine.cache
    let parts =
      [
        toolVersion, Linear.arithmetic, cache.planDigest, cache.plan.model.weightsDigest,
        direction.rawValue, "\(source)", "\(task.metrics.map(\.name))",
      ] + sweeps.map { "\($0)" } + task.pairs.map { identity(of: $0) }
    return parts.joined(separator: "\n")
  }

  /// Dictionaries have no order of their own; of noise its values follow from the rest.
  private func identity(of pair: PatchingPair) -> String {
    let roles = pair.roles.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    let noise = pair.noise.map {
      "\($0.positions) \($0.sample) \($0.samples.deviation) \($0.samples.seed)"
    }
    return "\(pair.clean) \(pair.corrupted) \(pair.answer ?? -1) \(pair.wrongAnswer ?? -1) "
      + "\(pair.template ?? "") \(roles) \(noise ?? "")"
  }
}
