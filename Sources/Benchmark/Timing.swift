import Dispatch
import Foundation

/// Seconds that `body` takes.
func seconds(_ body: () throws -> Void) rethrows -> Double {
  let start = DispatchTime.now().uptimeNanoseconds
  try body()
  return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
}

func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  let middle = sorted.count / 2
  guard sorted.count % 2 == 0 else { return sorted[middle] }
  return (sorted[middle - 1] + sorted[middle]) / 2
}

/// The value below which `fraction` of all are.
func quantile(_ values: [Double], _ fraction: Double) -> Double {
  let sorted = values.sorted()
  return sorted[min(sorted.count - 1, Int(Double(sorted.count) * fraction))]
}

/// Microseconds of `body` for each of `order`, the second time that all of them are done.
func secondOfTwoPasses(_ order: [Int], _ body: (Int) throws -> Void) rethrows -> [Double] {
  for number in order { try body(number) }
  return try order.map { number in try seconds { try body(number) } * 1e6 }
}

/// Runs `body` for 0 ..< threads, each on a thread of its own.
func onThreads(_ threads: Int, _ body: @Sendable (Int) -> Void) {
  DispatchQueue.concurrentPerform(iterations: threads, execute: body)
}

/// What a figure was measured on: model of the processor, cores.
func machineLine() -> String {
  let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
  let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }?
    .split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
  return "\(model ?? "unknown processor"), \(ProcessInfo.processInfo.activeProcessorCount) cores"
}
