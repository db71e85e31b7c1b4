import Synchronization

/// What a GPT-2 has in front of ln_final.
struct ModelBody: Sendable {
  /// [V, D]
  let tokenEmbedding: Matrix
  /// [C, D], C the context length
  let positionEmbedding: Matrix
  let blocks: [Block]
}

/// A body that is made when it is first needed. Making it takes most of the time and the memory of loading
/// a model, and what reads logits from a cache does without.
final class LazyBody: Sendable {
  private enum State {
    case made(ModelBody)
    case source(WeightSource, threads: Int)
  }

  private let state: Mutex<State>

  init(_ body: ModelBody) { state = Mutex(.made(body)) }

  /// - Parameter source: whose blocks can be made without an error.
  init(from source: WeightSource, threads: Int) { state = Mutex(.source(source, threads: threads)) }

  /// One thread makes it while others wait.
  var value: ModelBody {
    state.withLock { state in
      switch state {
      case .made(let body): return body
      case .source(let source, let threads):
        do throws(ModelError) {
          let body = try source.body(threads: threads)
          state = .made(body)
          return body
        } catch {
          preconditionFailure("a checkpoint that was checked lacks something: \(error)")
        }
      }
    }
  }
}
