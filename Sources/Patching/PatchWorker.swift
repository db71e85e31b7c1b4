import Model
import Synchronization

/// What the threads of a sweep compute with.
extension PatchEngine {
  /// What a thread computes with, kept from sweep to sweep: fresh memory is slow. Used by one thread at a time.
  final class Passes: @unchecked Sendable {
    let patched: PatchedPass
    let paths: PathPass
    let metrics = MetricReader.Scratch()
    var operations: Double { patched.operations + paths.operations + metrics.products.operations }

    init(_ model: GPT2) {
      patched = PatchedPass(model)
      paths = PathPass(model)
    }
  }

  /// Passes that no thread uses.
  final class SparePasses: Sendable {
    private let model: GPT2
    private let all = Mutex<[Passes]>([])

    init(_ model: GPT2) { self.model = model }

    func take() -> Passes { all.withLock { $0.popLast() } ?? Passes(model) }
    func giveBack(_ passes: Passes) { all.withLock { $0.append(passes) } }
  }

  /// What a thread keeps from batch to batch: a long prompt's cells are many batches, all of which
  /// need the same arrays. Threads that work on the same pair share its runs.
  final class Worker {
    let passes: Passes
    let noised: NoisedRuns
    private let spare: SparePasses
    private let inUse: RunsInUse
    private var held: [Int: PairRuns] = [:]

    init(_ spare: SparePasses, _ noised: NoisedRuns, _ inUse: RunsInUse) {
      (self.spare, self.noised, self.inUse) = (spare, noised, inUse)
      passes = spare.take()
    }

    deinit { spare.giveBack(passes) }

    /// Holds the runs of a batch's pairs, as far as some thread has them, and lets those of other groups go.
    /// Returns the pairs whose runs are to be made.
    func hold(_ batch: Batch) -> [Int] {
      held = held.filter { batch.group.contains($0.key) }
      return batch.parts.map(\.pair).filter { pair in
        held[pair] = held[pair] ?? inUse[pair]
        return held[pair] == nil
      }
    }

    func runs(of pair: Int, make: () -> PairRuns) -> PairRuns {
      if let known = held[pair] { return known }
      let runs = inUse.runs(of: pair, make: make)
      held[pair] = runs
      return runs
    }
  }
}
