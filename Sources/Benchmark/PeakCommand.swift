import ArgumentParser
import Foundation
import Terminal

/// What our matrix products reach at most: the ceiling of passes and sweeps.
struct PeakCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "peak",
    abstract: "GFLOPS of the fastest of our matrix products with GPT-2 small's weights, as JSON.")

  @Option(name: .long, help: "Threads; one is measured as well.")
  var threads = ProcessInfo.processInfo.activeProcessorCount
  @Option(name: .long, help: "Runs of each product, of which the median counts.")
  var runs = 3

  func validate() throws {
    guard 1...1024 ~= threads, runs >= 1 else {
      throw ValidationError("--threads must be from 1 to 1024, and --runs at least 1.")
    }
  }

  func run() throws {
    let (one, all) = (peak(threads: 1), peak(threads: threads))
    print(#"{"one_thread": \#(fixed(one, 1)), "threads": \#(threads), "all": \#(fixed(all, 1))}"#)
  }

  private func peak(threads: Int) -> Double {
    let rates = ProductsCommand.shapes.map { inner, columns in
      let sides = (0..<threads).map { _ in
        ProductSide(rows: 264, inner: inner, columns: columns)
      }
      let all = (0...runs).map { _ in rate(sides) { $0.ours() } }
      return median(Array(all.dropFirst()))
    }
    return rates.max() ?? 0
  }
}
