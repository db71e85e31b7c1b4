import FileIO

/// A segment, from front to back: header · blocks, hook by hook · index · trailer.
enum SegmentLayout {
  static func fileName(_ number: Int) -> String {
    let digits = String(number)
    return "segment-" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".pbs"
  }

  /// Bytes of the index: an entry for each array, then each prompt's number of positions.
  static func indexLength(hooks: Int, prompts: Int) -> Int? {
    let (arrays, overflow1) = hooks.multipliedReportingOverflow(by: prompts)
    let (entries, overflow2) = arrays.multipliedReportingOverflow(by: IndexEntry.size)
    let (lengths, overflow3) = prompts.multipliedReportingOverflow(by: 4)
    let (sum, overflow4) = entries.addingReportingOverflow(lengths)
    return overflow1 || overflow2 || overflow3 || overflow4 ? nil : sum
  }
}

/// Where a block is, how long its stored bytes are, and the checksum that its header ends with:
/// through the index the manifest vouches for every byte of a segment. (Not a checksum of the whole
/// header: that of bytes followed by their own checksum is the same for all.)
///
/// For a derived array offset and length are zero, and the checksum is that of its float32 bytes.
struct IndexEntry: Equatable {
  static let size = 16

  var offset: UInt64
  var storedLength: UInt32
  var checksum: UInt32

  func append(to bytes: inout [UInt8]) {
    withUnsafeBytes(of: offset.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: storedLength.littleEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: checksum.littleEndian) { bytes.append(contentsOf: $0) }
  }

  static func decode(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> IndexEntry {
    func word(_ place: Int) -> UInt32 {
      UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + place, as: UInt32.self))
    }
    return IndexEntry(
      offset: UInt64(word(0)) | UInt64(word(4)) << 32, storedLength: word(8), checksum: word(12))
  }
}

/// The first 64 bytes of a segment.
struct SegmentHeader: Equatable {
  private static let magic: StaticString = "PBsegmt\n"

  var format: UInt32
  var segment: UInt32
  var firstPrompt: UInt32
  var promptCount: UInt32
  var hookCount: UInt32
  /// 32 bytes.
  var plan: [UInt8]

  func encoded() -> Record {
    var record = Record(magic: SegmentHeader.magic)
    record.put(format, at: 8)
    record.put(segment, at: 12)
    record.put(firstPrompt, at: 16)
    record.put(promptCount, at: 20)
    record.put(hookCount, at: 24)
    record.put(plan, at: 28)
    record.seal()
    return record
  }

  /// Nil when the 64 bytes at `pointer` are not an intact header.
  static func decode(_ pointer: UnsafeRawPointer) -> SegmentHeader? {
    guard Record.isIntact(pointer, magic: magic) else { return nil }
    return SegmentHeader(
      format: Record.word(pointer, 8), segment: Record.word(pointer, 12),
      firstPrompt: Record.word(pointer, 16), promptCount: Record.word(pointer, 20),
      hookCount: Record.word(pointer, 24), plan: (28..<60).map { Record.byte(pointer, $0) })
  }
}

/// The last 64 bytes of a segment.
struct SegmentTrailer: Equatable {
  private static let magic: StaticString = "PBtrail\n"

  var indexOffset: UInt64
  var indexLength: UInt64
  var fileSize: UInt64
  var plan: UInt64
  var segment: UInt32
  var indexChecksum: UInt32

  func encoded() -> Record {
    var record = Record(magic: SegmentTrailer.magic)
    record.put(indexOffset, at: 8)
    record.put(indexLength, at: 16)
    record.put(fileSize, at: 24)
    record.put(plan, at: 32)
    record.put(segment, at: 40)
    record.put(indexChecksum, at: 44)
    record.seal()
    return record
  }

  /// The trailer of a segment file; nil when it is not intact.
  static func read(from file: RandomAccessFile) throws(FileError) -> SegmentTrailer? {
    guard file.count >= 2 * Record.size else { return nil }
    let last = ByteBuffer(capacity: Record.size)
    try file.read(
      at: file.count - Record.size, into: .init(start: last.base, count: Record.size))
    return decode(last.base)
  }

  /// Nil when the 64 bytes at `pointer` are not an intact trailer.
  static func decode(_ pointer: UnsafeRawPointer) -> SegmentTrailer? {
    guard Record.isIntact(pointer, magic: magic), Record.areZero(pointer, 48..<60) else {
      return nil
    }
    return SegmentTrailer(
      indexOffset: Record.long(pointer, 8), indexLength: Record.long(pointer, 16),
      fileSize: Record.long(pointer, 24), plan: Record.long(pointer, 32),
      segment: Record.word(pointer, 40), indexChecksum: Record.word(pointer, 44))
  }
}
