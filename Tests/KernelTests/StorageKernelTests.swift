import CKernels
import TestSupport
import Testing

/// Filters, checksums and narrow floats against plain versions of themselves.
@Suite struct StorageKernelTests {
  /// Every length to 70 bytes, and those about the edges of what vector code takes at a time.
  private static let lengths =
    Array(0...70)
    + [127, 1021, 1022, 1023, 1024, 1025, 1026, 2044, 2047, 2048, 2049, 2052, 4099, 6143, 9973]

  private func randomBytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
  }

  // MARK: Plain versions

  private func plainBitShuffle(_ bytes: [UInt8], size: Int) -> [UInt8] {
    let count = bytes.count / size / 8 * 8
    var planes = [UInt8](repeating: 0, count: count * size)
    for element in 0..<count {
      for plane in 0..<8 * size where bytes[element * size + plane / 8] >> (plane % 8) & 1 == 1 {
        planes[plane * count / 8 + element / 8] |= 1 << (element % 8)
      }
    }
    return planes + bytes[(count * size)...]
  }

  private func plainByteShuffle(_ bytes: [UInt8], size: Int) -> [UInt8] {
    let count = bytes.count / size
    let planes = (0..<size).flatMap { k in (0..<count).map { bytes[$0 * size + k] } }
    return planes + bytes[(count * size)...]
  }

  private func plainCRC32C(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { crc, byte in
      (0..<8).reduce(crc ^ UInt32(byte)) { crc, _ in crc >> 1 ^ (crc & 1) * 0x82F6_3B78 }
    }
  }

  // MARK: Filters

  private typealias Kernel =
    @Sendable (UnsafeRawPointer?, UnsafeMutableRawPointer?, Int, Int) -> Void

  /// What a kernel makes of `bytes`, with a guard byte behind that it must leave alone.
  private func run(_ kernel: Kernel, _ bytes: [UInt8], size: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0xA5, count: bytes.count + 1)
    kernel(bytes, &result, bytes.count, size)
    #expect(result.last == 0xA5)
    return Array(result.dropLast())
  }

  @Test(arguments: [2, 4])
  func bitShuffleEqualsThePlainOne(size: Int) {
    for length in StorageKernelTests.lengths {
      let bytes = randomBytes(length, seed: UInt64(length))
      let shuffled = run(bit_shuffle, bytes, size: size)
      #expect(shuffled == plainBitShuffle(bytes, size: size), "\(length) bytes")
      #expect(run(bit_unshuffle, shuffled, size: size) == bytes, "\(length) bytes")
    }
  }

  @Test(arguments: [2, 4])
  func byteShuffleEqualsThePlainOne(size: Int) {
    for length in StorageKernelTests.lengths {
      let bytes = randomBytes(length, seed: UInt64(length))
      let shuffled = run(byte_shuffle, bytes, size: size)
      #expect(shuffled == plainByteShuffle(bytes, size: size), "\(length) bytes")
      #expect(run(byte_unshuffle, shuffled, size: size) == bytes, "\(length) bytes")
    }
  }

  @Test func sourcesNeedNoAlignment() {
    let bytes = randomBytes(4101, seed: 9)
    let tail = Array(bytes[1...])
    var shuffled = [UInt8](repeating: 0, count: 4100)
    bytes.withUnsafeBytes { bit_shuffle($0.baseAddress! + 1, &shuffled, 4100, 4) }
    #expect(shuffled == plainBitShuffle(tail, size: 4))
  }

  @Test func otherSizesAreCopied() {
    let bytes = randomBytes(100, seed: 10)
    for kernel: Kernel in [bit_shuffle, bit_unshuffle, byte_shuffle, byte_unshuffle] {
      #expect(run(kernel, bytes, size: 3) == bytes)
    }
  }

  // MARK: Checksums

  /// RFC 3720, appendix B.4, and the usual check value.
  @Test func crc32cOfKnownBytes() {
    func crc(_ bytes: [UInt8]) -> UInt32 { crc32c(0, bytes, bytes.count) }
    #expect(crc([]) == 0)
    #expect(crc(Array("123456789".utf8)) == 0xE306_9283)
    #expect(crc(Array(repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(crc(Array(repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(crc(Array(0..<32)) == 0x46DD_794E)
    #expect(crc(Array((0..<32).reversed())) == 0x113F_DB5C)
  }

  @Test func crc32cEqualsThePlainOne() {
    let bytes = randomBytes(30_000, seed: 11)
    for length in StorageKernelTests.lengths + [383, 384, 385, 6144, 6528, 12_288, 29_999] {
      for start in [0, 1, 7] where start + length <= bytes.count {
        let part = Array(bytes[start..<start + length])
        let expected = plainCRC32C(part)
        bytes.withUnsafeBytes {
          #expect(crc32c(0, $0.baseAddress! + start, length) == expected, "\(length) bytes")
        }
        #expect(crc32c_by_tables(0, part, length) == expected, "\(length) bytes")
      }
    }
  }

  @Test func crc32cGoesOnWhereItStopped() {
    let bytes = randomBytes(20_000, seed: 12)
    for cut in [0, 1, 8, 1000, 6145, 20_000] {
      let first = crc32c(0, bytes, cut)
      bytes.withUnsafeBytes {
        let both = crc32c(first, $0.baseAddress! + cut, bytes.count - cut)
        #expect(both == crc32c(0, bytes, bytes.count))
      }
    }
  }

  // MARK: Narrow floats

  private func narrow(
    _ values: [Float],
    by kernel: (UnsafePointer<Float>?, UnsafeMutablePointer<UInt16>?, Int) -> Void
  ) -> [UInt16] {
    var result = [UInt16](repeating: 0, count: values.count)
    kernel(values, &result, values.count)
    return result
  }

  private func widen(
    _ halves: [UInt16],
    by kernel: (UnsafePointer<UInt16>?, UnsafeMutablePointer<Float>?, Int) -> Void
  ) -> [Float] {
    var result = [Float](repeating: 0, count: halves.count)
    kernel(halves, &result, halves.count)
    return result
  }

  /// Every half, the values between neighbours, and random bit patterns.
  private var awkwardFloats: [Float] {
    let halves = (UInt16(0)...0x7BFF).map { Float(Float16(bitPattern: $0)) }
    var values = halves + halves.map { -$0 }
    values += zip(halves, halves.dropFirst()).flatMap { a, b in
      let middle = (a + b) / 2
      return [middle, middle.nextUp, middle.nextDown]
    }
    var generator = SeededGenerator(seed: 13)
    values += (0..<50_000).map { _ in
      Float(bitPattern: UInt32.random(in: 0 ... .max, using: &generator))
    }
    return values
      + [
        65_504, 65_519.996, 65_520, 65_536, .greatestFiniteMagnitude, .infinity, -.infinity, 0, -0,
      ]
      + [.leastNonzeroMagnitude, 0x1p-25, 0x1.000002p-25, 0x1p-24, 0x1p-14]
  }

  @Test func halvesAreRoundedAsSwiftRounds() {
    let values = awkwardFloats.filter { !$0.isNaN }
    let expected = values.map { Float16($0).bitPattern }
    #expect(narrow(values, by: narrow_to_f16) == expected)
  }

  @Test func bfloatsAreRoundedToTheNearestEven() {
    let values = awkwardFloats.filter { !$0.isNaN }
    let expected = values.map { value in
      // The two neighbours with 16 bits, and the nearer of them in double precision.
      let bits = value.bitPattern
      let below = Double(Float(bitPattern: bits & 0xFFFF_0000)).magnitude
      let step = (bits & 0xFFFF_0000) &+ 0x1_0000
      let above =
        step & 0x7FFF_FFFF == 0x7F80_0000 ? 0x1p128 : Double(Float(bitPattern: step)).magnitude
      let exact = Double(value).magnitude
      if !value.isFinite { return UInt16(bits >> 16) }
      let up =
        above - exact < exact - below
        || above - exact == exact - below && bits >> 16 & 1 == 1
      return UInt16(truncatingIfNeeded: (up ? step : bits) >> 16)
    }
    #expect(narrow(values, by: narrow_to_bf16) == expected)
  }

  @Test func nansStayNans() {
    let nans: [UInt32] = [0x7F80_0001, 0x7FC0_0000, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF]
    let values = nans.map { Float(bitPattern: $0) }
    for (kernel, back) in [(narrow_to_f16, widen_f16), (narrow_to_bf16, widen_bf16)] {
      let wide = widen(narrow(values, by: kernel), by: back)
      #expect(wide.allSatisfy { $0.isNaN })
      #expect(wide.map(\.sign) == values.map(\.sign))
    }
  }

  @Test func wideningIsExact() {
    let all = Array(UInt16.min ... .max)
    let numbers = all.filter { !Float16(bitPattern: $0).isNaN }
    #expect(
      widen(numbers, by: widen_f16).map(\.bitPattern)
        == numbers.map { Float(Float16(bitPattern: $0)).bitPattern })
    #expect(widen(all, by: widen_bf16).map(\.bitPattern) == all.map { UInt32($0) << 16 })
    #expect(narrow(widen(numbers, by: widen_f16), by: narrow_to_f16) == numbers)
  }
}
