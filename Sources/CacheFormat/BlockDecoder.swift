import CKernels

/// Turns the bytes that a block stores back into values. Used by one thread.
final class BlockDecoder {
  private let filtered = ByteBuffer(capacity: Chunking.mostBytes)
  private let chunk = ByteBuffer(capacity: Chunking.mostBytes)
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
    try decode(block, 0..<block.packedLength, into: destination + first)
  }

  /// Decodes a part of the elements that a block has itself, if it has no causal matrices.
  ///
  /// - Parameter part: bytes of whole elements, among those after packing.
  func decode(
    _ block: Block, _ part: Range<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(BlockProblem) {
    let type = block.header.elementType
    try forEachChunk(of: block, part, directInto: type == .f32 ? .init(destination) : nil) {
      bytes, offset in
      guard type != .f32, let source = bytes.baseAddress else { return }
      type.widen(source, to: destination + offset / type.size, count: bytes.count / type.size)
    }
  }

  /// Decodes an array that is not packed into its elements, for which there is room in
  /// `destination`.
  func decodeElements(_ block: Block, into destination: UnsafeMutableRawPointer)
    throws(BlockProblem)
  {
    try forEachChunk(of: block, 0..<block.packedLength, directInto: destination) { _, _ in }
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
    try forEachChunk(of: block, 0..<block.packedLength, directInto: nil) { bytes, _ in
      crc = checksum(bytes, after: crc)
    }
    return crc
  }

  /// The elements of causal matrices, in `destination` or in memory of the decoder's own.
  private func triangle(_ block: Block, fill: UInt32, into destination: UnsafeMutableRawPointer?)
    throws(BlockProblem) -> UnsafeRawPointer
  {
    var source = block.stored.baseAddress
    if block.header.encoding.codec != .none {
      packed.reserve(block.packedLength)
      try forEachChunk(of: block, 0..<block.packedLength, directInto: packed.base) { _, _ in }
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

  /// Calls `body` with each chunk's packed bytes, as far as they belong to a part, and their offset in
  /// it. The bytes are at their place in `destination` if there is one, in scratch or in the block itself
  /// if not.
  ///
  /// - Parameter part: bytes of whole elements, among those after packing.
  private func forEachChunk(
    of block: Block, _ part: Range<Int>, directInto destination: UnsafeMutableRawPointer?,
    _ body: (UnsafeRawBufferPointer, Int) -> Void
  ) throws(BlockProblem) {
    if block.header.encoding.codec == .none {
      let bytes = UnsafeRawBufferPointer(rebasing: block.stored[part])
      guard let source = bytes.baseAddress else { return }
      destination?.copyMemory(from: source, byteCount: bytes.count)
      return body(bytes, 0)
    }
    let chunking = block.chunking
    var at = chunking.tableBytes(of: block.packedLength)
    guard block.stored.count >= at, let base = block.stored.baseAddress else { throw .undecodable }
    let filter = ByteFilter(block.header.encoding, block.header.elementType)
    for chunk in 0..<chunking.count(of: block.packedLength) {
      let length = Int(Record.word(base, chunking.entryBytes * chunk))
      let offset = chunk * chunking.bytes
      let count = min(chunking.bytes, block.packedLength - offset)
      guard length > 0, length <= count, length <= block.stored.count - at else {
        throw .undecodable
      }
      let wanted = part.clamped(to: offset..<offset + count)
      if !wanted.isEmpty {
        let stored = UnsafeRawBufferPointer(start: base + at, count: length)
        if block.checksChunks,
          checksum(stored) != Record.word(base, chunking.entryBytes * chunk + 4)
        {
          throw .storedChecksum
        }
        let target = destination.map { $0 + wanted.lowerBound - part.lowerBound } ?? self.chunk.base
        try decodeChunk(
          stored, count: count,
          part: wanted.lowerBound - offset..<wanted.upperBound - offset, filter: filter,
          into: target)
        body(
          UnsafeRawBufferPointer(start: target, count: wanted.count),
          wanted.lowerBound - part.lowerBound)
      }
      at += length
    }
    guard at == block.stored.count else { throw .undecodable }
  }

  private func decodeChunk(
    _ stored: UnsafeRawBufferPointer, count: Int, part: Range<Int>, filter: ByteFilter,
    into target: UnsafeMutableRawPointer
  ) throws(BlockProblem) {
    guard let base = stored.baseAddress else { throw .undecodable }
    if stored.count == count {
      filter.undo(base, count: count, part: part, to: target)
    } else if filter.kind == .none, part.count == count {
      guard LZ4.decompress(stored, into: target, count: count) else { throw .undecodable }
    } else {
      guard LZ4.decompress(stored, into: filtered.base, count: count) else { throw .undecodable }
      filter.undo(filtered.base, count: count, part: part, to: target)
    }
  }
}
