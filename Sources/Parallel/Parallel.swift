import Dispatch
import Synchronization

/// The values of `body` for 0 ..< count, computed on as many threads; whichever is free takes the
/// next number. The result does not depend on the number of threads.
///
/// - Parameters:
///   - context: makes what each thread keeps for itself, such as a `ForwardPass`.
///   - body: gets the number and the context of the thread that took it.
/// - Throws: the error of the lowest number that failed. After an error no new number is begun.
public func parallelMap<Context, Value: Sendable, Failure: Error>(
  _ count: Int, threads: Int, with context: @Sendable () -> Context,
  _ body: @Sendable (Int, Context) throws(Failure) -> Value
) throws(Failure) -> [Value] {
  var results = [Result<Value, Failure>?](repeating: nil, count: count)
  results.withUnsafeMutableBufferPointer { buffer in
    // Each slot is written once, by the thread that took its number.
    nonisolated(unsafe) let slots = buffer
    let next = Atomic(0)
    let failed = Atomic(false)
    DispatchQueue.concurrentPerform(iterations: max(1, min(threads, count))) { _ in
      let own = context()
      while !failed.load(ordering: .relaxed) {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        do throws(Failure) {
          slots[index] = .success(try body(index, own))
        } catch {
          slots[index] = .failure(error)
          failed.store(true, ordering: .relaxed)
        }
      }
    }
  }
  var values: [Value] = []
  values.reserveCapacity(count)
  // Numbers are taken in order, so that those before the first failure have all been computed.
  for case .some(let result) in results { values.append(try result.get()) }
  return values
}

/// The same where threads need nothing of their own.
public func parallelMap<Value: Sendable, Failure: Error>(
  _ count: Int, threads: Int, _ body: @Sendable (Int) throws(Failure) -> Value
) throws(Failure) -> [Value] {
  try parallelMap(
    count, threads: threads, with: {}, { (index, _) throws(Failure) in try body(index) })
}
