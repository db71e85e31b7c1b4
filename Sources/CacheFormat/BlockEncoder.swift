import CKernels

/// Turns arrays into the bytes that a block stores. Used by one thread.
///
/// What it writes depends on the values alone: not on time, threads or the CPU.
final class BlockEncoder {
  /// How an array was stored.
  struct Result {
    var encoding: Encoding
    /// The elements before encoding, valid until the next array is encoded.
    var raw: PiecedBytes
    var rawChecksum: UInt32
    var storedLength: Int
    /// The stored bytes that the header's checksum is of.
    var checkedLength: Int
  }

  private let elementType: ElementType
  private let sampler: EncodingSampler
  /// The elements of an array, narrowed, packed or put together, where they are not the values
  /// themselves as they lie.
  private let elements = ByteBuffer(capacity: 0)
  private let packed = ByteBuffer(capacity: 0)
  private let joined = ByteBuffer(capacity: 0)
  private let filtered = ByteBuffer(capacity: Chunking.mostBytes)

  init(elementType: ElementType) {
    self.elementType = elementType
    sampler = EncodingSampler(elementType: elementType)
  }

  /// The most bytes that `encode` uses for an array of `rawLength` bytes.
  static func bound(rawLength: Int, chunking: Chunking) -> Int {
    rawLength + chunking.tableBytes(of: rawLength) + LZ4.slack(of: chunking.bytes)
  }

  /// Whether `stored` bytes instead of `packed` are worth decoding.
  private static func isWorthwhile(_ stored: Int, of packed: Int) -> Bool {
    packed > 0 && stored * 100 <= packed * 97
  }

  /// Writes `values`, piece after piece, to `destination`, which has room for `bound` bytes.
  ///
  /// - Parameters:
  ///   - side: T where the array consists of T × T matrices, which are packed if they are causal;
  ///     nil elsewhere.
  ///   - base: rows of an earlier prompt, which are left out if this array begins with them.
  ///   - chunking: that of the array in the format that is written.
  ///   - chosen: codec and filter for this hook in this segment; chosen here, for this array and
  ///     those after it, if nil. An array that they make less than three per cent smaller is not
  ///     compressed.
  func encode(
    _ values: [UnsafeBufferPointer<Float>], side: Int?, base: SharedRows.Base?,
    chunking: Chunking, as chosen: inout EncodingChoice?, to destination: UnsafeMutableRawPointer
  ) -> Result {
    let raw = elementBytes(of: values)
    let (packing, source) = pack(raw, side: side, base: base)
    let choice = chosen ?? sampler.choose(for: source)
    chosen = choice
    var encoding = choice.encoding
    encoding.packing = packing
    var stored = source.count
    if encoding.codec == .lz4 {
      stored = compress(source, as: choice, chunking: chunking, to: destination)
    }
    if encoding.codec == .none || !BlockEncoder.isWorthwhile(stored, of: source.count) {
      encoding = Encoding(packing: packing)
      stored = source.count
      UnsafeMutableRawBufferPointer(start: destination, count: stored).copyMemory(from: source)
    }
    return Result(
      encoding: encoding, raw: raw, rawChecksum: raw.checksum, storedLength: stored,
      checkedLength: chunking.headerCovers(encoding, packed: source.count, stored: stored))
  }

  private func elementBytes(of values: [UnsafeBufferPointer<Float>]) -> PiecedBytes {
    if elementType == .f32 { return PiecedBytes(values) }
    elements.reserve(values.reduce(0) { $0 + $1.count } * elementType.size)
    var end = elements.base
    for piece in values {
      elementType.narrow(piece, to: end)
      end += piece.count * elementType.size
    }
    return PiecedBytes([UnsafeRawBufferPointer(start: elements.base, count: end - elements.base)])
  }

  /// What can be left out of an array, and the bytes that remain.
  private func pack(_ raw: PiecedBytes, side: Int?, base: SharedRows.Base?)
    -> (Encoding.Packing, UnsafeRawBufferPointer)
  {
    if let base, !base.rows.isEmpty, raw.begins(with: base.rows) {
      return (
        .sharedRows(base: UInt32(base.prompt), count: UInt32(base.count)),
        raw.joined(from: base.rows.count, in: joined)
      )
    }
    let raw = raw.joined(in: joined)
    guard let side, side >= 2, let first = raw.baseAddress else { return (.none, raw) }
    var fill: UInt32 = 0
    let matrices = raw.count / (side * side * elementType.size)
    guard triangle_fill(first, matrices, side, elementType.size, &fill) == 1 else {
      return (.none, raw)
    }
    return (.triangle(fill: fill), packTriangles(first, matrices, side: side))
  }

  private func packTriangles(_ first: UnsafeRawPointer, _ matrices: Int, side: Int)
    -> UnsafeRawBufferPointer
  {
    let size = elementType.size
    let count = matrices * (side * (side + 1) / 2) * size
    packed.reserve(count)
    pack_triangle(first, packed.base, matrices, side, size)
    return UnsafeRawBufferPointer(start: packed.base, count: count)
  }

  /// Writes a table of the chunks' stored lengths and checksums, then the chunks; answers the length of
  /// all.
  private func compress(
    _ source: UnsafeRawBufferPointer, as choice: EncodingChoice, chunking: Chunking,
    to destination: UnsafeMutableRawPointer
  ) -> Int {
    let filter = ByteFilter(choice.encoding, elementType)
    var stored = chunking.tableBytes(of: source.count)
    for chunk in 0..<chunking.count(of: source.count) {
      let first = chunk * chunking.bytes
      let part = UnsafeRawBufferPointer(
        rebasing: source[first..<min(first + chunking.bytes, source.count)])
      let length = compressChunk(
        filtered(part, by: filter), plain: filter.planeBytes(of: part.count) * choice.plainPlanes,
        to: destination + stored)
      let entry = destination + chunking.entryBytes * chunk
      entry.storeBytes(of: UInt32(length).littleEndian, as: UInt32.self)
      if chunking.hasChecksums {
        let sum = checksum(UnsafeRawBufferPointer(start: destination + stored, count: length))
        entry.storeBytes(of: sum.littleEndian, toByteOffset: 4, as: UInt32.self)
      }
      stored += length
    }
    return stored
  }

  private func filtered(_ source: UnsafeRawBufferPointer, by filter: ByteFilter)
    -> UnsafeRawBufferPointer
  {
    guard filter.kind != .none, let base = source.baseAddress else { return source }
    filter.apply(base, to: filtered.base, count: source.count)
    return UnsafeRawBufferPointer(start: filtered.base, count: source.count)
  }

  /// A chunk that LZ4 does not make shorter stands as it is: its stored length says so.
  private func compressChunk(
    _ source: UnsafeRawBufferPointer, plain: Int, to destination: UnsafeMutableRawPointer
  ) -> Int {
    if let length = LZ4.compress(
      source, plain: plain, into: destination, capacity: source.count - 1)
    {
      return length
    }
    UnsafeMutableRawBufferPointer(start: destination, count: source.count).copyMemory(from: source)
    return source.count
  }
}
