import FoundationEssentials

/// A row of a prompt file (docs/prompts.md).
public struct TaskRow: Sendable, Equatable {
  /// Where a role is in the clean prompt.
  public enum Place: Sendable, Equatable {
    /// The token that ends the one occurrence of this text.
    case text(String)
    /// Token position; negative from the end.
    case position(Int)
  }

  public struct Role: Sendable, Equatable {
    public let name: String
    public let place: Place

    public init(name: String, place: Place) {
      self.name = name
      self.place = place
    }
  }

  public var id: String?
  public var clean: String
  public var corrupted: String?
  public var answer: String?
  public var wrongAnswer: String?
  public var template: String?
  public var subject: String?
  /// In the order in which they stand in the prompt.
  public var roles: [Role]

  public init(
    id: String? = nil, clean: String, corrupted: String? = nil, answer: String? = nil,
    wrongAnswer: String? = nil, template: String? = nil, subject: String? = nil, roles: [Role] = []
  ) {
    self.id = id
    self.clean = clean
    self.corrupted = corrupted
    self.answer = answer
    self.wrongAnswer = wrongAnswer
    self.template = template
    self.subject = subject
    self.roles = roles
  }

  /// The line of a .jsonl file, without its line feed.
  public func jsonLine() -> String {
    let fields = [
      ("id", id), ("clean", clean), ("corrupted", corrupted), ("answer", answer),
      ("wrong_answer", wrongAnswer), ("template", template), ("subject", subject),
    ].compactMap { key, value in value.map { "\(jsonString(key)): \(jsonString($0))" } }
    let places = roles.map { role in
      switch role.place {
      case .text(let text): "\(jsonString(role.name)): \(jsonString(text))"
      case .position(let position): "\(jsonString(role.name)): \(position)"
      }
    }
    let ending = places.isEmpty ? [] : ["\"roles\": {\(places.joined(separator: ", "))}"]
    return "{" + (fields + ending).joined(separator: ", ") + "}"
  }

  /// The line of a .txt file, without its line feed, which says nothing of id, roles, subject and
  /// template; nil for texts that such a file cannot hold.
  public func textLine() -> String? {
    let columns = [clean, corrupted, answer, wrongAnswer]
    let filled = columns.prefix { $0 != nil }.compactMap { $0 }
    // A column may be left out only together with all that follow it.
    guard filled.count == columns.count(where: { $0 != nil }),
      clean.utf8.first != UInt8(ascii: "#"),
      !clean.utf8.allSatisfy({ $0 == UInt8(ascii: " ") })
    else { return nil }
    for column in filled where column.isEmpty || column.utf8.contains(where: isLayout) {
      return nil
    }
    return filled.joined(separator: "\t")
  }
}

/// TAB, LF and CR, which a .txt file cannot hold in a column.
private func isLayout(_ byte: UInt8) -> Bool { [0x09, 0x0A, 0x0D].contains(byte) }

private func jsonString(_ text: String) -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = .withoutEscapingSlashes
  // A string can always be encoded.
  return (try? encoder.encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
}
