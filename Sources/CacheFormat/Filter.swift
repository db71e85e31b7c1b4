import CKernels

/// A filter as the kernels want it.
struct ByteFilter {
  let kind: Encoding.Filter
  let elementSize: Int
  private let field: UInt32
  private let offset: UInt32

  init(_ encoding: Encoding, _ elementType: ElementType) {
    kind = encoding.filter
    elementSize = elementType.size
    field = elementType.exponentField
    offset = UInt32(encoding.exponentOffset) << UInt32(field.trailingZeroBitCount) & field
  }

  /// How many planes there are: bytes, or bits, of the same weight that lie together.
  var planeCount: Int {
    switch kind {
    case .none: 1
    case .byteShuffle: elementSize
    case .bitShuffle: 8 * elementSize
    }
  }

  /// Bytes of a plane where `count` bytes are filtered.
  func planeBytes(of count: Int) -> Int {
    kind == .bitShuffle ? count / elementSize / 8 : count / planeCount
  }

  /// Rearranges `source` to make it compressible.
  func apply(
    _ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int
  ) {
    switch kind {
    case .none: destination.copyMemory(from: source, byteCount: count)
    case .byteShuffle: byte_shuffle(source, destination, count, elementSize)
    case .bitShuffle: bit_shuffle(source, destination, count, elementSize, field, offset)
    }
  }

  /// Restores a part of what was filtered.
  ///
  /// - Parameters:
  ///   - part: bytes of whole elements, among `count`; all that is written to `destination`.
  func undo(
    _ source: UnsafeRawPointer, count: Int, part: Range<Int>,
    to destination: UnsafeMutableRawPointer
  ) {
    let first = part.lowerBound
    switch kind {
    case .none: destination.copyMemory(from: source + first, byteCount: part.count)
    case .byteShuffle:
      byte_unshuffle(source, destination, count, elementSize, first, part.count)
    case .bitShuffle:
      bit_unshuffle(source, destination, count, elementSize, field, offset, first, part.count)
    }
  }
}

extension ElementType {
  /// Writes `values` as elements of this type, rounded to nearest, ties to even.
  func narrow(_ values: UnsafeBufferPointer<Float>, to destination: UnsafeMutableRawPointer) {
    guard let source = values.baseAddress else { return }
    let halves = destination.assumingMemoryBound(to: UInt16.self)
    switch self {
    case .f32: destination.copyMemory(from: source, byteCount: values.count * 4)
    case .f16: narrow_to_f16(source, halves, values.count)
    case .bf16: narrow_to_bf16(source, halves, values.count)
    }
  }

  /// Reads `count` elements of this type. `source` is aligned to an element.
  func widen(_ source: UnsafeRawPointer, to destination: UnsafeMutablePointer<Float>, count: Int) {
    let halves = source.assumingMemoryBound(to: UInt16.self)
    switch self {
    case .f32:
      UnsafeMutableRawPointer(destination).copyMemory(from: source, byteCount: count * 4)
    case .f16: widen_f16(halves, destination, count)
    case .bf16: widen_bf16(halves, destination, count)
    }
  }
}
