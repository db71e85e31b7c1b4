import CKernels

extension Encoding.Filter {
  /// Rearranges `source` to make it compressible. `elementSize` is 2 or 4.
  func apply(
    _ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int,
    elementSize: Int
  ) {
    switch self {
    case .none: destination.copyMemory(from: source, byteCount: count)
    case .byteShuffle: byte_shuffle(source, destination, count, elementSize)
    case .bitShuffle: bit_shuffle(source, destination, count, elementSize)
    }
  }

  func undo(
    _ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int,
    elementSize: Int
  ) {
    switch self {
    case .none: destination.copyMemory(from: source, byteCount: count)
    case .byteShuffle: byte_unshuffle(source, destination, count, elementSize)
    case .bitShuffle: bit_unshuffle(source, destination, count, elementSize)
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
