/// Turns arrays into the bytes that a block stores. Used by one thread.
///
/// What it writes depends on the values alone: not on time, threads or the CPU.
final class BlockEncoder {
  /// How an array was stored.
  struct Result {
    var encoding: Encoding
    var rawLength: Int
    var rawChecksum: UInt32
    var storedLength: Int
  }

  private static let sampleBytes = 16 << 10
  private static let samplePieces = 4

  private let elementType: ElementType
  private let elements = ByteBuffer(capacity: Encoding.chunkBytes)
  private let filtered = ByteBuffer(capacity: Encoding.chunkBytes)
  private let compressed = ByteBuffer(capacity: Encoding.chunkBytes)

  init(elementType: ElementType) {
    self.elementType = elementType
  }

  /// The most bytes that `encode` writes for an array of `rawLength` bytes.
  static func bound(rawLength: Int) -> Int {
    rawLength + 4 * Encoding.chunkCount(of: rawLength)
  }

  /// Whether `stored` bytes instead of `raw` are worth decoding.
  private static func isWorthwhile(_ stored: Int, of raw: Int) -> Bool {
    stored * 100 <= raw * 97
  }

  /// The encoding that takes the fewest bytes for a sample of `values`; of equals the cheaper.
  /// Raw when none gains one per cent: then the arrays after this one are not tried either.
  func choose(for values: UnsafeBufferPointer<Float>) -> Encoding {
    let sample = sample(of: values)
    var best = Encoding.raw
    var fewest = sample.count - sample.count / 100
    for encoding in Encoding.all where encoding.codec == .lz4 {
      let source = filter(sample, by: encoding.filter)
      guard
        let count = LZ4.compress(source, into: compressed.base, capacity: fewest - 1)
      else { continue }
      best = encoding
      fewest = count
    }
    return best
  }

  /// Four stretches spread evenly over the array, or the whole of a small one.
  private func sample(of values: UnsafeBufferPointer<Float>) -> UnsafeRawBufferPointer {
    let size = elementType.size
    let most = BlockEncoder.sampleBytes / size
    if values.count <= most {
      elementType.narrow(values, to: elements.base)
      return UnsafeRawBufferPointer(start: elements.base, count: values.count * size)
    }
    let pieces = BlockEncoder.samplePieces
    let piece = most / pieces
    for index in 0..<pieces {
      // Full width: the product stays below the number of values times three.
      let first = (values.count - piece) / (pieces - 1) * index
      let stretch = UnsafeBufferPointer(rebasing: values[first..<first + piece])
      elementType.narrow(stretch, to: elements.base + index * piece * size)
    }
    return UnsafeRawBufferPointer(start: elements.base, count: most * size)
  }

  private func filter(_ source: UnsafeRawBufferPointer, by filter: Encoding.Filter)
    -> UnsafeRawBufferPointer
  {
    guard filter != .none, let base = source.baseAddress else { return source }
    filter.apply(base, to: filtered.base, count: source.count, elementSize: elementType.size)
    return UnsafeRawBufferPointer(start: filtered.base, count: source.count)
  }

  /// Writes `values` to `destination`, which has room for `bound` bytes: as `encoding` says, or raw
  /// where that gains less than three per cent.
  func encode(
    _ values: UnsafeBufferPointer<Float>, as encoding: Encoding,
    to destination: UnsafeMutableRawPointer
  ) -> Result {
    let rawLength = values.count * elementType.size
    if encoding.codec == .lz4 {
      let (stored, checksum) = compress(values, filter: encoding.filter, to: destination)
      if BlockEncoder.isWorthwhile(stored, of: rawLength) {
        return Result(
          encoding: encoding, rawLength: rawLength, rawChecksum: checksum, storedLength: stored)
      }
    }
    elementType.narrow(values, to: destination)
    let raw = UnsafeRawBufferPointer(start: destination, count: rawLength)
    return Result(
      encoding: .raw, rawLength: rawLength, rawChecksum: checksum(raw), storedLength: rawLength)
  }

  /// A table of the chunks' stored lengths, 4 bytes each, then the chunks.
  private func compress(
    _ values: UnsafeBufferPointer<Float>, filter: Encoding.Filter,
    to destination: UnsafeMutableRawPointer
  ) -> (stored: Int, rawChecksum: UInt32) {
    let size = elementType.size
    let chunkValues = Encoding.chunkBytes / size
    let chunks = Encoding.chunkCount(of: values.count * size)
    var stored = 4 * chunks
    var crc: UInt32 = 0
    for chunk in 0..<chunks {
      let first = chunk * chunkValues
      let part = UnsafeBufferPointer(
        rebasing: values[first..<min(first + chunkValues, values.count)])
      let raw = elementBytes(of: part)
      crc = checksum(raw, after: crc)
      let length = compressChunk(self.filter(raw, by: filter), to: destination + stored)
      destination.storeBytes(
        of: UInt32(length).littleEndian, toByteOffset: 4 * chunk, as: UInt32.self)
      stored += length
    }
    return (stored, crc)
  }

  private func elementBytes(of values: UnsafeBufferPointer<Float>) -> UnsafeRawBufferPointer {
    if elementType == .f32 { return UnsafeRawBufferPointer(values) }
    elementType.narrow(values, to: elements.base)
    return UnsafeRawBufferPointer(start: elements.base, count: values.count * elementType.size)
  }

  /// A chunk that LZ4 does not make shorter stands as it is: its stored length says so.
  private func compressChunk(
    _ source: UnsafeRawBufferPointer, to destination: UnsafeMutableRawPointer
  ) -> Int {
    if let length = LZ4.compress(source, into: destination, capacity: source.count - 1) {
      return length
    }
    UnsafeMutableRawBufferPointer(start: destination, count: source.count).copyMemory(from: source)
    return source.count
  }
}
