/// The lines of a CSV file, without the byte order mark that some programs put in front.
public func csvLines(_ bytes: [UInt8]) -> [Substring] {
  let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
  let text = String(decoding: bytes.starts(with: mark) ? bytes[3...] : bytes[...], as: UTF8.self)
  return text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
}

/// The fields of a line of CSV (RFC 4180): one in quotes may hold commas, and quotes twice.
public func csvFields(_ line: Substring) -> [String] {
  var fields = [""]
  var isQuoted = false
  var previous: Character = ","
  for character in line {
    switch character {
    case "\"":
      // The second of two quotes within a field stands for one.
      if !isQuoted, previous == "\"" { fields[fields.count - 1].append(character) }
      isQuoted.toggle()
    case "," where !isQuoted: fields.append("")
    default: fields[fields.count - 1].append(character)
    }
    previous = character
  }
  return fields
}
