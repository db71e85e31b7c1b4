/// Reads one line of JSON from left to right, as its caller asks for keys and values.
///
/// It is stricter than Foundation's decoder, which accepts trailing commas and does not tell where
/// a line is broken.
struct JSONLine {
  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  /// - Parameter bytes: must stay valid as long as the reader is used.
  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  /// Hands every key of an object to `read`, which must consume the value.
  mutating func object(
    _ read: (inout JSONLine, String) throws(PromptError.Problem) -> Void
  ) throws(PromptError.Problem) {
    try expect("{", "'{'")
    if consume("}") { return }
    repeat {
      let key = try string(as: "a key in double quotes")
      try expect(":", "':'")
      try read(&self, key)
    } while consume(",")
    try expect("}", "',' or '}'")
  }

  /// Consumes a `null` if it is next.
  mutating func null() -> Bool {
    skipSpace()
    guard bytes[position...].starts(with: "null".utf8) else { return false }
    position += 4
    return true
  }

  var startsString: Bool {
    mutating get {
      skipSpace()
      return current == UInt8(ascii: "\"")
    }
  }

  mutating func string(as expected: String = "a string") throws(PromptError.Problem) -> String {
    guard startsString else { throw problem(expected) }
    position += 1
    var text: [UInt8] = []
    var start = position
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        text += bytes[start..<position]
        position += 1
        guard let string = String(validating: text, as: UTF8.self) else { throw .notUTF8 }
        return string
      case UInt8(ascii: "\\"):
        text += bytes[start..<position]
        text += try escape().utf8
        start = position
      case 0..<0x20:
        throw problem("no control character in a string (write \\t for a TAB)")
      default:
        position += 1
      }
    }
    throw problem("a closing quote")
  }

  mutating func integer(as expected: String = "an integer") throws(PromptError.Problem) -> Int {
    skipSpace()
    let number = bytes[position...].prefix {
      $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: "}") && $0 > 0x20
    }
    guard number.first != UInt8(ascii: "+"),
      let value = Int(String(decoding: number, as: UTF8.self))
    else { throw problem(expected) }
    position += number.count
    return value
  }

  /// Checks that the line ends here.
  mutating func end() throws(PromptError.Problem) {
    skipSpace()
    if current != nil { throw problem("nothing after the object") }
  }

  private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  /// That the text at `offset`, or at the reader's place, is not `expected`.
  private func problem(_ expected: String, at offset: Int? = nil) -> PromptError.Problem {
    let before = String(decoding: bytes[..<(offset ?? position)], as: UTF8.self)
    return .notJSON(column: before.unicodeScalars.count + 1, expected: expected)
  }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x09 || byte == 0x0D { position += 1 }
  }

  private mutating func consume(_ byte: Unicode.Scalar) -> Bool {
    skipSpace()
    guard current == UInt8(ascii: byte) else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ byte: Unicode.Scalar, _ expected: String) throws(PromptError
    .Problem)
  {
    guard consume(byte) else { throw problem(expected) }
  }

  /// The character that an escape stands for; `position` is on its backslash.
  private mutating func escape() throws(PromptError.Problem) -> String {
    let start = position
    position += 1
    guard let byte = current else { throw problem("a closing quote") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
      return String(Unicode.Scalar(byte))
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      if let scalar = unicodeEscape() { return String(scalar) }
    default: break
    }
    throw problem("an escape that JSON has", at: start)
  }

  /// The scalar of `XXXX` or `XXXX\uXXXX` after a `\u`.
  private mutating func unicodeEscape() -> Unicode.Scalar? {
    guard let first = hexadecimal() else { return nil }
    guard (0xD800..<0xDC00).contains(first) else { return Unicode.Scalar(first) }
    guard bytes[position...].starts(with: "\\u".utf8) else {
      return nil
    }
    position += 2
    guard let second = hexadecimal(), (0xDC00..<0xE000).contains(second) else { return nil }
    return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
  }

  private mutating func hexadecimal() -> UInt32? {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        return nil
      }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }
}
