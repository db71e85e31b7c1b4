/// A value of a small JSON file. Strings are bytes of UTF-8, for the same reason as in
/// `JSONReader`.
enum JSONValue {
  case null
  case boolean(Bool)
  /// A number as it is written.
  case number(String)
  case string([UInt8])
  case array([JSONValue])
  case object([(key: [UInt8], value: JSONValue)])

  /// The member called `name`, the last one if there are several, as Python and Rust have it; nil
  /// if there is none or this is not an object.
  subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.key.elementsEqual(name.utf8) }?.value
  }

  var isNull: Bool { if case .null = self { true } else { false } }
  var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }
  var integer: Int? { if case .number(let digits) = self { Int(digits) } else { nil } }
  var bytes: [UInt8]? { if case .string(let value) = self { value } else { nil } }
  var text: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
  var elements: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
}

/// Reads JSON (RFC 8259) value by value, in the order of the file.
///
/// Foundation's decoder is not used for two reasons. It holds keys as Swift strings, which are
/// equal when they are canonically equivalent, whereas tokens are equal when their bytes are; and
/// it takes 120 ms for GPT-2's vocabulary, which this reads in a few.
struct JSONReader {
  /// How deep values of a small file may lie in each other.
  private static let depthLimit = 64

  let path: String
  private let bytes: [UInt8]
  private var position = 0

  init(path: String, bytes: [UInt8]) throws(TokenizerError) {
    guard String(validating: bytes, as: UTF8.self) != nil else { throw .notUTF8(path: path) }
    self.path = path
    self.bytes = bytes
  }

  /// Reads an object; `member` must read exactly the value of the key that it is given.
  mutating func object(
    _ member: (inout JSONReader, [UInt8]) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    try expect(UInt8(ascii: "{"), "an object")
    if accept(UInt8(ascii: "}")) { return }
    repeat {
      let key = try string()
      try expect(UInt8(ascii: ":"), "a colon")
      try member(&self, key)
    } while accept(UInt8(ascii: ","))
    try expect(UInt8(ascii: "}"), "a comma or the end of an object")
  }

  /// Reads an array; `element` must read exactly one value.
  mutating func array(
    _ element: (inout JSONReader) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    try expect(UInt8(ascii: "["), "an array")
    if accept(UInt8(ascii: "]")) { return }
    repeat { try element(&self) } while accept(UInt8(ascii: ","))
    try expect(UInt8(ascii: "]"), "a comma or the end of an array")
  }

  mutating func integer() throws(TokenizerError) -> Int {
    let start = position
    guard peek() != nil, let value = Int(number()) else {
      position = start
      throw failure("a whole number")
    }
    return value
  }

  /// Reads a string and resolves its escapes. An escaped half of a surrogate pair is refused.
  mutating func string() throws(TokenizerError) -> [UInt8] {
    try expect(UInt8(ascii: "\""), "a string")
    let start = position
    while position < bytes.count, bytes[position] >= 0x20, bytes[position] != UInt8(ascii: "\""),
      bytes[position] != UInt8(ascii: "\\")
    {
      position += 1
    }
    var result = [UInt8](bytes[start..<position])
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return result
      case UInt8(ascii: "\\"): try appendEscape(to: &result)
      case 0..<0x20: throw failure("no control character")
      default: result.append(byte)
      }
    }
    throw failure("the end of a string")
  }

  /// Reads any value whole.
  mutating func value(depth: Int = 0) throws(TokenizerError) -> JSONValue {
    guard depth < Self.depthLimit else { throw failure("less nesting") }
    switch peek() {
    case UInt8(ascii: "{"):
      var members: [(key: [UInt8], value: JSONValue)] = []
      try object { (reader, key) throws(TokenizerError) in
        members.append((key, try reader.value(depth: depth + 1)))
      }
      return .object(members)
    case UInt8(ascii: "["):
      var elements: [JSONValue] = []
      try array { (reader) throws(TokenizerError) in
        elements.append(try reader.value(depth: depth + 1))
      }
      return .array(elements)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t") where accept("true"): return .boolean(true)
    case UInt8(ascii: "f") where accept("false"): return .boolean(false)
    case UInt8(ascii: "n") where accept("null"): return .null
    default:
      let digits = number()
      guard Double(digits) != nil else { throw failure("a value") }
      return .number(digits)
    }
  }

  /// Checks that nothing but white space is left.
  mutating func end() throws(TokenizerError) {
    if peek() != nil { throw failure("the end of the file") }
  }

  func failure(_ expected: String) -> TokenizerError {
    .malformed(path: path, offset: position, reason: expected)
  }

  /// The next byte that is not white space; the reader stands on it then.
  mutating func peek() -> UInt8? {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      case let byte: return byte
      }
    }
    return nil
  }

  private mutating func accept(_ byte: UInt8) -> Bool {
    guard peek() == byte else { return false }
    position += 1
    return true
  }

  private mutating func accept(_ word: StaticString) -> Bool {
    let end = position + word.utf8CodeUnitCount
    guard end <= bytes.count else { return false }
    let matches = word.withUTF8Buffer { bytes[position..<end].elementsEqual($0) }
    if matches { position = end }
    return matches
  }

  private mutating func expect(_ byte: UInt8, _ name: String) throws(TokenizerError) {
    if !accept(byte) { throw failure(name) }
  }

  /// The bytes of a number, not yet checked.
  private mutating func number() -> String {
    let start = position
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"),
        UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
        position += 1
      default: return String(decoding: bytes[start..<position], as: UTF8.self)
      }
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func appendEscape(to result: inout [UInt8]) throws(TokenizerError) {
    guard position < bytes.count else { throw failure("an escape") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
    case UInt8(ascii: "b"): result.append(0x08)
    case UInt8(ascii: "f"): result.append(0x0C)
    case UInt8(ascii: "n"): result.append(0x0A)
    case UInt8(ascii: "r"): result.append(0x0D)
    case UInt8(ascii: "t"): result.append(0x09)
    case UInt8(ascii: "u"):
      var unit = try hexadecimal()
      if 0xD800..<0xDC00 ~= unit, accept("\\u") {
        let low = try hexadecimal()
        guard 0xDC00..<0xE000 ~= low else { throw failure("the second half of a pair") }
        unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(unit) else { throw failure("a pair of surrogates") }
      result.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    default: throw failure("an escape")
    }
  }

  private mutating func hexadecimal() throws(TokenizerError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard position < bytes.count else { throw failure("four hexadecimal digits") }
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte & 0x0F)
      case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"):
        value = value << 4 | UInt32(byte & 0x0F) + 9
      default: throw failure("four hexadecimal digits")
      }
    }
    return value
  }
}
