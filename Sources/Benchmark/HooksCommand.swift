import ArgumentParser
import CacheFormat
import Foundation
import Synchronization
import Terminal

/// How fast a cache gives each kind of hook, stored or derived.
struct HooksCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hooks",
    abstract: "Reading rates of a cache, one hook of all prompts at a time, on one thread.",
    discussion: "With --only, some hooks together, prompt after prompt, on as many threads.")

  @Option(name: .long, help: "A cache.")
  var cache: String
  @Option(name: .long, help: "Read these hooks only, separated by commas: names or short names.")
  var only: String?
  @Option(name: .long, help: "Threads that read the hooks of --only.")
  var threads = ProcessInfo.processInfo.activeProcessorCount
  @Option(name: .long, help: "Runs, of which the median counts.")
  var runs = 3

  func run() throws {
    let reader = try CacheReader(directory: cache)
    if let only { return try measure(only, reader) }
    let layers = reader.plan.model.layers
    let shown = Set([0, layers / 2, layers - 1])
    var table = Table([.left, .left, .right, .right])
    table.add(["hook", "", "GB/s", "µs an array"])
    for (hook, spec) in reader.plan.hooks.enumerated() {
      let parts = spec.name.split(separator: ".")
      if parts[0] == "blocks", let layer = Int(parts[1]), !shown.contains(layer) { continue }
      let (rate, latency) = try measure([hook], reader)
      table.add([
        spec.name, reader.isDerived(hook: hook) ? "derived" : "stored", significant(rate, 3),
        significant(latency, 3),
      ])
    }
    let (rate, _) = try measure(Array(reader.plan.hooks.indices), reader)
    table.add(["every hook, prompt after prompt", "", significant(rate, 3), ""])
    print(machineLine())
    for line in table.lines() { print(line) }
  }

  private func measure(_ names: String, _ reader: CacheReader) throws {
    let selector = HookSelector(
      defaults: reader.plan.hooks.map(\.name), optional: [], layers: reader.plan.model.layers)
    let hooks = try selector.select([names]).compactMap { reader.hookIndex($0) }
    let failure = Mutex<(any Error)?>(nil)
    let times = (0...runs).map { _ in
      seconds {
        onThreads(threads) { thread in
          let prompts = reader.committedPrompts
          do {
            for prompt in prompts * thread / threads..<prompts * (thread + 1) / threads {
              for hook in hooks { try reader.withValues(hook: hook, prompt: prompt) { _ in } }
            }
          } catch {
            failure.withLock { $0 = error }
          }
        }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
    let rate = Double(reader.committedPrompts) / median(Array(times.dropFirst()))
    print(machineLine())
    print(
      "\(counted(hooks.count, "hook")), prompt after prompt, \(counted(threads, "thread")): "
        + "\(fixed(rate, rate < 100 ? 2 : 0)) prompts/s")
  }

  /// GB of values a second, and microseconds an array.
  private func measure(_ hooks: [Int], _ reader: CacheReader) throws -> (Double, Double) {
    var values: [Float] = []
    var bytes = 0
    let times = try (0...runs).map { _ in
      bytes = 0
      return try seconds {
        for prompt in 0..<reader.committedPrompts {
          let T = try reader.positions(prompt: prompt)
          for hook in hooks {
            let count = reader.plan.hooks[hook].count(positions: T) ?? 0
            if values.count < count { values = [Float](repeating: 0, count: count) }
            try values.withUnsafeMutableBufferPointer {
              try reader.read(hook: hook, prompt: prompt, into: .init(rebasing: $0[..<count]))
            }
            bytes += 4 * count
          }
        }
      }
    }
    let time = median(Array(times.dropFirst()))
    let arrays = reader.committedPrompts * hooks.count
    return (Double(bytes) / time / 1e9, time / Double(max(1, arrays)) * 1e6)
  }
}
