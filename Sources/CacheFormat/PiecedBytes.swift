import Glibc

/// The elements of an array where they lie, piece after piece. Valid as long as its pieces are.
struct PiecedBytes {
  let pieces: [UnsafeRawBufferPointer]
  let count: Int

  init(_ pieces: [UnsafeRawBufferPointer]) {
    self.pieces = pieces
    count = pieces.reduce(0) { $0 + $1.count }
  }

  /// The bytes of values that lie piece after piece.
  init(_ values: [UnsafeBufferPointer<Float>]) {
    self.init(values.map { UnsafeRawBufferPointer($0) })
  }

  /// That of all pieces as if they were one.
  var checksum: UInt32 {
    pieces.reduce(0) { CacheFormat.checksum($1, after: $0) }
  }

  func begins(with prefix: UnsafeRawBufferPointer) -> Bool {
    guard prefix.count <= count else { return false }
    var rest = prefix[...]
    for piece in pieces where !rest.isEmpty {
      let part = rest.prefix(piece.count)
      guard UnsafeRawBufferPointer(rebasing: part).equals(piece.prefix(part.count)) else {
        return false
      }
      rest = rest.dropFirst(part.count)
    }
    return true
  }

  /// Copies the bytes from `start` on, at most `most` of them, to memory that has room for them.
  func copy(from start: Int = 0, atMost most: Int = .max, to destination: UnsafeMutableRawPointer) {
    var (skipped, room, end) = (start, most, destination)
    for piece in pieces where room > 0 {
      let part = piece.dropFirst(skipped).prefix(room)
      skipped -= min(skipped, piece.count)
      room -= part.count
      UnsafeMutableRawBufferPointer(start: end, count: part.count)
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
      end += part.count
    }
  }

  /// The bytes from `start` on in one piece: where they lie if they are, else copied to `buffer`.
  func joined(from start: Int = 0, in buffer: ByteBuffer) -> UnsafeRawBufferPointer {
    if let last = pieces.last, count - last.count <= start {
      return UnsafeRawBufferPointer(rebasing: last.dropFirst(start - (count - last.count)))
    }
    buffer.reserve(count - start)
    copy(from: start, to: buffer.base)
    return UnsafeRawBufferPointer(start: buffer.base, count: count - start)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func equals(_ other: Slice<UnsafeRawBufferPointer>) -> Bool {
    guard count == other.count else { return false }
    guard let ours = baseAddress,
      let theirs = UnsafeRawBufferPointer(rebasing: other).baseAddress
    else { return count == 0 }
    return memcmp(ours, theirs, count) == 0
  }
}
