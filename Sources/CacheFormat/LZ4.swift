import CLZ4

/// LZ4's block format. The one file that calls the library.
enum LZ4 {
  /// Trades half a percent of size for a third more speed on activations. Part of what makes a
  /// cache's bytes what they are.
  private static let acceleration: Int32 = 4

  /// Compresses into at most `capacity` bytes; nil when it takes more.
  static func compress(
    _ source: UnsafeRawBufferPointer, into destination: UnsafeMutableRawPointer, capacity: Int
  ) -> Int? {
    guard capacity > 0 else { return nil }
    let written = LZ4_compress_fast(
      source.baseAddress, destination, Int32(source.count), Int32(capacity), acceleration)
    return written > 0 ? Int(written) : nil
  }

  /// The same without looking for matches in the first `plain` bytes: they become literals in front of
  /// what the library makes of the others. May use `slack` bytes of `destination` beyond the capacity.
  ///
  /// A block is sequences of a token, the literals that it counts and a match (LZ4 Block Format
  /// Description); here the first sequence gets `plain` more literals.
  static func compress(
    _ source: UnsafeRawBufferPointer, plain: Int, into destination: UnsafeMutableRawPointer,
    capacity: Int
  ) -> Int? {
    guard let base = source.baseAddress, 0 < plain, plain < min(source.count, capacity) else {
      return compress(source, into: destination, capacity: capacity)
    }
    let rest = destination + plain + slack(of: source.count)
    let others = UnsafeRawBufferPointer(rebasing: source[plain...])
    guard let length = compress(others, into: rest, capacity: capacity - plain) else { return nil }
    var literals = Int(rest.load(as: UInt8.self) >> 4)
    let match = rest.load(as: UInt8.self) & 15
    var read = 1
    if literals == 15 {
      repeat {
        literals += Int(rest.load(fromByteOffset: read, as: UInt8.self))
        read += 1
      } while rest.load(fromByteOffset: read - 1, as: UInt8.self) == 255
    }
    var written = writeToken(literals: plain + literals, match: match, to: destination)
    guard written + plain + length - read <= capacity else { return nil }
    (destination + written).copyMemory(from: base, byteCount: plain)
    written += plain
    (destination + written).copyMemory(from: rest + read, byteCount: length - read)
    return written + length - read
  }

  /// The most bytes of a token for a block of `count` bytes.
  static func slack(of count: Int) -> Int { 2 + count / 255 }

  /// A token and the bytes that go on counting its literals; answers how many they are.
  private static func writeToken(
    literals: Int, match: UInt8, to destination: UnsafeMutableRawPointer
  ) -> Int {
    let bytes = destination.assumingMemoryBound(to: UInt8.self)
    bytes[0] = UInt8(min(literals, 15)) << 4 | match
    guard literals >= 15 else { return 1 }
    let more = (literals - 15) / 255
    (bytes + 1).update(repeating: 255, count: more)
    bytes[1 + more] = UInt8((literals - 15) % 255)
    return 2 + more
  }

  /// Decompresses to exactly `count` bytes; false when the source does not hold that.
  static func decompress(
    _ source: UnsafeRawBufferPointer, into destination: UnsafeMutableRawPointer, count: Int
  ) -> Bool {
    LZ4_decompress_safe(source.baseAddress, destination, Int32(source.count), Int32(count))
      == Int32(count)
  }
}
