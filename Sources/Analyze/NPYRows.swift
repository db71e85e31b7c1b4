import FileIO

/// The rows of an array [count, width] or [width] of float32 or float64 in numpy's format, versions 1
/// to 3, little-endian and in C's order.
///
/// - Throws: `NPYError`, `FileError`.
func npyRows(path: String) throws -> [[Float]] {
  let bytes = try readFile(path, limit: 1 << 30)
  func fail(_ what: String) -> NPYError { NPYError(path: path, what: what) }
  guard bytes.count >= 12, bytes.starts(with: [0x93] + Array("NUMPY".utf8)), 1...3 ~= bytes[6]
  else {
    throw fail("it is not an .npy file")
  }
  let wide = bytes[6] > 1
  let start = wide ? 12 : 10
  let length = (8..<start).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
  guard length <= bytes.count - start else { throw fail("it ends within its header") }
  let header = String(decoding: bytes[start..<start + length], as: UTF8.self)
  func value(_ key: String) -> Substring? {
    header.firstRange(of: "'\(key)':").map { header[$0.upperBound...].drop { $0 == " " } }
  }
  guard let order = value("fortran_order"), order.hasPrefix("False") else {
    throw fail("its values are not in C's order; save numpy.ascontiguousarray of it")
  }
  guard let shape = value("shape"), shape.hasPrefix("("), let end = shape.firstIndex(of: ")") else {
    throw fail("it has no shape")
  }
  let sizes = shape[shape.index(after: shape.startIndex)..<end].split(separator: ",").map {
    Int($0.filter { $0 != " " })
  }
  guard let width = sizes.last ?? nil, width > 0, 1...2 ~= sizes.count,
    let count = sizes.count == 2 ? sizes[0] : 1, count > 0
  else { throw fail("it is not of shape [count, width] or [width]") }
  let size: Int
  switch value("descr") {
  case let kind? where kind.hasPrefix("'<f4'"): size = 4
  case let kind? where kind.hasPrefix("'<f8'"): size = 8
  default: throw fail("it does not hold little-endian float32 or float64")
  }
  let (values, overflow) = count.multipliedReportingOverflow(by: width)
  guard !overflow, values <= bytes.count / size, bytes.count - start - length == values * size
  else { throw fail("it has not as many values as its shape says") }
  return bytes.withUnsafeBytes { bytes in
    (0..<count).map { row in
      (0..<width).map { column in
        let offset = start + length + (row * width + column) * size
        return size == 4
          ? Float(
            bitPattern: UInt32(
              littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
          : Float(
            Double(
              bitPattern: UInt64(
                littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))))
      }
    }
  }
}

/// An .npy file that cannot be used.
struct NPYError: ReportableError {
  let path: String
  let what: String

  var description: String { "\(path): \(what)" }
  var exitCode: SysExit { .badData }
}
