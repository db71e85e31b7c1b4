/// Rows of text in aligned columns.
public struct Table {
  public enum Alignment: Sendable { case left, right }

  private let alignments: [Alignment]
  private var rows: [[String]] = []

  public init(_ alignments: [Alignment]) {
    self.alignments = alignments
  }

  public mutating func add(_ row: [String]) {
    rows.append(row)
  }

  /// The rows, two spaces between columns, no space at the end of a line.
  public func lines() -> [String] {
    let widths = alignments.indices.map { column in
      rows.map { column < $0.count ? displayWidth($0[column]) : 0 }.max() ?? 0
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() where column < alignments.count {
        if column > 0 { line += "  " }
        line += padded(cell, to: widths[column], alignments[column])
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// `text` filled with spaces to `width` columns of a terminal; longer text is left as it is.
public func padded(_ text: String, to width: Int, _ alignment: Table.Alignment) -> String {
  let missing = width - displayWidth(text)
  guard missing > 0 else { return text }
  let spaces = String(repeating: " ", count: missing)
  return alignment == .left ? text + spaces : spaces + text
}

/// How many columns of a terminal `text` takes: one a character, two for East Asian wide ones and
/// emoji, none for escape sequences.
public func displayWidth(_ text: String) -> Int {
  var width = 0
  var inEscape = false
  for character in text {
    if inEscape {
      inEscape = character != "m"
    } else if character == "\u{1B}" {
      inEscape = true
    } else if let scalar = character.unicodeScalars.first {
      width += isWide(scalar) ? 2 : 1
    }
  }
  return width
}

private func isWide(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.value {
  case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
    0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
    true
  default: false
  }
}

/// A token's text fit for one line of a terminal: control characters and line breaks escaped, a
/// leading space shown as `␣` so that it can be seen.
public func visible(_ piece: String) -> String {
  var result = ""
  for (index, scalar) in piece.unicodeScalars.enumerated() {
    switch scalar {
    case " " where index == 0: result += "␣"
    case "\n": result += "\\n"
    case "\r": result += "\\r"
    case "\t": result += "\\t"
    case _ where scalar.value < 0x20 || scalar.value == 0x7F:
      result += "\\u{\(String(scalar.value, radix: 16))}"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}
