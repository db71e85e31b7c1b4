/// The unit that everything in a segment is made of and aligned to.
enum Alignment {
  static let bytes = 64

  /// `count` rounded up to a multiple of 64; nil on overflow.
  static func rounded(_ count: Int) -> Int? {
    let (sum, overflow) = count.addingReportingOverflow(bytes - 1)
    return overflow ? nil : sum & ~(bytes - 1)
  }
}

/// Sixty-four bytes that name themselves by their first eight and check themselves by their last
/// four: segment header, block header and trailer. Little-endian.
struct Record {
  static let size = 64
  /// The last four bytes are the checksum of those before.
  static let checkedBytes = 60

  private(set) var bytes = [UInt8](repeating: 0, count: Record.size)

  init(magic: StaticString) {
    for index in 0..<8 { bytes[index] = magic.utf8Start[index] }
  }

  mutating func put(_ value: some FixedWidthInteger, at offset: Int) {
    withUnsafeBytes(of: value.littleEndian) { source in
      for (index, byte) in source.enumerated() { bytes[offset + index] = byte }
    }
  }

  mutating func put(_ source: [UInt8], at offset: Int) {
    for (index, byte) in source.enumerated() { bytes[offset + index] = byte }
  }

  /// The last four bytes once sealed.
  private(set) var checksum: UInt32 = 0

  /// Writes the checksum; nothing may be put after it.
  mutating func seal() {
    checksum = bytes.withUnsafeBytes {
      CacheFormat.checksum(.init(rebasing: $0[..<Record.checkedBytes]))
    }
    put(checksum, at: Record.checkedBytes)
  }

  /// Whether the 64 bytes at `pointer` have this magic and are as they were sealed.
  static func isIntact(_ pointer: UnsafeRawPointer, magic: StaticString) -> Bool {
    (0..<8).allSatisfy { byte(pointer, $0) == magic.utf8Start[$0] }
      && CacheFormat.checksum(UnsafeRawBufferPointer(start: pointer, count: checkedBytes))
        == word(pointer, checkedBytes)
  }

  static func byte(_ pointer: UnsafeRawPointer, _ offset: Int) -> UInt8 {
    pointer.load(fromByteOffset: offset, as: UInt8.self)
  }

  static func word(_ pointer: UnsafeRawPointer, _ offset: Int) -> UInt32 {
    UInt32(littleEndian: pointer.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  static func long(_ pointer: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: pointer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  static func areZero(_ pointer: UnsafeRawPointer, _ range: Range<Int>) -> Bool {
    range.allSatisfy { byte(pointer, $0) == 0 }
  }
}

/// A plan's SHA-256 as segments carry it.
struct PlanKey: Equatable, Sendable {
  let hexadecimal: String
  /// 32 bytes.
  let bytes: [UInt8]
  /// The first eight, as every block carries them.
  let prefix: UInt64

  /// Nil unless `text` is 64 lower-case hexadecimal digits.
  init?(_ text: String) {
    guard let bytes = CacheFormat.bytes(hexadecimal: text), bytes.count == 32 else { return nil }
    hexadecimal = text
    self.bytes = bytes
    prefix = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
