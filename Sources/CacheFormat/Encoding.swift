/// How an array's bytes are stored.
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

  let codec: Codec
  let filter: Filter

  static let raw = Encoding(codec: .none, filter: .none)
  static let lz4 = Encoding(codec: .lz4, filter: .none)
  static let lz4ByteShuffle = Encoding(codec: .lz4, filter: .byteShuffle)
  static let lz4BitShuffle = Encoding(codec: .lz4, filter: .bitShuffle)

  /// All that a block may have. A filter without a codec would gain nothing.
  static let all: [Encoding] = [.raw, .lz4, .lz4ByteShuffle, .lz4BitShuffle]

  /// As the manifest and `cachedump` name it.
  var name: String {
    switch (codec, filter) {
    case (.none, _): "raw"
    case (.lz4, .none): "lz4"
    case (.lz4, .byteShuffle): "lz4+shuffle"
    case (.lz4, .bitShuffle): "lz4+bitshuffle"
    }
  }

  /// An array is taken apart into chunks of this many bytes, each filtered and compressed alone:
  /// filter and decoder then work in the second-level cache, and the planes of a full chunk of
  /// 4-byte elements are 63 lines of 64 bytes long, an odd number, so that they do not fall into
  /// the same set of the first-level cache.
  static let chunkBytes = 126 << 10

  static func chunkCount(of length: Int) -> Int {
    length / chunkBytes + (length % chunkBytes == 0 ? 0 : 1)
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
}
