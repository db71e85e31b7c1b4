/// A text that is put together from parts, some of which have names.
///
/// A mark is a byte of the text. Which token holds it is known when there is a tokenizer.
public struct MarkedText: Sendable, Equatable {
  /// A named byte of the text.
  public struct Mark: Sendable, Equatable {
    public let role: String
    /// Counted from 0 in the UTF-8 of the text.
    public let byte: Int
  }

  public private(set) var text = ""
  public private(set) var marks: [Mark] = []

  public init(_ text: String = "") {
    self.text = text
  }

  /// - Parameter role: names the last byte of `part`, and so the token that ends it.
  public mutating func append(_ part: String, role: String? = nil) {
    text += part
    if let role, !part.isEmpty { marks.append(Mark(role: role, byte: text.utf8.count - 1)) }
  }

  /// Names the token that holds the first byte of what is appended next.
  public mutating func markNext(_ role: String) {
    marks.append(Mark(role: role, byte: text.utf8.count))
  }
}

extension MarkedText {
  /// A template with its gaps filled: `{NAME}` becomes the value of that name.
  ///
  /// - Parameters:
  ///   - values: by name; a gap without a value stays as it is.
  ///   - roles: by name, the role of what fills a gap.
  ///   - following: by name, the role of the token that follows a gap.
  init(
    filling template: String, _ values: [String: String], roles: [String: String] = [:],
    following: [String: String] = [:]
  ) {
    self.init()
    var rest = template[...]
    while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
      let name = String(rest[rest.index(after: open)..<close])
      append(String(rest[..<open]))
      append(values[name] ?? "{\(name)}", role: roles[name])
      if let role = following[name] { markNext(role) }
      rest = rest[rest.index(after: close)...]
    }
    append(String(rest))
  }
}
