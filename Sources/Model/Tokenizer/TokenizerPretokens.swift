/// What GPT-2's pattern asks of a character.
///
/// Hugging Face's tokenizers see characters with the tables of Unicode 16.0, in Oniguruma. A
/// character of a later version is unassigned there and so neither letter nor number, whatever the
/// tables of this Swift say. That is the only difference, tried on every scalar.
enum CharacterClass: UInt8 {
  /// \p{L}
  case letter
  /// \p{N}
  case number
  /// \s
  case space
  case other

  init(_ scalar: Unicode.Scalar) {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
      self = Self.isKnown(scalar) ? .letter : .other
    case .decimalNumber, .letterNumber, .otherNumber:
      self = Self.isKnown(scalar) ? .number : .other
    default: self = scalar.properties.isWhitespace ? .space : .other
    }
  }

  private static func isKnown(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.age.map { $0.major <= 16 } ?? false
  }
}

/// Splits text into the words within which GPT-2 merges bytes. Its pattern, with the alternatives
/// in order:
///
///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
struct WordSplitter: IteratorProtocol, Sequence {
  /// UTF-8.
  private let text: UnsafeBufferPointer<UInt8>
  private var position = 0

  init(_ text: UnsafeBufferPointer<UInt8>) {
    self.text = text
  }

  /// Where the next word lies in the text. The words cover it without gaps.
  mutating func next() -> Range<Int>? {
    guard position < text.count else { return nil }
    let start = position
    position = end(ofWordAt: start)
    return start..<position
  }

  private func end(ofWordAt start: Int) -> Int {
    if let end = end(ofContractionAt: start) { return end }
    var first = start
    if text[start] == UInt8(ascii: " "), start + 1 < text.count { first += 1 }
    let (kind, length) = character(at: first)
    if kind == .space { return end(ofSpacesAt: start) }
    var end = first + length
    while end < text.count {
      let (next, length) = character(at: end)
      guard next == kind else { break }
      end += length
    }
    return end
  }

  private func end(ofContractionAt start: Int) -> Int? {
    guard text[start] == UInt8(ascii: "'"), start + 1 < text.count else { return nil }
    let second = start + 2 < text.count ? text[start + 2] : 0
    switch (text[start + 1], second) {
    case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _),
      (UInt8(ascii: "d"), _):
      return start + 2
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return start + 3
    default: return nil
    }
  }

  /// `\s+(?!\S)|\s+`: a run of spaces before other text leaves its last one to what follows,
  /// unless it has only one.
  private func end(ofSpacesAt start: Int) -> Int {
    var last = start
    var end = start
    while end < text.count {
      let (kind, length) = character(at: end)
      guard kind == .space else { return last > start ? last : end }
      last = end
      end += length
    }
    return end
  }

  private func character(at index: Int) -> (kind: CharacterClass, length: Int) {
    let byte = text[index]
    guard byte >= 0x80 else { return (CharacterClass(ascii: byte), 1) }
    let scalar = scalarAt(index, in: text)
    return (CharacterClass(scalar), UTF8.width(scalar))
  }
}

extension CharacterClass {
  fileprivate init(ascii byte: UInt8) {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
      self = .letter
    case UInt8(ascii: "0")...UInt8(ascii: "9"): self = .number
    case UInt8(ascii: " "), 0x09...0x0D: self = .space
    default: self = .other
    }
  }
}

/// The scalar that begins at `index` of valid UTF-8.
func scalarAt(_ index: Int, in text: UnsafeBufferPointer<UInt8>) -> Unicode.Scalar {
  let first = UInt32(text[index])
  let count = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3
  guard count > 0 else { return Unicode.Scalar(text[index]) }
  var value = first & (0x3F >> UInt32(count))
  for offset in 1...count where index + offset < text.count {
    value = value << 6 | UInt32(text[index + offset] & 0x3F)
  }
  return Unicode.Scalar(value) ?? "\u{FFFD}"
}
