import CKernels
import CLZ4
import Foundation

/// What the machine could do at most with the same bytes.
struct Ceilings {
  /// Bytes a second of copying one prompt's arrays after the other, by number of threads.
  var copy: [Int: Double] = [:]
  /// Bytes a second of LZ4 decoding and the inverse bit shuffle of the residual streams, warm.
  var decode = 0.0
  /// Bytes a second of the checksum.
  var checksum = 0.0

  init(_ set: ArraySet, runs: Int) {
    for threads in [1, 2] {
      copy[threads] = median(
        (0..<runs).map { _ in Double(set.bytes) / Ceilings.copySeconds(set, threads: threads) })
    }
    let residual = Array(set.array(hook: 0, prompt: 0))
    let size = residual.count * 4
    var shuffled = [UInt8](repeating: 0, count: size)
    var stored = [UInt8](repeating: 0, count: 2 * size)
    var back = [Float](repeating: 0, count: residual.count)
    let field: UInt32 = 0x7F80_0000
    bit_shuffle(residual, &shuffled, size, 4, field, 114 << 23)
    let length = shuffled.withUnsafeBytes { source in
      stored.withUnsafeMutableBytes {
        LZ4_compress_fast(source.baseAddress, $0.baseAddress, Int32(size), Int32($0.count), 4)
      }
    }
    let times = 20_000
    decode = median(
      (0..<runs).map { _ in
        Double(times * size)
          / seconds {
            for _ in 0..<times {
              _ = stored.withUnsafeBytes { source in
                shuffled.withUnsafeMutableBytes {
                  LZ4_decompress_safe(source.baseAddress, $0.baseAddress, length, Int32(size))
                }
              }
              bit_unshuffle(shuffled, &back, size, 4, field, 114 << 23)
            }
          }
      })
    checksum = median(
      (0..<runs).map { _ in
        var crc: UInt32 = 0
        return Double(times * size)
          / seconds { for _ in 0..<times { crc = crc32c(crc, residual, size) } }
      })
  }

  private static func copySeconds(_ set: ArraySet, threads: Int) -> Double {
    seconds {
      onThreads(threads) { thread in
        let largest = ArraySet.counts.max() ?? 0
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: largest)
        defer { memory.deallocate() }
        for prompt in set.prompts * thread / threads..<set.prompts * (thread + 1) / threads {
          for hook in ArraySet.hooks.indices {
            set.array(hook: hook, prompt: prompt).withUnsafeBufferPointer {
              guard let source = $0.baseAddress else { return }
              memory.update(from: source, count: $0.count)
            }
          }
        }
      }
    }
  }
}
