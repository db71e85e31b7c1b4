/// How arrays like a sample are encoded.
struct EncodingChoice {
  var encoding = Encoding.raw
  /// Of the filter's planes the first ones in which LZ4 finds nothing, mantissas' for the most part.
  var plainPlanes = 0
}

/// Chooses codec and filter for arrays by compressing a sample of one. Used by one thread.
final class EncodingSampler {
  private static let sampleBytes = 16 << 10
  private static let pieces = 4

  private let elementType: ElementType
  private let sample = ByteBuffer(capacity: EncodingSampler.sampleBytes)
  private let filtered = ByteBuffer(capacity: EncodingSampler.sampleBytes)
  private let compressed = ByteBuffer(capacity: EncodingSampler.sampleBytes)

  init(elementType: ElementType) {
    self.elementType = elementType
  }

  /// The encoding that takes the fewest bytes for a sample of `elements`; of equals the cheaper.
  /// Raw when none gains one per cent: then the arrays after this one are not tried either.
  func choose(for elements: UnsafeRawBufferPointer) -> EncodingChoice {
    let sample = sample(of: elements)
    guard let base = sample.baseAddress else { return EncodingChoice() }
    var best = Encoding.raw
    var fewest = sample.count - sample.count / 100
    let candidates = [
      Encoding(codec: .lz4), Encoding(codec: .lz4, filter: .byteShuffle),
      Encoding(codec: .lz4, filter: .bitShuffle, exponentOffset: exponentOffset(for: sample)),
    ]
    for encoding in candidates {
      ByteFilter(encoding, elementType).apply(base, to: filtered.base, count: sample.count)
      guard
        let count = LZ4.compress(
          UnsafeRawBufferPointer(start: filtered.base, count: sample.count),
          into: compressed.base, capacity: fewest - 1)
      else { continue }
      best = encoding
      fewest = count
    }
    if best.codec == .none { return EncodingChoice() }
    let filter = ByteFilter(best, elementType)
    filter.apply(base, to: filtered.base, count: sample.count)
    let plain = plainPlanes(bytes: filter.planeBytes(of: sample.count), of: filter.planeCount)
    return EncodingChoice(encoding: best, plainPlanes: plain)
  }

  /// How many of the filtered sample's planes LZ4 makes no shorter before the first that it does; none
  /// where they are so short that it would find nothing in any.
  private func plainPlanes(bytes: Int, of count: Int) -> Int {
    guard bytes >= 64 else { return 0 }
    let isShorter = { (plane: Int) in
      LZ4.compress(
        UnsafeRawBufferPointer(start: self.filtered.base + plane * bytes, count: bytes),
        into: self.compressed.base, capacity: bytes - 1) != nil
    }
    return (0..<count).first(where: isShorter) ?? count
  }

  /// Four stretches spread evenly over the elements, or all of a few.
  private func sample(of elements: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let most = EncodingSampler.sampleBytes
    guard elements.count > most, let base = elements.baseAddress else { return elements }
    let piece = most / EncodingSampler.pieces
    let size = elementType.size
    let room = (elements.count - piece) / size
    for index in 0..<EncodingSampler.pieces {
      let first = room / (EncodingSampler.pieces - 1) * index * size
      (sample.base + index * piece).copyMemory(from: base + first, byteCount: piece)
    }
    return UnsafeRawBufferPointer(start: sample.base, count: most)
  }

  /// The offset that leaves the fewest bytes of the planes of the sample's exponents, estimated.
  ///
  /// A plane whose bits are ones with probability p, independently, costs nothing where a run of
  /// some 48 equal bits, six bytes, is there for LZ4 to match: 1 − (1 − min(p, 1 − p))⁴⁸ of it stays.
  private func exponentOffset(for sample: UnsafeRawBufferPointer) -> UInt8 {
    let counts = exponentCounts(of: sample)
    let present = counts.indices.filter { counts[$0] > 0 }
    guard let lowest = present.first, let highest = present.last else { return 0 }
    let total = Double(present.reduce(0) { $0 + counts[$1] })
    let modulus = elementType.exponentCount
    let bits = modulus == 32 ? 5 : 8
    var best = 0
    var least = Double.infinity
    // Windows of 16 that begin below the lowest exponent and end above the highest one; and none.
    for candidate in [0] + Array(max(1, lowest - 15)...max(1, highest)) {
      var ones = [Int](repeating: 0, count: bits)
      for exponent in present {
        let shifted = (exponent - candidate + modulus) % modulus
        for bit in 0..<bits where shifted >> bit & 1 == 1 { ones[bit] += counts[exponent] }
      }
      var cost = 0.0
      for count in ones {
        let p = Double(count) / total
        var equal = 1 - min(p, 1 - p)  // then to the 48th power: 2, 4, 8, 16 and once more times 3
        equal *= equal
        equal *= equal
        equal *= equal
        equal *= equal
        cost += 1 - equal * equal * equal
      }
      if cost < least {
        least = cost
        best = candidate
      }
    }
    return UInt8(best)
  }

  private func exponentCounts(of sample: UnsafeRawBufferPointer) -> [Int] {
    var counts = [Int](repeating: 0, count: elementType.exponentCount)
    let shift = elementType.exponentField.trailingZeroBitCount
    for offset in stride(from: 0, to: sample.count - elementType.size + 1, by: elementType.size) {
      let element =
        elementType.size == 4
        ? UInt32(littleEndian: sample.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        : UInt32(
          UInt16(littleEndian: sample.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
      counts[Int((element & elementType.exponentField) >> UInt32(shift))] += 1
    }
    return counts
  }
}
