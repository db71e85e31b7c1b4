import ArgumentParser
import CacheFormat
import Foundation
import Synchronization
import Terminal

/// Speed of one way to keep arrays; nil is what does not apply to it.
struct StoreFigures: Encodable {
  var bytesRatio: Double?
  /// On one thread.
  var writeGBs: Double?
  /// Reading all arrays of one prompt: median and 99th percentile.
  var randomP50Us: Double?
  var randomP99Us: Double?
  /// Reading every array, hook after hook.
  var scan1GBs: Double?
  var scan2GBs: Double?

  enum CodingKeys: String, CodingKey {
    case bytesRatio = "bytes_ratio"
    case writeGBs = "write_gbs"
    case randomP50Us = "random_p50_us"
    case randomP99Us = "random_p99_us"
    case scan1GBs = "scan1_gbs"
    case scan2GBs = "scan2_gbs"
  }
}

/// Writing, random reading and scanning of a cache, beside copying the same bytes.
struct StoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "A cache of synthetic arrays: bytes, writing, reading.")

  @Option(name: .long, help: "Prompts of 258 kB.")
  var prompts = 2000
  @Option(name: .long, help: "Of the random values.")
  var seed: UInt64 = 1
  @Option(name: .long, help: "Runs, of which the median counts.")
  var runs = 5
  @Option(name: .long, help: "Where the cache is written; a RAM disk leaves the disk out of it.")
  var directory = "/dev/shm"
  @Option(name: .long, help: "Only write the cache, once, to this directory, and leave it there.")
  var keep: String?
  @Flag(name: .long, help: "Print JSON.")
  var json = false

  struct Figures: Encodable {
    var machine = machineLine()
    var copy: StoreFigures
    var kernels: StoreFigures
    var checksumGBs: Double
    var store = StoreFigures()
    var scan1UncheckedGBs = 0.0

    enum CodingKeys: String, CodingKey {
      case machine, copy, kernels, store
      case checksumGBs = "checksum_gbs"
      case scan1UncheckedGBs = "scan1_unchecked_gbs"
    }
  }

  func run() throws {
    let set = ArraySet(prompts: prompts, seed: seed)
    if let keep { return try write(set, to: keep) }
    let folder = "\(directory)/patchbay-bench-\(ProcessInfo.processInfo.processIdentifier)"
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }

    var random = SplitMix64(seed: seed)
    let order = (0..<400).map { _ in Int.random(in: 0..<prompts, using: &random) }
    let ceilings = Ceilings(set, order: order, runs: runs)
    var figures = Figures(
      copy: ceilings.copy, kernels: ceilings.kernels, checksumGBs: ceilings.checksumGBs)

    let cache = folder + "/cache"
    figures.store.writeGBs = try median(
      (0..<runs).map { _ in
        try? FileManager.default.removeItem(atPath: cache)
        return Double(set.bytes) / (try seconds { try write(set, to: cache) }) / 1e9
      })
    let reader = try CacheReader(directory: cache)
    figures.store.bytesRatio = Double(reader.summary().segmentFileBytes) / Double(set.bytes)
    figures.store.scan1GBs = try scan(set, reader, threads: 1)
    figures.store.scan2GBs = try scan(set, reader, threads: 2)
    figures.scan1UncheckedGBs = try scan(
      set, try CacheReader(directory: cache, checksums: false), threads: 1)
    let latencies = try randomReads(reader, order: order)
    figures.store.randomP50Us = quantile(latencies, 0.5)
    figures.store.randomP99Us = quantile(latencies, 0.99)

    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      print(String(decoding: try encoder.encode(figures), as: UTF8.self))
    } else {
      show(figures, bytes: set.bytes)
    }
  }

  /// On one thread: encoding, checksums, files.
  private func write(_ set: ArraySet, to directory: String) throws {
    let prompts = (0..<set.prompts).map { prompt in
      Prompt(
        text: "\(prompt)", tokens: Array(repeating: Int32(prompt), count: ArraySet.T),
        pieces: Array(repeating: "a", count: ArraySet.T))
    }
    let writer = try CacheWriter(
      directory: directory, plan: set.plan(), prompts: prompts, pairs: [])
    for index in writer.segmentRanges.indices {
      let segment = try writer.openSegment(index)
      for hook in ArraySet.hooks.indices {
        for prompt in segment.prompts {
          try set.array(hook: hook, prompt: prompt).withUnsafeBufferPointer {
            try segment.append(hook: hook, prompt: prompt, values: [$0])
          }
        }
      }
      try writer.commit(try segment.seal())
    }
    try writer.finish()
  }

  /// GB a second of reading every array, hook after hook, into memory of each thread.
  private func scan(_ set: ArraySet, _ reader: CacheReader, threads: Int) throws -> Double {
    let failure = Mutex<(any Error)?>(nil)
    let rates = (0...runs).map { _ in
      Double(set.bytes)
        / seconds {
          onThreads(threads) { thread in
            var values = [Float](repeating: 0, count: ArraySet.counts.max() ?? 0)
            do {
              for hook in ArraySet.hooks.indices {
                for prompt in set.prompts * thread / threads..<set.prompts * (thread + 1) / threads
                {
                  try values.withUnsafeMutableBufferPointer {
                    try reader.read(
                      hook: hook, prompt: prompt,
                      into: .init(rebasing: $0[..<ArraySet.counts[hook]]))
                  }
                }
              }
            } catch {
              failure.withLock { $0 = error }
            }
          }
        } / 1e9
    }
    if let error = failure.withLock({ $0 }) { throw error }
    // The first one warms up.
    return median(Array(rates.dropFirst()))
  }

  /// Microseconds to read all three arrays of a prompt, in random order.
  private func randomReads(_ reader: CacheReader, order: [Int]) throws -> [Double] {
    var values = ArraySet.counts.map { [Float](repeating: 0, count: $0) }
    return try secondOfTwoPasses(order) { prompt in
      for hook in ArraySet.hooks.indices {
        try values[hook].withUnsafeMutableBufferPointer {
          try reader.read(hook: hook, prompt: prompt, into: $0)
        }
      }
    }
  }

  private func show(_ figures: Figures, bytes: Int) {
    print(figures.machine)
    print("\(prompts) prompts, \(byteSize(bytes)), medians of \(runs) runs, in \(directory)")
    var table = Table([.left, .right])
    func row(_ name: String, _ value: Double?, _ unit: String) {
      guard let value else { return }
      table.add([name, "\(significant(value, 3)) \(unit)"])
    }
    row("copy, 1 thread", figures.copy.scan1GBs, "GB/s")
    row("copy, 2 threads", figures.copy.scan2GBs, "GB/s")
    row("copy of a random prompt: p50", figures.copy.randomP50Us, "µs")
    row("LZ4 and bit shuffle, in cache: encoding, 1 thread", figures.kernels.writeGBs, "GB/s")
    row("LZ4 and bit shuffle, in cache: decoding, 1 thread", figures.kernels.scan1GBs, "GB/s")
    row("LZ4 and bit shuffle, in cache: decoding, 2 threads", figures.kernels.scan2GBs, "GB/s")
    row("CRC-32C, in cache", figures.checksumGBs, "GB/s")
    row("bytes stored / bytes", figures.store.bytesRatio, "")
    row("write, 1 thread", figures.store.writeGBs, "GB/s")
    row("a random prompt, checked: p50", figures.store.randomP50Us, "µs")
    row("a random prompt, checked: p99", figures.store.randomP99Us, "µs")
    row("scan, 1 thread, checked", figures.store.scan1GBs, "GB/s")
    row("scan, 2 threads, checked", figures.store.scan2GBs, "GB/s")
    row("scan, 1 thread, unchecked", figures.scan1UncheckedGBs, "GB/s")
    for line in table.lines() { print(line) }
  }
}
