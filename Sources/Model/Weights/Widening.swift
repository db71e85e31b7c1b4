/// Widens IEEE 754 half-precision values, exactly.
///
/// - Precondition: `bytes` has at least as many values as `wide`.
func widenFloat16(_ bytes: UnsafeRawBufferPointer, into wide: Matrix) {
  let target = wide.pointer
  // A half's exponent and fraction, taken for those of a float, are 2¹¹² times too small.
  let scale = Float(bitPattern: (127 + 112) << 23)
  for index in 0..<wide.count {
    let half = UInt32(bytes.loadUnaligned(fromByteOffset: index &* 2, as: UInt16.self))
    let magnitude = Float(bitPattern: (half & 0x7FFF) &<< 13) * scale
    let isFinite = half & 0x7C00 != 0x7C00
    let bits = magnitude.bitPattern | (half & 0x8000) &<< 16 | (isFinite ? 0 : 0x7F80_0000)
    target[index] = Float(bitPattern: bits)
  }
}

/// Widens bfloat16 values, the upper halves of floats.
///
/// - Precondition: `bytes` has at least as many values as `wide`.
func widenBFloat16(_ bytes: UnsafeRawBufferPointer, into wide: Matrix) {
  let target = wide.pointer
  for index in 0..<wide.count {
    let upper = UInt32(bytes.loadUnaligned(fromByteOffset: index &* 2, as: UInt16.self))
    target[index] = Float(bitPattern: upper &<< 16)
  }
}
