import CKernels

/// Turns the bytes that a block stores back into values. Used by one thread.
final class BlockDecoder {
  private let filtered = ByteBuffer(capacity: Encoding.chunkBytes)
  private let chunk = ByteBuffer(capacity: Encoding.chunkBytes)
  private let packed = ByteBuffer(capacity: 0)
  private let elements = ByteBuffer(capacity: 0)

  /// Decodes an array into exactly `values`, whose count is the array's.
  ///
  /// - Parameter known: the first elements, or all; at least those that the block leaves out.
  func decode(
    _ block: Block, after known: UnsafeRawBufferPointer,
    into values: UnsafeMutableBufferPointer<Float>
  ) throws(BlockProblem) {
    guard let destination = values.baseAddress else { return }
    let type = block.header.elementType
    if case .triangle(let fill) = block.header.encoding.packing {
      let bytes = try triangle(block, fill: fill, into: type == .f32 ? .init(destination) : nil)
      if type != .f32 { type.widen(bytes, to: destination, count: values.count) }
      return
    }
    let first = known.count / type.size
    if let source = known.baseAddress { type.widen(source, to: destination, count: first) }
    if first == values.count { return }
    let own = destination + first
    try forEachChunk(of: block, directInto: type == .f32 ? .init(own) : nil) { bytes, offset in
      guard type != .f32, let source = bytes.baseAddress else { return }
      type.widen(source, to: own + offset / type.size, count: bytes.count / type.size)
    }
  }

  /// Decodes an array that is not packed into its elements, for which there is room in
  /// `destination`.
  func decodeElements(_ block: Block, into destination: UnsafeMutableRawPointer)
    throws(BlockProblem)
  {
    try forEachChunk(of: block, directInto: destination) { _, _ in }
  }

  /// The checksum of the array's bytes as they were before encoding.
  ///
  /// - Parameter known: the first elements, or all; at least those that the block leaves out.
  func rawChecksum(_ block: Block, after known: UnsafeRawBufferPointer) throws(BlockProblem)
    -> UInt32
  {
    if case .triangle(let fill) = block.header.encoding.packing {
      let bytes = try triangle(block, fill: fill, into: nil)
      return checksum(.init(start: bytes, count: Int(block.header.rawLength)))
    }
    var crc = checksum(known)
    if known.count == Int(block.header.rawLength) { return crc }
    try forEachChunk(of: block, directInto: nil) { bytes, _ in crc = checksum(bytes, after: crc) }
    return crc
  }

  /// The elements of causal matrices, in `destination` or in memory of the decoder's own.
  private func triangle(_ block: Block, fill: UInt32, into destination: UnsafeMutableRawPointer?)
    throws(BlockProblem) -> UnsafeRawPointer
  {
    var source = block.stored.baseAddress
    if block.header.encoding.codec != .none {
      packed.reserve(block.packedLength)
      try forEachChunk(of: block, directInto: packed.base) { _, _ in }
      source = UnsafeRawPointer(packed.base)
    }
    let size = block.header.elementType.size
    let side = Int(block.header.positions)
    if destination == nil { elements.reserve(Int(block.header.rawLength)) }
    let target = destination ?? elements.base
    guard let source, side > 0 else { return UnsafeRawPointer(target) }
    let matrices = Int(block.header.rawLength) / size / side / side
    unpack_triangle(source, target, matrices, side, size, fill)
    return UnsafeRawPointer(target)
  }

  /// Calls `body` with each chunk's packed bytes and their offset among them. The bytes are at their
  /// place in `destination` if there is one, in scratch or in the block itself if not.
  private func forEachChunk(
    of block: Block, directInto destination: UnsafeMutableRawPointer?,
    _ body: (UnsafeRawBufferPointer, Int) -> Void
  ) throws(BlockProblem) {
    if block.header.encoding.codec == .none {
      guard let source = block.stored.baseAddress else { return }
      destination?.copyMemory(from: source, byteCount: block.stored.count)
      return body(block.stored, 0)
    }
    let chunks = Encoding.chunkCount(of: block.packedLength)
    guard block.stored.count >= 4 * chunks, let base = block.stored.baseAddress else {
      throw .undecodable
    }
    let filter = ByteFilter(block.header.encoding, block.header.elementType)
    var at = 4 * chunks
    for chunk in 0..<chunks {
      let length = Int(Record.word(base, 4 * chunk))
      let offset = chunk * Encoding.chunkBytes
      let count = min(Encoding.chunkBytes, block.packedLength - offset)
      guard length > 0, length <= count, length <= block.stored.count - at else {
        throw .undecodable
      }
      let target = destination.map { $0 + offset } ?? self.chunk.base
      let stored = UnsafeRawBufferPointer(start: base + at, count: length)
      try decodeChunk(stored, count: count, filter: filter, into: target)
      body(UnsafeRawBufferPointer(start: target, count: count), offset)
      at += length
    }
    guard at == block.stored.count else { throw .undecodable }
  }

  private func decodeChunk(
    _ stored: UnsafeRawBufferPointer, count: Int, filter: ByteFilter,
    into target: UnsafeMutableRawPointer
  ) throws(BlockProblem) {
    guard let base = stored.baseAddress else { throw .undecodable }
    if stored.count == count {
      filter.undo(base, to: target, count: count)
    } else if filter.kind == .none {
      guard LZ4.decompress(stored, into: target, count: count) else { throw .undecodable }
    } else {
      guard LZ4.decompress(stored, into: filtered.base, count: count) else { throw .undecodable }
      filter.undo(filtered.base, to: target, count: count)
    }
  }
}
