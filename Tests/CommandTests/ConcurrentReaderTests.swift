import CacheFormat
import FileIO
import Foundation
import Synchronization
import TestSupport
import Testing

/// A cache that is read while the built `capture` writes it.
@Suite struct ConcurrentReaderTests {
  private let demo: DemoCapture

  init() throws { demo = try DemoCapture() }

  @Test func whatIsSeenIsWholeAndStays() throws {
    let finished = demo.folder.path("finished")
    try demo.succeed(demo.longArguments(finished))
    let truth = try CacheReader(directory: finished)
    #expect(try truth.isComplete && truth.verify().isHealthy)
    for attempt in 0..<20 {
      let out = demo.folder.path("watched-\(attempt)")
      let capture = try demo.start(demo.longArguments(out))
      defer {
        capture.terminate()
        capture.waitUntilExit()
      }
      var watch = Watch(out: out, truth: truth)
      let opener = Opener(out)
      while capture.isRunning { try watch.look() }
      #expect(capture.terminationReason == .exit && capture.terminationStatus == 0)
      try watch.look()
      try watch.end()
      let opened = opener.end()
      #expect(opened.problem == nil && opened.count > 0, "\(opened)")
      if watch.counts.count > 3 { return }
      // The machine is busy: most of it went by unseen.
    }
    throw HarnessError(description: "every capture ended before it was seen under way")
  }
}

/// Does nothing but open a cache, beside one who reads it too and so is rarely there when it changes.
private final class Opener: Sendable {
  private struct State {
    var isDone = false
    var count = 0
    var prompts = 0
    var problem: String?
  }

  private let state = Mutex(State())
  private let ended = DispatchSemaphore(value: 0)

  init(_ out: String) {
    let thread = Thread { [self] in
      while !state.withLock({ $0.isDone || $0.problem != nil }) { open(out) }
      ended.signal()
    }
    thread.start()
  }

  private func open(_ out: String) {
    let found = Result { () throws(CacheError) in try CacheReader(directory: out) }
    state.withLock { state in
      switch found {
      case .success(let reader):
        if reader.committedPrompts < state.prompts {
          state.problem = "\(reader.committedPrompts) prompts after \(state.prompts)"
        }
        state.prompts = reader.committedPrompts
        state.count += 1
      case .failure(let error):
        if state.count > 0 || error != .notACache(directory: out) { state.problem = "\(error)" }
      }
    }
  }

  /// How often it opened the cache, and what was wrong.
  func end() -> (count: Int, problem: String?) {
    state.withLock { $0.isDone = true }
    ended.wait()
    return state.withLock { ($0.count, $0.problem) }
  }
}

/// Opens a cache again and again, and holds the first reader that saw prompts.
private struct Watch {
  let out: String
  let truth: CacheReader
  /// The different numbers of prompts that were there, in the order of time.
  private(set) var counts: [Int] = []
  private var held: CacheReader?
  private var looks = 0

  init(out: String, truth: CacheReader) {
    self.out = out
    self.truth = truth
  }

  /// Reads what has come since the last look, and an array of the reader that is held.
  mutating func look() throws {
    guard let reader = try opened() else { return }
    looks += 1
    let seen = counts.last ?? 0
    let count = reader.committedPrompts
    try #require(count >= seen, "\(count) prompts after \(seen)")
    #expect(!reader.isComplete || count == truth.committedPrompts)
    if let held {
      let prompt = looks % held.committedPrompts
      try expectTruth(of: held, hook: looks % truth.plan.hooks.count, prompt: prompt)
    }
    guard counts.isEmpty || count > seen else { return }
    counts.append(count)
    #expect(reader.planDigest == truth.planDigest)
    #expect(try reader.prompts() == truth.prompts() && reader.pairs() == truth.pairs())
    try expectWhole(reader, prompts: seen..<count)
    if held == nil, count > 0 { held = reader }
  }

  /// Nil as long as there has never been a cache.
  private func opened() throws -> CacheReader? {
    do throws(CacheError) {
      return try CacheReader(directory: out, access: looks.isMultiple(of: 2) ? .mapped : .pread)
    } catch {
      guard counts.isEmpty, error == .notACache(directory: out) else { throw error }
      return nil
    }
  }

  /// The reader that was held has what it had, all of it; a new one has everything.
  func end() throws {
    #expect(counts.last == truth.committedPrompts, "\(counts)")
    let held = try #require(held)
    try expectWhole(held, prompts: 0..<held.committedPrompts)
    let reader = try CacheReader(directory: out)
    #expect(try reader.isComplete && reader.verify().isHealthy)
  }

  /// Expects that a reader has these prompts, which are its last, and none after them.
  private func expectWhole(_ reader: CacheReader, prompts: Range<Int>) throws {
    for prompt in prompts {
      for hook in truth.plan.hooks.indices {
        try expectTruth(of: reader, hook: hook, prompt: prompt)
      }
    }
    let next = prompts.upperBound
    guard next < truth.committedPrompts else { return }
    #expect(
      throws: CacheError.noSuchPrompt(
        directory: out, prompt: next, committed: next, planned: truth.committedPrompts)
    ) { try reader.read(hook: 0, prompt: next) }
  }

  private func expectTruth(of reader: CacheReader, hook: Int, prompt: Int) throws {
    let expected = try truth.read(hook: hook, prompt: prompt)
    let isEqual = try reader.withValues(hook: hook, prompt: prompt) { values in
      values.count == expected.count
        && expected.withUnsafeBytes { bytes in
          guard let ours = bytes.baseAddress, let theirs = values.baseAddress else { return true }
          return memcmp(ours, theirs, bytes.count) == 0
        }
    }
    try #require(isEqual, "\(truth.plan.hooks[hook].name) of prompt \(prompt)")
  }
}
