import Dispatch
import Glibc

/// Shows on standard error how far a long piece of work is, its rate and the time left.
///
/// On a terminal one line is drawn over and over; elsewhere a plain line is written at every tenth
/// of the work. Not thread-safe: the caller's lock is the caller's business.
public struct Progress {
  private let title: String
  private let unit: String
  private let total: Int
  private let quiet: Bool
  private let isTerminal: Bool
  private let start = DispatchTime.now().uptimeNanoseconds
  private var lastDrawn: UInt64 = 0
  private var lastTenth = 0

  /// - Parameters:
  ///   - title: what is being done, such as "capturing".
  ///   - unit: what `total` counts, such as "prompts".
  public init(_ title: String, unit: String, total: Int, quiet: Bool) {
    self.title = title
    self.unit = unit
    self.total = max(1, total)
    self.quiet = quiet
    isTerminal = isatty(STDERR_FILENO) == 1
  }

  /// - Parameter note: more to show at the end of the line, such as bytes written.
  public mutating func update(done: Int, note: String = "") {
    guard !quiet else { return }
    let now = DispatchTime.now().uptimeNanoseconds
    if isTerminal {
      guard done >= total || now - lastDrawn > 100_000_000 else { return }
      lastDrawn = now
      writeError("\r\u{1B}[K\(line(done: done, now: now, note: note))")
      if done >= total { writeError("\n") }
    } else {
      let tenth = min(done, total) * 10 / total
      guard tenth > lastTenth else { return }
      lastTenth = tenth
      printError(line(done: done, now: now, note: note))
    }
  }

  /// Writes a line that is no part of the progress, above what is drawn.
  public func note(_ line: String) {
    guard !quiet else { return }
    printError(isTerminal ? "\r\u{1B}[K\(line)" : line)
  }

  private func line(done: Int, now: UInt64, note: String) -> String {
    let seconds = Double(now - start) / 1e9
    let rate = seconds > 0 ? Double(done) / seconds : 0
    let fraction = min(1, Double(done) / Double(total))
    var parts = ["\(title) \(grouped(done))/\(grouped(total)) \(unit)"]
    if isTerminal {
      let filled = Int(fraction * 24)
      let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
      parts.insert(bar, at: 0)
    } else {
      parts.append("\(Int(fraction * 100)) %")
    }
    if rate > 0 { parts.append("\(rateText(rate)) \(unit)/s") }
    if done >= total {
      parts.append("in \(duration(seconds))")
    } else if rate > 0 {
      parts.append("\(duration(Double(total - done) / rate)) left")
    }
    if !note.isEmpty { parts.append(note) }
    return parts.joined(separator: "  ")
  }

  private func rateText(_ rate: Double) -> String {
    rate < 1000 ? significant(rate, 3) : grouped(Int(min(rate, 1e15)))
  }
}
