/// A number that arrays in NumPy's format are made of.
public protocol NumPyElement {
  /// NumPy's name of the type, such as `<f4`.
  static var numPyType: String { get }
}

extension Float: NumPyElement {
  public static var numPyType: String { "<f4" }
}

extension Double: NumPyElement {
  public static var numPyType: String { "<f8" }
}

extension Int64: NumPyElement {
  public static var numPyType: String { "<i8" }
}

extension Bool: NumPyElement {
  public static var numPyType: String { "|b1" }
}

/// Arrays as `numpy.load` reads them: version 1.0 of NumPy's NPY format.
public enum NumPyFile {
  /// What stands before the values: magic, version, two bytes of length, a Python dictionary filled
  /// with spaces so that the values start at a multiple of 64.
  ///
  /// - Parameters:
  ///   - type: NumPy's name of the element type.
  ///   - shape: the lengths of the axes, the last one running fastest; empty for a scalar. Up to some
  ///     thousand axes fit.
  static func header(type: String, shape: [Int]) -> [UInt8] {
    let shape = shape.map { "\($0)," }.joined(separator: " ")
    var header = Array(
      "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(shape)), }".utf8)
    while (10 + header.count + 1) % 64 != 0 { header.append(UInt8(ascii: " ")) }
    header.append(UInt8(ascii: "\n"))
    let magic: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    return magic + [UInt8(header.count & 255), UInt8(header.count >> 8)] + header
  }

  /// The same for values of a Swift type.
  public static func header<Value: NumPyElement>(_ type: Value.Type, shape: [Int]) -> [UInt8] {
    header(type: type.numPyType, shape: shape)
  }

  /// A whole file.
  ///
  /// - Parameter values: as many as `shape` says, row-major.
  public static func bytes<Value: NumPyElement>(_ values: [Value], shape: [Int]) -> [UInt8] {
    values.withUnsafeBytes { header(Value.self, shape: shape) + $0 }
  }

  /// An array [count] of texts, or a scalar if the shape is empty: each as UTF-32, filled with zeros to
  /// the length of the longest.
  ///
  /// - Parameter values: as many as `shape` says, row-major.
  public static func bytes(_ values: [String], shape: [Int]) -> [UInt8] {
    let texts = values.map { $0.unicodeScalars.map(\.value) }
    let length = max(1, texts.map(\.count).max() ?? 0)
    var bytes = header(type: "<U\(length)", shape: shape)
    for text in texts {
      for value in text + Array(repeating: 0, count: length - text.count) {
        bytes += (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
      }
    }
    return bytes
  }
}
