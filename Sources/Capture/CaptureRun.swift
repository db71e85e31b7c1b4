import CacheFormat
import Dispatch
import FileIO
import Model
import Synchronization
import Terminal

/// Runs the model over all prompts and writes what the hooks see.
///
/// Each thread takes a segment of prompts, runs them as one ragged batch, and encodes and writes
/// every activation at the moment when the pass shows it, so that memory holds one batch's working
/// state a thread, whatever the number of prompts. Segments are sealed on a thread of their own and
/// committed in order.
struct CaptureRun {
  /// The most bytes of raw activations in a segment, and so in a batch: some 2,100 tokens of GPT-2 small,
  /// of which those that begin alike are computed once, and fewer where that would leave cores without
  /// work at the end: more than one are a multiple of four, as far as can be foreseen. The number of threads
  /// plays no part, so that the cache does not depend on it.
  static func segmentBytes(of size: CaptureSize) -> Int {
    let wanted = min(1536 << 20, max(32 << 20, size.bytes / 8))
    let parts = Int((Double(size.bytes) / Double(wanted)).rounded())
    let count = parts <= 1 ? 1 : (parts + 3) / 4 * 4
    // Segments end with a whole prompt.
    return size.bytes / count + min(size.longestBytes, wanted)
  }

  let model: GPT2
  let points: [HookPoint]
  let prompts: [Prompt]
  let segments: [Range<Int>]
  let writer: CacheWriter
  let threads: Int
  /// The most bytes that all segments together may take; nil for no limit.
  let maxBytes: Int?

  struct Summary {
    let seconds: Double
    /// Bytes of all segments on disk.
    let bytes: Int
    /// Tokens that were run, those of a resumed capture's earlier part and of adopted segments left
    /// out.
    let tokens: Int
    /// Segments that an earlier run had sealed but not committed.
    let adopted: Int
    /// Prompts that were run and whose final rows are not all finite numbers, in ascending order.
    let strange: [Int]
  }

  /// Runs what the cache lacks.
  ///
  /// - Throws: `CacheError`, `PassError`; `CaptureStopped` after a signal or at the limit of bytes.
  ///   What was committed before stays in the cache.
  func run(quiet: Bool) throws -> Summary {
    let start = DispatchTime.now().uptimeNanoseconds
    let state = Mutex(
      State(
        progress: Progress("capturing", unit: "prompts", total: prompts.count, quiet: quiet),
        writer: writer, maxBytes: maxBytes))
    // The disk is waited for beside the arithmetic; at most so many segments may be waiting.
    let disk = DispatchQueue(label: "disk")
    let room = DispatchSemaphore(value: threads)
    DispatchQueue.concurrentPerform(iterations: min(threads, max(1, segments.count))) { _ in
      let pass = ForwardPass(model)
      while let number = state.withLock({ $0.takeNext(of: segments.count) }) {
        do {
          if let adopted = writer.adopt(number) {
            try state.withLock { try $0.commit(adopted, isAdopted: true, writer) }
            continue
          }
          // Handed over whole: this thread does not touch it again.
          nonisolated(unsafe) let segment = try capture(number, pass)
          let strange = segments[number].enumerated().filter { sequence, _ in
            !isFinite(pass.lastRow(sequence: sequence))
          }.map(\.1)
          state.withLock { $0.strange += strange }
          room.wait()
          disk.async {
            defer { room.signal() }
            do {
              let sealed = try segment.seal()
              try state.withLock { try $0.commit(sealed, isAdopted: false, writer) }
            } catch {
              state.withLock { $0.fail(error) }
            }
          }
        } catch {
          state.withLock { $0.fail(error) }
        }
      }
    }
    disk.sync {}
    let summary = try state.withLock { state in
      if let error = state.error { throw error }
      if let reason = state.stop, writer.committedPrompts < prompts.count {
        throw CaptureStopped(
          reason: reason, safe: writer.committedPrompts, planned: prompts.count,
          directory: writer.directory)
      }
      return Summary(
        seconds: Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9, bytes: state.bytes,
        tokens: state.tokens, adopted: state.adopted, strange: state.strange.sorted())
    }
    try writer.finish()
    return summary
  }

  private func isFinite(_ row: UnsafePointer<Float>) -> Bool {
    UnsafeBufferPointer(start: row, count: model.config.width).allSatisfy(\.isFinite)
  }

  private func capture(_ number: Int, _ pass: ForwardPass) throws -> SegmentWriter {
    let range = segments[number]
    let segment = try writer.openSegment(number)
    let columns = Dictionary(uniqueKeysWithValues: points.enumerated().map { ($1, $0) })
    let hooks = PassHooks(reading: Set(points)) { activation in
      guard let column = columns[activation.hook] else { return }
      for (index, prompt) in range.enumerated() {
        try segment.append(
          hook: column, prompt: prompt, values: activation.pieces(of: index))
      }
    }
    try pass.run(tokens: prompts[range].map(\.tokens), hooks: hooks)
    return segment
  }

  /// What the threads share: which segment is next, and which are sealed but wait for their turn.
  private struct State {
    var progress: Progress
    var error: (any Error)?
    private(set) var stop: CaptureStopped.Reason?
    private(set) var bytes: Int
    private(set) var tokens = 0
    private(set) var adopted = 0
    var strange: [Int] = []
    private var next: Int
    private var done: Int
    private let maxBytes: Int?
    private var waiting: [Int: (segment: SealedSegment, isAdopted: Bool)] = [:]

    init(progress: Progress, writer: CacheWriter, maxBytes: Int?) {
      self.progress = progress
      self.maxBytes = maxBytes
      next = writer.committedSegments
      done = writer.committedPrompts
      bytes = writer.committedBytes
    }

    mutating func takeNext(of count: Int) -> Int? {
      if stop == nil, let signal = StopSignal.current { stop = .signal(signal) }
      guard error == nil, stop == nil, next < count else { return nil }
      next += 1
      return next - 1
    }

    mutating func fail(_ error: any Error) {
      if self.error == nil { self.error = error }
    }

    /// Commits the segment as soon as those before it are; removes it where it is too much.
    mutating func commit(_ segment: SealedSegment, isAdopted: Bool, _ writer: CacheWriter) throws {
      if case .limit = stop { return writer.discard(segment) }
      waiting[segment.number] = (segment, isAdopted)
      while let ready = waiting.removeValue(forKey: writer.committedSegments) {
        if let maxBytes, ready.segment.size > maxBytes - bytes {
          stop = .limit(bytes: maxBytes)
          for sealed in [ready.segment] + waiting.values.map(\.segment) { writer.discard(sealed) }
          waiting = [:]
          return
        }
        try writer.commit(ready.segment)
        bytes += ready.segment.size
        done += ready.segment.prompts.count
        if ready.isAdopted { adopted += 1 } else { tokens += ready.segment.tokens }
        progress.update(done: done, note: byteSize(bytes))
      }
    }
  }
}

/// A capture that ended in good order before it was complete.
struct CaptureStopped: ReportableError {
  enum Reason {
    case signal(Int32)
    case limit(bytes: Int)
  }

  let reason: Reason
  let safe: Int
  let planned: Int
  let directory: String

  var exitCode: SysExit { .tryAgain }

  var description: String {
    let safe = "\(safe) of \(planned) prompts are safe in \(directory)"
    switch reason {
    case .signal(let signal):
      return "stopped by \(StopSignal.name(of: signal)): \(safe); "
        + "the same command with --resume goes on"
    case .limit(let bytes):
      return "stopped before more than \(byteSize(bytes)) were written: \(safe); the same command "
        + "with --resume and a larger --max-bytes goes on"
    }
  }
}
