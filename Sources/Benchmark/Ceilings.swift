import CKernels
import CLZ4
import Foundation

/// What the machine could do at most with the same arrays.
struct Ceilings {
  /// memcpy of every array into memory of each thread.
  var copy = StoreFigures()
  /// LZ4 and the bit shuffle, without files, checksums or packed triangles: one prompt's arrays over
  /// and over, which stay in the processor's cache.
  var kernels = StoreFigures()
  /// GB a second of the checksum, in cache.
  var checksumGBs = 0.0

  init(_ set: ArraySet, order: [Int], runs: Int) {
    copy.scan1GBs = Ceilings.rate(set.bytes, runs) { Ceilings.copy(set, threads: 1) }
    copy.scan2GBs = Ceilings.rate(set.bytes, runs) { Ceilings.copy(set, threads: 2) }
    let latencies = Ceilings.copyLatencies(set, order: order)
    copy.randomP50Us = quantile(latencies, 0.5)
    copy.randomP99Us = quantile(latencies, 0.99)

    let times = 2000
    let bytes = times * ArraySet.bytesPerPrompt
    var arrays = KernelArrays(set)
    kernels.writeGBs = Ceilings.rate(bytes, runs) { for _ in 0..<times { arrays.encode() } }
    kernels.bytesRatio = Double(arrays.storedBytes) / Double(ArraySet.bytesPerPrompt)
    let encoded = arrays
    func decode(threads: Int) -> Double {
      Ceilings.rate(threads * bytes, runs) {
        onThreads(threads) { _ in
          var arrays = encoded
          for _ in 0..<times { arrays.decode() }
        }
      }
    }
    kernels.scan1GBs = decode(threads: 1)
    kernels.scan2GBs = decode(threads: 2)

    let residual = Array(set.array(hook: 0, prompt: 0))
    checksumGBs = Ceilings.rate(10 * times * residual.count * 4, runs) {
      var crc: UInt32 = 0
      for _ in 0..<10 * times { crc = crc32c(crc, residual, residual.count * 4) }
    }
  }

  /// GB a second, the median of runs; one run before them warms up.
  private static func rate(_ bytes: Int, _ runs: Int, _ body: () -> Void) -> Double {
    body()
    return median((0..<runs).map { _ in Double(bytes) / seconds(body) / 1e9 })
  }

  private static func copy(_ set: ArraySet, threads: Int) {
    onThreads(threads) { thread in
      let memory = UnsafeMutablePointer<Float>.allocate(capacity: ArraySet.counts.max() ?? 0)
      defer { memory.deallocate() }
      for hook in ArraySet.hooks.indices {
        for prompt in set.prompts * thread / threads..<set.prompts * (thread + 1) / threads {
          copy(set.array(hook: hook, prompt: prompt), to: memory)
        }
      }
    }
  }

  private static func copyLatencies(_ set: ArraySet, order: [Int]) -> [Double] {
    let memory = ArraySet.counts.map { UnsafeMutablePointer<Float>.allocate(capacity: $0) }
    defer { for memory in memory { memory.deallocate() } }
    return secondOfTwoPasses(order) { prompt in
      for hook in ArraySet.hooks.indices {
        copy(set.array(hook: hook, prompt: prompt), to: memory[hook])
      }
    }
  }

  private static func copy(_ array: ArraySlice<Float>, to memory: UnsafeMutablePointer<Float>) {
    array.withUnsafeBufferPointer {
      guard let source = $0.baseAddress else { return }
      memory.update(from: source, count: $0.count)
    }
  }
}

/// The arrays of one prompt on their way through LZ4 and the bit shuffle, and back.
private struct KernelArrays: Sendable {
  private var arrays: [KernelArray]

  init(_ set: ArraySet) {
    arrays = ArraySet.hooks.indices.map {
      KernelArray(values: Array(set.array(hook: $0, prompt: 0)))
    }
  }

  var storedBytes: Int { arrays.reduce(0) { $0 + Int($1.storedBytes) } }

  mutating func encode() { for index in arrays.indices { arrays[index].encode() } }
  mutating func decode() { for index in arrays.indices { arrays[index].decode() } }
}

private struct KernelArray: Sendable {
  private(set) var storedBytes: Int32 = 0
  private var values: [Float]
  private var shuffled: [CChar]
  private var stored: [CChar]
  private let size: Int
  private let room: Int32
  private let exponent: UInt32 = 0x7F80_0000
  private let lowering: UInt32 = 114 << 23

  init(values: [Float]) {
    self.values = values
    size = 4 * values.count
    room = LZ4_compressBound(Int32(size))
    shuffled = Array(repeating: 0, count: size)
    stored = Array(repeating: 0, count: Int(room))
  }

  mutating func encode() {
    bit_shuffle(values, &shuffled, size, 4, exponent, lowering)
    storedBytes = LZ4_compress_fast(shuffled, &stored, Int32(size), room, 4)
  }

  mutating func decode() {
    _ = LZ4_decompress_safe(stored, &shuffled, storedBytes, Int32(size))
    bit_unshuffle(shuffled, &values, size, 4, exponent, lowering, 0, size)
  }
}
