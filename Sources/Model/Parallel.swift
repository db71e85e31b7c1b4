import Dispatch
import Synchronization

/// The values of `body` for 0 ..< count, computed on as many threads; whichever is free takes the
/// next number. The result does not depend on the number of threads.
///
/// - Throws: the error of the lowest number that failed, after all others have been tried.
func parallelMap<Value: Sendable, Failure: Error>(
  _ count: Int, threads: Int, _ body: @Sendable (Int) throws(Failure) -> Value
) throws(Failure) -> [Value] {
  var results = [Result<Value, Failure>?](repeating: nil, count: count)
  results.withUnsafeMutableBufferPointer { buffer in
    // Each slot is written once, by the thread that took its number.
    nonisolated(unsafe) let slots = buffer
    let next = Atomic(0)
    DispatchQueue.concurrentPerform(iterations: max(1, min(threads, count))) { _ in
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        do throws(Failure) {
          slots[index] = .success(try body(index))
        } catch {
          slots[index] = .failure(error)
        }
      }
    }
  }
  var values: [Value] = []
  values.reserveCapacity(count)
  for case .some(let result) in results { values.append(try result.get()) }
  return values
}
