import TestSupport
import Testing

@testable import CacheFormat

/// Blocks whose first bytes are literals without a search for matches.
@Suite struct LZ4Tests {
  /// Bytes of which the library finds many, some or no matches.
  private static func bytes(_ count: Int, kinds: UInt8, _ generator: inout SeededGenerator)
    -> [UInt8]
  {
    (0..<count).map { _ in UInt8.random(in: 0...kinds, using: &generator) }
  }

  private func compressed(_ source: [UInt8], plain: Int, capacity: Int) -> [UInt8]? {
    // Memory beyond the slack that is allowed must stay as it was.
    let most = capacity + LZ4.slack(of: source.count)
    var destination = [UInt8](repeating: 0xA5, count: most + 64)
    let length = source.withUnsafeBytes { source in
      destination.withUnsafeMutableBytes {
        LZ4.compress(source, plain: plain, into: $0.baseAddress!, capacity: capacity)
      }
    }
    #expect(destination[most...].allSatisfy { $0 == 0xA5 })
    return length.map { Array(destination[..<$0]) }
  }

  private func decompressed(_ block: [UInt8], count: Int) -> [UInt8]? {
    var result = [UInt8](repeating: 0, count: count)
    let isSound = block.withUnsafeBytes { block in
      result.withUnsafeMutableBytes { LZ4.decompress(block, into: $0.baseAddress!, count: count) }
    }
    return isSound ? result : nil
  }

  /// The numbers of literals at which a token gets one more byte, and others.
  @Test func anyNumberOfPlainBytesReadsBack() {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("anyNumberOfPlainBytesReadsBack: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    let counts =
      [0, 1, 2, 13, 14, 15, 16, 268, 269, 270, 271, 524, 525, 526, 3000]
      + (0..<20).map { _ in Int.random(in: 0...9000, using: &generator) }
    for plain in counts {
      for rest in [1, 5, 12, 14, 15, 64, 300, 4000] {
        for kinds in [0, 1, 255] as [UInt8] {
          let source =
            LZ4Tests.bytes(plain, kinds: 255, &generator)
            + LZ4Tests.bytes(rest, kinds: kinds, &generator)
          let what = "seed \(seed), \(plain) + \(rest) bytes of \(kinds)"
          let block = compressed(source, plain: plain, capacity: 2 * source.count + 32)
          #expect(block.flatMap { decompressed($0, count: source.count) } == source, "\(what)")
          guard let length = block?.count else { continue }
          #expect(compressed(source, plain: plain, capacity: length)?.count == length, "\(what)")
          #expect(compressed(source, plain: plain, capacity: length - 1) == nil, "\(what)")
        }
      }
    }
  }

  /// Where the others are compressible, plain bytes cost what they are and their share of a count.
  @Test func plainBytesCostNoMore() throws {
    var generator = SeededGenerator(seed: 4)
    let plain = LZ4Tests.bytes(40_000, kinds: 255, &generator)
    let zeros = [UInt8](repeating: 0, count: 20_000)
    let block = try #require(compressed(plain + zeros, plain: 40_000, capacity: 60_000))
    #expect(block.count < 40_000 + 40_000 / 255 + 20_000 / 255 + 32)
  }

  /// Planes of mantissas are plain, those of exponents not; where all values are alike none is.
  @Test func planesWithoutMatchesAreFound() {
    var generator = SeededGenerator(seed: 5)
    let normal = (0..<8192).map { _ in Float.random(in: 1..<2, using: &generator) }
    let sampler = EncodingSampler(elementType: .f32)
    let choice = normal.withUnsafeBytes { sampler.choose(for: $0) }
    #expect(choice.encoding.filter == .bitShuffle && choice.plainPlanes == 23)
    let rounded = normal.map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) }
    #expect(rounded.withUnsafeBytes { sampler.choose(for: $0) }.plainPlanes == 0)
    let few = (0..<40).map { Float($0 % 3) }
    #expect(few.withUnsafeBytes { sampler.choose(for: $0) }.plainPlanes == 0)
    let alike = [Float](repeating: 3, count: 8192)
    #expect(alike.withUnsafeBytes { sampler.choose(for: $0) }.plainPlanes == 0)
  }
}
