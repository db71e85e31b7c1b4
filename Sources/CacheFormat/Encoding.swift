/// How an array's bytes are stored: packed, filtered, compressed.
struct Encoding: Hashable, Sendable {
  enum Codec: UInt8, Sendable {
    case none = 0
    case lz4 = 1
  }
  enum Filter: UInt8, Sendable {
    case none = 0
    case byteShuffle = 1
    case bitShuffle = 2
  }
  /// What is left out before anything else.
  enum Packing: Hashable, Sendable {
    case none
    /// Elements above the diagonal of square matrices, which all have the bits `fill`.
    case triangle(fill: UInt32)
    /// The first `count` rows, which have the bits of those of the prompt `base`.
    case sharedRows(base: UInt32, count: UInt32)
  }

  var codec: Codec = .none
  /// None where the codec is none: a filter without a codec would gain nothing.
  var filter: Filter = .none
  /// What the bit shuffle lowers exponents by, in units of the exponent; 0 for other filters.
  var exponentOffset: UInt8 = 0
  var packing: Packing = .none

  static let raw = Encoding()

  /// As the manifest and `cachedump` name it.
  var name: String {
    var parts: [String] = []
    switch packing {
    case .none: break
    case .triangle: parts.append("triangle")
    case .sharedRows: parts.append("shared")
    }
    if codec == .lz4 { parts.append("lz4") }
    switch filter {
    case .none: break
    case .byteShuffle: parts.append("shuffle")
    case .bitShuffle: parts.append("bitshuffle")
    }
    return parts.isEmpty ? "raw" : parts.joined(separator: "+")
  }

  /// Bytes that the packing leaves of `rawLength`.
  ///
  /// - Parameters:
  ///   - T: the prompt's positions: the side of matrices, and the number of rows.
  ///   - size: bytes of an element.
  func packedLength(of rawLength: Int, positions T: Int, size: Int) -> Int {
    guard T > 0 else { return rawLength }
    switch packing {
    case .none: return rawLength
    case .triangle: return rawLength / size / T / T * (T * (T + 1) / 2) * size
    case .sharedRows(_, let count): return rawLength - rawLength / T * min(T, Int(count))
    }
  }
}

extension ElementType {
  /// As a block header has it.
  var code: UInt8 {
    switch self {
    case .f32: 1
    case .f16: 2
    case .bf16: 3
    }
  }

  /// The bits of an element that hold its exponent.
  var exponentField: UInt32 {
    switch self {
    case .f32: 0x7F80_0000
    case .f16: 0x7C00
    case .bf16: 0x7F80
    }
  }

  /// How many exponents there are.
  var exponentCount: Int { self == .f16 ? 32 : 256 }
}
