import Dispatch
import Synchronization

/// Computes `body` for 0 ..< count on as many threads of their own and hands the values to `use` one by one,
/// in the order of their numbers, on the calling thread, while the next ones are computed. Threads are ahead of
/// it by no more than some values each, however many there are.
///
/// - Parameters:
///   - context: makes what each thread keeps for itself, such as a `ForwardPass`.
///   - body: gets the number and the context of the thread that took it.
/// - Throws: the error of the lowest number that failed, after the values before it have been used, or that of
///   `use`. After an error no new number is begun.
public func parallelForEach<Context, Value: Sendable, Failure: Error>(
  _ count: Int, threads: Int, with context: @Sendable () -> Context,
  _ body: @Sendable (Int, Context) throws(Failure) -> Value,
  then use: (Value) throws(Failure) -> Void
) throws(Failure) {
  guard count > 0 else { return }
  let threads = max(1, min(threads, count))
  let line = Line<Value, Failure>(count: count, places: 16 * threads)
  try withThreads(threads) {
    let own = context()
    while let number = line.next() {
      do throws(Failure) {
        line.put(.success(try body(number, own)), number)
      } catch {
        line.put(.failure(error), number)
      }
    }
  } meanwhile: { (threads) throws(Failure) in
    guard threads > 0 else {
      let own = context()
      for number in 0..<count { try use(try body(number, own)) }
      return
    }
    defer { line.stop(threads: threads) }
    for number in 0..<count { try use(try line.take(number).get()) }
  }
}

/// The same where threads need nothing of their own.
public func parallelForEach<Value: Sendable, Failure: Error>(
  _ count: Int, threads: Int, _ body: @Sendable (Int) throws(Failure) -> Value,
  then use: (Value) throws(Failure) -> Void
) throws(Failure) {
  try parallelForEach(
    count, threads: threads, with: {}, { (index, _) throws(Failure) in try body(index) }, then: use)
}

/// Values that are made by many threads and taken by one, in order.
private final class Line<Value: Sendable, Failure: Error>: Sendable {
  private struct State {
    var next = 0
    var isStopped = false
    var made: [Int: Result<Value, Failure>] = [:]
  }

  private let count: Int
  private let state = Mutex(State())
  // They begin at zero: one that holds less than it began with must not be freed.
  /// For each number that may be begun.
  private let places = DispatchSemaphore(value: 0)
  /// For each value that was made.
  private let made = DispatchSemaphore(value: 0)

  /// - Parameter places: values that are being made, or wait to be taken, at most.
  init(count: Int, places: Int) {
    self.count = count
    for _ in 0..<places { self.places.signal() }
  }

  /// The next number to make a value for, once there is a place for it; nil if there is none.
  func next() -> Int? {
    places.wait()
    return state.withLock { state in
      guard !state.isStopped, state.next < count else { return nil }
      state.next += 1
      return state.next - 1
    }
  }

  func put(_ result: Result<Value, Failure>, _ number: Int) {
    state.withLock { state in
      state.made[number] = result
      if case .failure = result { state.isStopped = true }
    }
    made.signal()
  }

  /// Waits for a value. Every number before the first that failed has been begun.
  func take(_ number: Int) -> Result<Value, Failure> {
    while true {
      if let result = state.withLock({ $0.made.removeValue(forKey: number) }) {
        places.signal()
        return result
      }
      made.wait()
    }
  }

  /// Lets the threads end that wait for a place.
  func stop(threads: Int) {
    state.withLock { $0.isStopped = true }
    for _ in 0..<threads { places.signal() }
  }
}
