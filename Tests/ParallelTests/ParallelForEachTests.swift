import Dispatch
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Parallel

/// Values that many threads make and one takes.
@Suite struct ParallelForEachTests {
  private struct Failed: Error, Equatable {
    let number: Int
  }

  /// Counts what is done at a time, and remembers what was begun.
  private final class Record: Sendable {
    let begun = Mutex<[Int]>([])
    let used = Atomic(0)
  }

  @Test(arguments: [1, 2, 5, 40])
  func valuesAreUsedInOrder(threads: Int) {
    var generator = SeededGenerator(seed: UInt64(threads))
    for count in [0, 1, 2, 33, 200] {
      let pauses = (0..<count).map { _ in UInt32.random(in: 0..<300, using: &generator) }
      var found: [Int] = []
      parallelForEach(count, threads: threads) { number in
        usleep(pauses[number])
        return number * number
      } then: {
        found.append($0)
      }
      #expect(found == (0..<count).map { $0 * $0 })
    }
  }

  @Test func everyThreadKeepsOneContext() {
    final class Context {
      var uses = 0
    }
    let made = Atomic(0)
    var uses: [Int] = []
    parallelForEach(
      500, threads: 3,
      with: { () -> Context in
        made.wrappingAdd(1, ordering: .relaxed)
        return Context()
      },
      { _, context in
        context.uses += 1
        return context.uses
      }, then: { uses.append($0) })
    #expect((1...3).contains(made.load(ordering: .relaxed)))
    // As many first uses, second uses and so on as there are contexts that come so far.
    #expect(uses.count { $0 == 1 } <= 3 && uses.count == 500)
    #expect(uses.reduce(into: [:]) { $0[$1, default: 0] += 1 }.values.allSatisfy { $0 <= 3 })
  }

  @Test(arguments: [1, 2, 3])
  func threadsAreAheadOfUseBySomeValues(threads: Int) {
    let record = Record()
    let most = Atomic(0)
    parallelForEach(300, threads: threads) { number in
      let ahead = number - record.used.load(ordering: .acquiring)
      most.max(ahead, ordering: .relaxed)
      return number
    } then: { _ in
      usleep(100)
      record.used.wrappingAdd(1, ordering: .releasing)
    }
    #expect(most.load(ordering: .relaxed) <= 16 * threads)
  }

  @Test func threadsGoOnWhileAValueIsUsed() {
    let later = DispatchSemaphore(value: 0)
    var waits: [DispatchTimeoutResult] = []
    parallelForEach(20, threads: 2) { number in
      if number == 15 { later.signal() }
      return number
    } then: { number in
      if number == 0 { waits.append(later.wait(timeout: .now() + 60)) }
    }
    #expect(waits == [.success])
  }

  @Test(arguments: [1, 2, 4])
  func theLowestFailureIsThrownBehindTheValuesBeforeIt(threads: Int) {
    let record = Record()
    var found: [Int] = []
    let error = #expect(throws: Failed.self) {
      try parallelForEach(1000, threads: threads) { (number) throws(Failed) in
        record.begun.withLock { $0.append(number) }
        if number == 7 { usleep(3000) }
        guard number != 7, number != 9 else { throw Failed(number: number) }
        return number
      } then: { (number: Int) throws(Failed) in
        found.append(number)
      }
    }
    #expect(error == Failed(number: 7))
    #expect(found == Array(0..<7))
    let begun = record.begun.withLock { $0 }
    #expect(begun.sorted() == Array(0..<begun.count))
    if threads == 1 { #expect(begun.count == 8) }
  }

  @Test(arguments: [1, 3])
  func whatUseThrowsEndsTheWork(threads: Int) {
    let record = Record()
    var found: [Int] = []
    let error = #expect(throws: Failed.self) {
      try parallelForEach(10_000, threads: threads) { (number) throws(Failed) in
        record.begun.withLock { $0.append(number) }
        return number
      } then: { (number: Int) throws(Failed) in
        guard number < 5 else { throw Failed(number: number) }
        found.append(number)
      }
    }
    #expect(error == Failed(number: 5))
    #expect(found == Array(0..<5))
    // Six were taken, and so as many more could be begun than there were places.
    #expect(record.begun.withLock { $0.count } <= 6 + 16 * threads)
  }
}
