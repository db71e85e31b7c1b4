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
