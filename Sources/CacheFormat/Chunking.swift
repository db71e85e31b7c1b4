/// How the packed bytes of an array are taken apart into chunks, each filtered and compressed alone, and
/// the table before them.
///
/// Filter and decoder then work in a core's own cache, and rows can be read without the others.
struct Chunking: Sendable {
  /// Of arrays without rows, and the most of any. The planes of such a chunk of 4-byte elements are
  /// 63 lines of 64 bytes long, an odd number, so that they do not fall into the same set of the
  /// first-level cache.
  static let mostBytes = 126 << 10

  /// Bytes of every chunk but the last one.
  let bytes: Int
  /// Whether the table has the checksum of every chunk beside its length, and the block's header that
  /// of the table; else the header has that of all stored bytes.
  let hasChecksums: Bool

  /// - Parameters:
  ///   - format: the version that the plan has.
  ///   - row: bytes of a row, nil where the array has no row for each position.
  init(format: Int, row: Int?) {
    hasChecksums = format >= 4
    if hasChecksums, let row, row > 0, row <= Chunking.mostBytes {
      // Chunks of whole rows are not longer, unless one row is.
      let most = format >= 5 ? 4 << 10 : 16 << 10
      bytes = row * max(1, most / row)
    } else {
      bytes = Chunking.mostBytes
    }
  }

  func count(of length: Int) -> Int { length / bytes + (length % bytes == 0 ? 0 : 1) }

  /// Bytes of the table's entry for a chunk.
  var entryBytes: Int { hasChecksums ? 8 : 4 }

  func tableBytes(of length: Int) -> Int { entryBytes * count(of: length) }

  /// How many of the stored bytes, from the first on, the checksum in a block's header is of.
  ///
  /// - Parameter packed: the length of the array after packing.
  func headerCovers(_ encoding: Encoding, packed: Int, stored: Int) -> Int {
    hasChecksums && encoding.codec != .none ? tableBytes(of: packed) : stored
  }
}
