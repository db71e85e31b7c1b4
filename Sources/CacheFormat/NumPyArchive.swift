/// Several arrays in one file, as `numpy.savez` writes them and `numpy.load` reads them: a ZIP archive
/// (PKWARE's APPNOTE 6.3) of NPY files that are stored as they are.
public struct NumPyArchive {
  private var entries: [UInt8] = []
  private var directory: [UInt8] = []
  private var count = 0

  public init() {}

  /// Adds an array.
  ///
  /// - Parameters:
  ///   - name: what `numpy.load(…)[name]` finds it by; ASCII.
  ///   - array: a whole NPY file, from `NumPyFile.bytes`.
  /// - Precondition: less than 4 GiB and 65,535 arrays in all.
  public mutating func add(_ name: String, _ array: [UInt8]) {
    let file = Array("\(name).npy".utf8)
    let size = UInt32(array.count)
    // Version 2.0, no flags, stored, the first day that the format knows, CRC and both sizes.
    let shared =
      bytes(UInt16(20)) + bytes(UInt16(0)) + bytes(UInt16(0)) + bytes(UInt16(0))
      + bytes(UInt16(1 << 5 | 1)) + bytes(zipChecksum(array)) + bytes(size) + bytes(size)
      + bytes(UInt16(file.count)) + bytes(UInt16(0))
    directory += [0x50, 0x4B, 1, 2] + bytes(UInt16(20)) + shared
    directory += bytes(UInt16(0)) + bytes(UInt16(0)) + bytes(UInt16(0)) + bytes(UInt32(0))
    directory += bytes(UInt32(entries.count)) + file
    entries += [0x50, 0x4B, 3, 4] + shared + file + array
    count += 1
  }

  /// The whole file.
  public var bytes: [UInt8] {
    let end =
      [0x50, 0x4B, 5, 6] + bytes(UInt16(0)) + bytes(UInt16(0)) + bytes(UInt16(count))
      + bytes(UInt16(count)) + bytes(UInt32(directory.count)) + bytes(UInt32(entries.count))
      + bytes(UInt16(0))
    return entries + directory + end
  }

  private func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
  }

  /// CRC-32 with the polynomial of ISO 3309, which ZIP wants; caches use another (`crc32c`).
  private func zipChecksum(_ bytes: [UInt8]) -> UInt32 {
    var crc = ~UInt32(0)
    for byte in bytes {
      crc = crc >> 8 ^ NumPyArchive.table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)]
    }
    return ~crc
  }

  private static let table: [UInt32] = (0..<256).map { start in
    (0..<8).reduce(UInt32(start)) { crc, _ in crc >> 1 ^ (crc & 1 == 1 ? 0xEDB8_8320 : 0) }
  }
}
