/// Turns the bytes that a block stores back into values.
///
/// Unchecked, because one thread at a time uses it: the reader hands it out and takes it back.
final class BlockDecoder: @unchecked Sendable {
  private let filtered = ByteBuffer(capacity: Encoding.chunkBytes)
  private let elements = ByteBuffer(capacity: Encoding.chunkBytes)

  /// Decodes an array into exactly `values`, whose count is the array's.
  func decode(_ block: Block, into values: UnsafeMutableBufferPointer<Float>)
    throws(BlockProblem)
  {
    guard let destination = values.baseAddress else { return }
    let type = block.header.elementType
    try forEachChunk(of: block, directInto: type == .f32 ? .init(destination) : nil) {
      bytes, offset in
      guard type != .f32, let source = bytes.baseAddress else { return }
      type.widen(source, to: destination + offset / type.size, count: bytes.count / type.size)
    }
  }

  /// The checksum of the array's bytes as they were before encoding.
  func rawChecksum(_ block: Block) throws(BlockProblem) -> UInt32 {
    var crc: UInt32 = 0
    try forEachChunk(of: block, directInto: nil) { bytes, _ in crc = checksum(bytes, after: crc) }
    return crc
  }

  /// Calls `body` with each chunk's element bytes and their offset in the array. The bytes are at
  /// their place in `destination` if there is one, in scratch or in the block itself if not.
  private func forEachChunk(
    of block: Block, directInto destination: UnsafeMutableRawPointer?,
    _ body: (UnsafeRawBufferPointer, Int) -> Void
  ) throws(BlockProblem) {
    let rawLength = Int(block.header.rawLength)
    if block.header.encoding.codec == .none {
      guard let source = block.stored.baseAddress else { return }
      destination?.copyMemory(from: source, byteCount: rawLength)
      return body(block.stored, 0)
    }
    let chunks = Encoding.chunkCount(of: rawLength)
    guard block.stored.count >= 4 * chunks, let base = block.stored.baseAddress else {
      throw .undecodable
    }
    var at = 4 * chunks
    for chunk in 0..<chunks {
      let length = Int(Record.word(base, 4 * chunk))
      let offset = chunk * Encoding.chunkBytes
      let count = min(Encoding.chunkBytes, rawLength - offset)
      guard length > 0, length <= count, length <= block.stored.count - at else {
        throw .undecodable
      }
      let target = destination.map { $0 + offset } ?? elements.base
      let stored = UnsafeRawBufferPointer(start: base + at, count: length)
      try decodeChunk(stored, count: count, header: block.header, into: target)
      body(UnsafeRawBufferPointer(start: target, count: count), offset)
      at += length
    }
    guard at == block.stored.count else { throw .undecodable }
  }

  private func decodeChunk(
    _ stored: UnsafeRawBufferPointer, count: Int, header: BlockHeader,
    into target: UnsafeMutableRawPointer
  ) throws(BlockProblem) {
    guard let base = stored.baseAddress else { throw .undecodable }
    let filter = header.encoding.filter
    let size = header.elementType.size
    if stored.count == count {
      filter.undo(base, to: target, count: count, elementSize: size)
    } else if filter == .none {
      guard LZ4.decompress(stored, into: target, count: count) else { throw .undecodable }
    } else {
      guard LZ4.decompress(stored, into: filtered.base, count: count) else { throw .undecodable }
      filter.undo(filtered.base, to: target, count: count, elementSize: size)
    }
  }
}
