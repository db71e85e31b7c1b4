/// The 64 bytes before every stored array: who it is, how it is stored, and its checksums.
struct BlockHeader: Equatable {
  private static let magic: StaticString = "PBblock\n"

  var plan: UInt64
  var segment: UInt32
  var hook: UInt32
  var prompt: UInt32
  var positions: UInt32
  var encoding: Encoding
  var elementType: ElementType
  /// Bytes of the array.
  var rawLength: UInt32
  /// Bytes that follow the header.
  var storedLength: UInt32
  var storedChecksum: UInt32
  var rawChecksum: UInt32

  func encoded() -> Record {
    var record = Record(magic: BlockHeader.magic)
    record.put(plan, at: 8)
    record.put(segment, at: 16)
    record.put(hook, at: 20)
    record.put(prompt, at: 24)
    record.put(positions, at: 28)
    record.put(encoding.codec.rawValue, at: 32)
    record.put(encoding.filter.rawValue, at: 33)
    switch encoding.packing {
    case .none: break
    case .triangle(let fill):
      record.put(UInt8(1), at: 34)
      record.put(fill, at: 52)
    case .sharedRows(let base, let count):
      record.put(UInt8(2), at: 34)
      record.put(base, at: 52)
      for byte in 0..<3 {
        record.put(UInt8(truncatingIfNeeded: count >> (8 * UInt32(byte))), at: 57 + byte)
      }
    }
    record.put(elementType.code, at: 35)
    record.put(rawLength, at: 36)
    record.put(storedLength, at: 40)
    record.put(storedChecksum, at: 44)
    record.put(rawChecksum, at: 48)
    record.put(encoding.exponentOffset, at: 56)
    record.seal()
    return record
  }

  /// Reads the header at `pointer`, where 64 bytes must be.
  ///
  /// - Parameter format: the version that the plan has.
  static func decode(_ pointer: UnsafeRawPointer, format: Int) throws(BlockProblem) -> BlockHeader {
    guard Record.isIntact(pointer, magic: magic) else { throw .header }
    guard let codec = Encoding.Codec(rawValue: Record.byte(pointer, 32)),
      let filter = Encoding.Filter(rawValue: Record.byte(pointer, 33)),
      codec != .none || filter == .none
    else { throw .impossible("a codec that this format does not have") }
    guard
      let elementType = ElementType.allCases.first(where: {
        $0.code == Record.byte(pointer, 35)
      })
    else { throw .impossible("an element type that this format does not have") }
    let encoding = Encoding(
      codec: codec, filter: filter, exponentOffset: Record.byte(pointer, 56),
      packing: try packing(pointer, format: format))
    guard format > 1 || encoding.exponentOffset == 0 else {
      throw .impossible("something where zeros must be")
    }
    guard encoding.exponentOffset == 0 || filter == .bitShuffle,
      Int(encoding.exponentOffset) < elementType.exponentCount
    else { throw .impossible("an exponent offset that cannot be") }
    return BlockHeader(
      plan: Record.long(pointer, 8), segment: Record.word(pointer, 16),
      hook: Record.word(pointer, 20), prompt: Record.word(pointer, 24),
      positions: Record.word(pointer, 28), encoding: encoding,
      elementType: elementType, rawLength: Record.word(pointer, 36),
      storedLength: Record.word(pointer, 40), storedChecksum: Record.word(pointer, 44),
      rawChecksum: Record.word(pointer, 48))
  }

  private static func packing(_ pointer: UnsafeRawPointer, format: Int) throws(BlockProblem)
    -> Encoding.Packing
  {
    let packing: Encoding.Packing
    let unused: [Range<Int>]
    switch Record.byte(pointer, 34) {
    case 0:
      packing = .none
      unused = [52..<56, 57..<60]
    case 1 where format >= 2:
      packing = .triangle(fill: Record.word(pointer, 52))
      unused = [57..<60]
    case 2 where format >= 3:
      let count = (0..<3).reduce(UInt32(0)) {
        $0 | UInt32(Record.byte(pointer, 57 + $1)) << (8 * UInt32($1))
      }
      packing = .sharedRows(base: Record.word(pointer, 52), count: count)
      unused = []
    default: throw .impossible("a packing that format \(format) does not have")
    }
    guard unused.allSatisfy({ Record.areZero(pointer, $0) }) else {
      throw .impossible("something where zeros must be")
    }
    return packing
  }
}
