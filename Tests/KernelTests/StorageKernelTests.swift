import CKernels
import TestSupport
import Testing

/// Filters, checksums and narrow floats against plain versions of themselves.
@Suite struct StorageKernelTests {
  /// Every length to 70 bytes, and those about the edges of what vector code takes at a time.
  private static let lengths =
    Array(0...70)
    + [
      127, 511, 512, 513, 1021, 1022, 1023, 1024, 1025, 1026, 2044, 2047, 2048, 2049, 2052, 4099,
      6143, 9973,
    ]

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

  /// Every element's exponent lowered.
  private func lowered(_ bytes: [UInt8], size: Int, field: UInt32, offset: UInt32) -> [UInt8] {
    var bytes = bytes
    for first in stride(from: 0, to: bytes.count - size + 1, by: size) {
      let u = (0..<size).reduce(UInt32(0)) { $0 | UInt32(bytes[first + $1]) << (8 * UInt32($1)) }
      let low = u & ~field | (u &- offset) & field
      for k in 0..<size { bytes[first + k] = UInt8(truncatingIfNeeded: low >> (8 * UInt32(k))) }
    }
    return bytes
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

  /// Exponents of float32, bfloat16 and float16, and offsets at the edges of their ranges.
  @Test(arguments: [
    (4, UInt32(0x7F80_0000), [UInt32(0), 1, 112, 255]), (2, 0x7F80, [0, 1, 112, 255]),
    (2, 0x7C00, [0, 3, 31]),
  ])
  func bitShuffleEqualsThePlainOne(size: Int, field: UInt32, offsets: [UInt32]) {
    for length in StorageKernelTests.lengths {
      for offset in offsets.map({ $0 << UInt32(field.trailingZeroBitCount) }) {
        let bytes = randomBytes(length, seed: UInt64(length))
        let shuffled = run({ bit_shuffle($0, $1, $2, $3, field, offset) }, bytes, size: size)
        let low = lowered(bytes, size: size, field: field, offset: offset)
        #expect(shuffled == plainBitShuffle(low, size: size), "\(length) bytes, \(offset)")
        let back = run(
          { bit_unshuffle($0, $1, $2, $3, field, offset, 0, $2) }, shuffled, size: size)
        #expect(back == bytes, "\(length) bytes, \(offset)")
      }
    }
  }

  @Test(arguments: [2, 4])
  func byteShuffleEqualsThePlainOne(size: Int) {
    for length in StorageKernelTests.lengths {
      let bytes = randomBytes(length, seed: UInt64(length))
      let shuffled = run(byte_shuffle, bytes, size: size)
      #expect(shuffled == plainByteShuffle(bytes, size: size), "\(length) bytes")
      let back = run({ byte_unshuffle($0, $1, $2, $3, 0, $2) }, shuffled, size: size)
      #expect(back == bytes, "\(length) bytes")
    }
  }

  @Test(arguments: [2, 4]) func partsAreRestoredAlone(size: Int) {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("partsAreRestoredAlone: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    let (field, offset) = size == 4 ? (UInt32(0x7F80_0000), UInt32(112) << 23) : (0x7C00, 3 << 10)
    for length in StorageKernelTests.lengths {
      let bytes = randomBytes(length, seed: UInt64(length))
      let planes = run({ bit_shuffle($0, $1, $2, $3, field, offset) }, bytes, size: size)
      let lanes = run(byte_shuffle, bytes, size: size)
      for _ in 0..<12 {
        let ends = [0, 1].map { _ in Int.random(in: 0...length / size, using: &generator) * size }
        let (first, last) = (
          ends.min() ?? 0, Bool.random(using: &generator) ? length : ends.max() ?? 0
        )
        var part = [UInt8](repeating: 0xA5, count: last - first + 1)
        bit_unshuffle(planes, &part, length, size, field, offset, first, last - first)
        #expect(
          part == bytes[first..<last] + [0xA5], "seed \(seed), \(length): \(first) to \(last)")
        part = [UInt8](repeating: 0xA5, count: last - first + 1)
        byte_unshuffle(lanes, &part, length, size, first, last - first)
        #expect(
          part == bytes[first..<last] + [0xA5], "seed \(seed), \(length): \(first) to \(last)")
      }
    }
  }

  @Test func sourcesNeedNoAlignment() {
    let bytes = randomBytes(4101, seed: 9)
    let tail = Array(bytes[1...])
    var shuffled = [UInt8](repeating: 0, count: 4100)
    bytes.withUnsafeBytes { bit_shuffle($0.baseAddress! + 1, &shuffled, 4100, 4, 0, 0) }
    #expect(shuffled == plainBitShuffle(tail, size: 4))
  }

  @Test func otherSizesAreCopied() {
    let bytes = randomBytes(100, seed: 10)
    let kernels: [Kernel] = [
      { bit_shuffle($0, $1, $2, $3, 0x7F80_0000, 1 << 23) },
      { bit_unshuffle($0, $1, $2, $3, 0x7F80_0000, 1 << 23, 0, $2) }, byte_shuffle,
      { byte_unshuffle($0, $1, $2, $3, 0, $2) },
    ]
    for kernel in kernels {
      #expect(run(kernel, bytes, size: 3) == bytes)
    }
  }

  // MARK: Triangles

  /// Lower triangles of random bits with `fill` above them.
  private func triangles(_ matrices: Int, side: Int, size: Int, fill: [UInt8], seed: UInt64)
    -> (square: [UInt8], packed: [UInt8])
  {
    let bits = randomBytes(matrices * side * side * size, seed: seed)
    var square: [UInt8] = []
    var packed: [UInt8] = []
    for element in 0..<matrices * side * side {
      let isAbove = element % side > element / side % side
      let bytes = isAbove ? fill : Array(bits[element * size..<(element + 1) * size])
      square += bytes
      if !isAbove { packed += bytes }
    }
    return (square, packed)
  }

  @Test(arguments: [2, 4])
  func trianglesArePackedAndUnpacked(size: Int) {
    let sides = Array(0...18) + [31, 33, 64, 127, 257]
    for (seed, side) in sides.enumerated() {
      for matrices in [0, 1, 3] {
        // −∞ as float32; its upper half is a bfloat16.
        let fill = Array([UInt8(0x80), 0xFF, 0x80, 0xFF].prefix(size))
        let (square, packed) = triangles(
          matrices, side: side, size: size, fill: fill, seed: UInt64(seed))
        var found: UInt32 = 1
        #expect(triangle_fill(square, matrices, side, size, &found) == 1)
        let expected: UInt32 = size == 4 ? 0xFF80_FF80 : 0xFF80
        #expect(found == (side < 2 || matrices == 0 ? 0 : expected), "\(matrices) of \(side)")

        var narrow = [UInt8](repeating: 0xA5, count: packed.count + 1)
        pack_triangle(square, &narrow, matrices, side, size)
        #expect(narrow == packed + [0xA5], "\(matrices) of \(side)")
        var wide = [UInt8](repeating: 0xA5, count: square.count + 1)
        unpack_triangle(packed, &wide, matrices, side, size, found)
        #expect(wide == square + [0xA5], "\(matrices) of \(side)")
      }
    }
  }

  /// One bit anywhere above a diagonal, and it is no triangle any more.
  @Test(arguments: [2, 4])
  func whatIsNoTriangleIsSeen(size: Int) {
    let (side, matrices) = (19, 2)
    let (square, _) = triangles(
      matrices, side: side, size: size, fill: Array(repeating: 0, count: size), seed: 3)
    var fill: UInt32 = 0
    for element in 0..<matrices * side * side where element % side > element / side % side {
      var other = square
      other[element * size + element % size] ^= 4
      #expect(triangle_fill(other, matrices, side, size, &fill) == 0, "element \(element)")
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
    for length in StorageKernelTests.lengths + [
      639, 640, 641, 5119, 5120, 5121, 5760, 10_240, 29_999,
    ] {
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
    for cut in [0, 1, 8, 1000, 5121, 20_000] {
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
