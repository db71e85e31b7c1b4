/// Byte strings, numbered from 0, one after another in one array.
struct ByteStrings: Sendable {
  private(set) var bytes: [UInt8] = []
  private var ends: [Int] = []

  var count: Int { ends.count }

  mutating func append(_ string: some Sequence<UInt8>) {
    bytes.append(contentsOf: string)
    ends.append(bytes.count)
  }

  subscript(index: Int) -> ArraySlice<UInt8> {
    bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
  }
}

/// The tokens of a tokenizer as its files spell them, numbered by id.
///
/// Tokens are equal when their bytes are. Swift strings would not do: "é" equals "e\u{301}" there.
struct TokenSpellings: Sendable {
  private(set) var strings = ByteStrings()
  /// hash << 32 | id, open addressing with linear probing. The hash spares most comparisons of
  /// strings.
  private var slots: [UInt64]
  private static let free = UInt64.max

  var count: Int { strings.count }

  init(capacity: Int) {
    slots = [UInt64](repeating: Self.free, count: powerOfTwo(atLeast: capacity * 2))
  }

  subscript(id: Int) -> ArraySlice<UInt8> { strings[id] }

  func id(of spelling: ArraySlice<UInt8>) -> Int32? {
    let slot = slots[slot(of: spelling, hash: Self.hash(spelling))]
    return slot == Self.free ? nil : Int32(truncatingIfNeeded: slot)
  }

  func id(of spelling: [UInt8]) -> Int32? { id(of: spelling[...]) }

  /// Gives the next id to `spelling`; false if it has one already.
  mutating func append(_ spelling: ArraySlice<UInt8>) -> Bool {
    if (count + 1) * 2 > slots.count { grow() }
    let hash = Self.hash(spelling)
    let slot = slot(of: spelling, hash: hash)
    guard slots[slot] == Self.free else { return false }
    slots[slot] = UInt64(hash) << 32 | UInt64(UInt32(truncatingIfNeeded: count))
    strings.append(spelling)
    return true
  }

  /// FNV-1a, folded to 32 bits.
  private static func hash(_ spelling: ArraySlice<UInt8>) -> UInt32 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in spelling { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return UInt32(truncatingIfNeeded: hash ^ hash >> 32)
  }

  /// The slot that holds `spelling`, or the free one where it belongs.
  private func slot(of spelling: ArraySlice<UInt8>, hash: UInt32) -> Int {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] != Self.free {
      let id = Int(UInt32(truncatingIfNeeded: slots[slot]))
      if slots[slot] >> 32 == UInt64(hash), strings[id] == spelling { break }
      slot = (slot + 1) & mask
    }
    return slot
  }

  private mutating func grow() {
    slots = [UInt64](repeating: Self.free, count: slots.count * 2)
    for id in 0..<count {
      let hash = Self.hash(strings[id])
      slots[slot(of: strings[id], hash: hash)] =
        UInt64(hash) << 32 | UInt64(UInt32(truncatingIfNeeded: id))
    }
  }
}

/// GPT-2's printable spelling of bytes (`bytes_to_unicode` in its encoder.py): a byte that is a
/// visible character of Latin-1 is that character; the others are U+0100 and on, in their order.
enum ByteAlphabet {
  /// The scalar of every byte.
  static let scalars: [Unicode.Scalar] = {
    var next: UInt32 = 0x100
    return (UInt8.min...UInt8.max).map { byte in
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(byte)
      default:
        defer { next += 1 }
        return Unicode.Scalar(next) ?? "\u{FFFD}"
      }
    }
  }()

  /// The byte of every scalar of the alphabet, -1 for other scalars.
  private static let bytes: [Int16] = {
    var bytes = [Int16](repeating: -1, count: 0x200)
    for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar.value)] = Int16(byte) }
    return bytes
  }()

  /// The bytes that a spelling in UTF-8 stands for. One with a character outside the alphabet
  /// stands for itself, as in Hugging Face's ByteLevel decoder.
  static func decoded(_ spelling: ArraySlice<UInt8>) -> [UInt8] {
    let bytes = bytes
    var result: [UInt8] = []
    result.reserveCapacity(spelling.count)
    var index = spelling.startIndex
    while index < spelling.endIndex {
      // The alphabet ends before U+0200: one byte of UTF-8, or two.
      var scalar = Int(spelling[index])
      index += 1
      if scalar >= 0x80, index < spelling.endIndex {
        scalar = (scalar & 0x3F) << 6 | Int(spelling[index] & 0x3F)
        index += 1
      }
      guard scalar < bytes.count, let byte = UInt8(exactly: bytes[scalar]) else {
        return [UInt8](spelling)
      }
      result.append(byte)
    }
    return result
  }
}

/// The smallest power of two that is not below `count`, at least 16.
func powerOfTwo(atLeast count: Int) -> Int {
  var result = 16
  while result < count { result *= 2 }
  return result
}
