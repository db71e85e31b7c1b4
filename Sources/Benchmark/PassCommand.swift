import ArgumentParser
import Dispatch
import Foundation
import Hub
import Model
import Synchronization
import Terminal

/// The forward pass alone: what a capture would take if nothing had to be stored.
struct PassCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pass", abstract: "The forward pass over a prompt file, writing nothing.")

  @Option(name: .long, help: "A model directory.")
  var model: String
  @Option(name: .long, help: "A file of one prompt a line.")
  var prompts: String
  @Option(name: .long)
  var threads = ProcessInfo.processInfo.activeProcessorCount
  @Option(name: .long, help: "Tokens that a pass runs at once.")
  var batchTokens = 264
  @Option(name: .long, help: "Runs, of which the median counts.")
  var runs = 3

  func run() throws {
    let directory = try locateModel(model)
    let tokenizer = try Tokenizer(directory: directory)
    let gpt2 = try GPT2(directory: directory, processing: .transformerlens, threads: threads)
    let texts = try String(contentsOfFile: prompts, encoding: .utf8).split(separator: "\n")
    let tokens = texts.map { [tokenizer.endOfText] + tokenizer.encode(String($0)) }
    var batches: [[[Int32]]] = [[]]
    var filled = 0
    for prompt in tokens {
      if filled + prompt.count > batchTokens, filled > 0 {
        batches.append([])
        filled = 0
      }
      batches[batches.count - 1].append(prompt)
      filled += prompt.count
    }
    let total = tokens.reduce(0) { $0 + $1.count }
    let work = batches
    let failure = Mutex<(any Error)?>(nil)
    let passes = (0..<threads).map { _ in Unchecked(ForwardPass(gpt2)) }
    let rates = (0...runs).map { _ in
      let next = Atomic(0)
      return Double(total)
        / seconds {
          onThreads(threads) { thread in
            while true {
              let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
              guard index < work.count else { return }
              do {
                try passes[thread].value.run(tokens: work[index])
              } catch {
                failure.withLock { $0 = error }
              }
            }
          }
        }
    }
    if let error = failure.withLock({ $0 }) { throw error }
    print("\(machineLine()), \(Linear.arithmetic) kernels, \(threads) threads")
    print(
      "forward pass over \(texts.count) prompts, \(total) tokens, \(batchTokens) at once: "
        + "\(significant(median(Array(rates.dropFirst())), 4)) tokens/s")
  }
}

/// A value that one thread at a time uses.
private struct Unchecked<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
