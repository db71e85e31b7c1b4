import Glibc

/// `value` with a fixed number of decimals, as C's `%.*f` writes it.
public func fixed(_ value: Double, _ decimals: Int) -> String {
  formatted("%.\(decimals)f", value)
}

/// `fixed` with a leading `+` for values that are not negative, as `%+.*f` writes it.
public func signed(_ value: Double, _ decimals: Int) -> String {
  formatted("%+.\(decimals)f", value)
}

/// `value` with a number of significant digits, as C's `%.*g` writes it.
public func significant(_ value: Double, _ digits: Int = 6) -> String {
  formatted("%.\(digits)g", value)
}

private func formatted(_ format: String, _ value: Double) -> String {
  // The longest output is %.f of the largest double: 309 digits, sign, point and decimals.
  var buffer = [CChar](repeating: 0, count: 512)
  let length = withVaList([value]) { vsnprintf(&buffer, buffer.count, format, $0) }
  return String(
    decoding: buffer.prefix(max(0, Int(length))).map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// A size in the unit a person would choose: `612 B`, `87.3 MB`, `1.2 TB` (powers of 1000).
public func byteSize(_ bytes: Int) -> String {
  let units = ["B", "kB", "MB", "GB", "TB", "PB"]
  var value = Double(bytes)
  var unit = 0
  while value >= 999.5, unit < units.count - 1 {
    value /= 1000
    unit += 1
  }
  return unit == 0
    ? "\(bytes) B" : "\(fixed(value, value < 9.95 ? 2 : value < 99.5 ? 1 : 0)) \(units[unit])"
}

/// A whole number with its thousands set apart by commas.
public func grouped(_ number: Int) -> String {
  let digits = Array(String(number.magnitude))
  var result = number < 0 ? "-" : ""
  for (index, digit) in digits.enumerated() {
    if index > 0, (digits.count - index) % 3 == 0 { result.append(",") }
    result.append(digit)
  }
  return result
}

/// `1 segment`, `33 segments`
public func counted(_ number: Int, _ noun: String, _ plural: String? = nil) -> String {
  "\(grouped(number)) \(number == 1 ? noun : plural ?? noun + "s")"
}

/// A length of time as a person would say it: `0.8 s`, `1 min 12 s`, `2 h 03 min`.
public func duration(_ seconds: Double) -> String {
  if seconds < 60 { return "\(fixed(seconds, seconds < 10 ? 1 : 0)) s" }
  guard seconds < 1e9 else { return "very long" }
  let whole = Int(seconds.rounded())
  if whole < 3600 { return "\(whole / 60) min \(padded(whole % 60)) s" }
  return "\(whole / 3600) h \(padded(whole % 3600 / 60)) min"
}

private func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
