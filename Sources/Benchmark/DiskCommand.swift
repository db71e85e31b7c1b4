import ArgumentParser
import FileIO
import Foundation
import Terminal

/// Sequential writing with synchronisation: the ceiling of a capture to that disk.
struct DiskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk", abstract: "Sequential writing of a large file, synchronised.")

  @Option(name: .long, help: "Where to write.")
  var directory = "."
  @Option(name: .long, help: "Megabytes to write.")
  var megabytes = 1000
  @Option(name: .long, help: "Runs, of which the median counts.")
  var runs = 3

  func run() throws {
    let path = "\(directory)/patchbay-bench-\(ProcessInfo.processInfo.processIdentifier)"
    // Noise, which no layer below can compress or leave out.
    var noise = Noise(seed: 1, stream: 0)
    let block = (0..<250_000).map { _ in noise.normal() }
    let rates = try (0..<runs).map { _ in
      defer { unlink(path) }
      return try Double(megabytes) * 1e6
        / seconds {
          let file = try DurableFile(creating: path + ".new")
          for _ in 0..<megabytes { try block.withUnsafeBytes { try file.write($0) } }
          try file.publish(as: path)
        }
    }
    print(
      "\(directory): \(megabytes) MB written and synchronised at "
        + "\(significant(median(rates) / 1e9, 3)) GB/s")
  }
}
