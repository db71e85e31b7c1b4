import Terminal

/// Text as it stands in HTML and SVG, between tags and in quoted attributes: `printable`, and nothing
/// in it is markup.
func escaped(_ text: String) -> String {
  var result = ""
  for scalar in printable(text).unicodeScalars {
    switch scalar {
    case "&": result += "&amp;"
    case "<": result += "&lt;"
    case ">": result += "&gt;"
    case "\"": result += "&quot;"
    case "'": result += "&#39;"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// Text with those characters written as `\u{…}` that XML has no room for, that cannot be seen or
/// that turn the writing direction of what stands beside them.
func printable(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars {
    if isPrintable(scalar) {
      result.unicodeScalars.append(scalar)
    } else {
      result += "\\u{\(String(scalar.value, radix: 16))}"
    }
  }
  return result
}

/// Text of at most `width` columns; what is longer ends in `…`.
func shortened(_ text: String, to width: Int = 18) -> String {
  guard displayWidth(text) > width else { return text }
  var result = ""
  var rest = width - 1
  for character in text {
    rest -= displayWidth(String(character))
    guard rest >= 0 else { break }
    result.append(character)
  }
  return result + "…"
}

/// A choice between options, whose values are their numbers; out of sight if there is none to make.
func chooser(_ id: String, _ label: String, _ options: [String]) -> String {
  let items = options.enumerated().map { "<option value=\"\($0)\">\(escaped($1))</option>" }
  return "<label\(options.count > 1 ? "" : " hidden")>\(label) "
    + "<select id=\"\(id)\">\(items.joined())</select></label>\n"
}

/// A text that a POSIX shell reads as one word.
func shellWord(_ text: String) -> String {
  let plain = text.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "-_./,:=@%+".utf8.contains(byte)
    }
  }
  if plain && !text.isEmpty { return text }
  return "'"
    + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
    + "'"
}

private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.value {
  case 0x09, 0x0A, 0x0D: true
  // C0 and C1 controls.
  case 0..<0x20, 0x7F...0x9F: false
  // Direction marks, line separators and what has no width; joiners belong to scripts and emoji.
  case 0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2028...0x202E, 0x2060...0x206F, 0xFEFF: false
  case 0xFFF9...0xFFFB, 0xE0000...0xE007F: false
  // The two last ones of every plane are no characters.
  default: scalar.value & 0xFFFE != 0xFFFE
  }
}
