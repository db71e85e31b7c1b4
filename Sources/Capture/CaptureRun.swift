import CacheFormat
import Dispatch
import Model
import Synchronization
import Terminal

/// Runs the model over all prompts and writes what the hooks see.
///
/// Each thread takes a segment of prompts, runs them as one ragged batch, and encodes and writes
/// every activation at the moment when the pass shows it, so that memory holds one batch's working
/// state a thread, whatever the number of prompts. Segments are committed in order.
struct CaptureRun {
  /// Raw activations in a segment, and so in a batch, of a capture of `total` bytes: some 270 tokens
  /// of GPT-2 small, enough for matrix products at full speed, and fewer where that would leave
  /// cores without work. The number of threads plays no part, so that the cache does not depend on
  /// it.
  static func segmentBytes(total: Int) -> Int {
    min(192 << 20, max(32 << 20, total / 8))
  }

  let model: GPT2
  let points: [HookPoint]
  let prompts: [Prompt]
  let segments: [Range<Int>]
  let writer: CacheWriter
  let threads: Int

  struct Summary {
    let seconds: Double
    /// Bytes of all segments on disk.
    let bytes: Int
  }

  /// - Throws: `CacheError`, `PassError`. What was committed before stays in the cache.
  func run(quiet: Bool) throws -> Summary {
    let start = DispatchTime.now().uptimeNanoseconds
    let state = Mutex(
      State(progress: Progress("capturing", unit: "prompts", total: prompts.count, quiet: quiet)))
    DispatchQueue.concurrentPerform(iterations: min(threads, max(1, segments.count))) { _ in
      let pass = ForwardPass(model)
      while let number = state.withLock({ $0.takeNext(of: segments.count) }) {
        do {
          let sealed = try capture(number, pass)
          try state.withLock {
            try $0.commit(sealed, number, prompts: segments[number].count, writer)
          }
        } catch {
          state.withLock { $0.fail(error) }
        }
      }
    }
    let bytes = try state.withLock { state in
      if let error = state.error { throw error }
      return state.bytes
    }
    try writer.finish()
    return Summary(
      seconds: Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9, bytes: bytes)
  }

  private func capture(_ number: Int, _ pass: ForwardPass) throws -> SealedSegment {
    let range = segments[number]
    let segment = try writer.openSegment(number)
    let columns = Dictionary(uniqueKeysWithValues: points.enumerated().map { ($1, $0) })
    let hooks = PassHooks(reading: Set(points)) { activation in
      guard let column = columns[activation.hook] else { return }
      for (index, prompt) in range.enumerated() {
        try segment.append(
          hook: column, prompt: prompt,
          values: UnsafeBufferPointer(activation.sequence(index)))
      }
    }
    try pass.run(tokens: prompts[range].map(\.tokens), hooks: hooks)
    return try segment.seal()
  }

  /// What the threads share: which segment is next, and which are sealed but wait for their turn.
  private struct State {
    var progress: Progress
    var error: (any Error)?
    var bytes = 0
    private var next = 0
    private var committed = 0
    private var done = 0
    private var waiting: [Int: (segment: SealedSegment, prompts: Int)] = [:]

    init(progress: Progress) { self.progress = progress }

    mutating func takeNext(of count: Int) -> Int? {
      guard error == nil, next < count else { return nil }
      next += 1
      return next - 1
    }

    mutating func fail(_ error: any Error) {
      if self.error == nil { self.error = error }
    }

    mutating func commit(
      _ segment: SealedSegment, _ number: Int, prompts: Int, _ writer: CacheWriter
    ) throws {
      waiting[number] = (segment, prompts)
      while let ready = waiting.removeValue(forKey: committed) {
        try writer.commit(ready.segment)
        committed += 1
        bytes += ready.segment.size
        done += ready.prompts
        progress.update(done: done, note: byteSize(bytes))
      }
    }
  }
}
