extension PromptRow {
  /// A line of a .jsonl file.
  init(json bytes: UnsafeRawBufferPointer, line: Int) throws(PromptError.Problem) {
    self.init(line: line)
    var seen = Set<String>()
    var json = JSONLine(bytes)
    try json.object { (json, key) throws(PromptError.Problem) in
      guard let field = Field(key) else { throw .unknownKey(key) }
      guard seen.insert(field.name).inserted else { throw .repeatedKey(key) }
      if json.null() { return }
      try read(field, from: &json)
    }
    try json.end()
    if clean.isEmpty { throw .noCleanPrompt }
    if wrongAnswer != nil, answer == nil { throw .wrongAnswerAlone }
  }

  private enum Field {
    case column(PromptError.Column)
    case id, roles, subject, template

    init?(_ key: String) {
      switch key {
      case "clean", "prompt": self = .column(.clean)
      case "corrupted": self = .column(.corrupted)
      case "answer": self = .column(.answer)
      case "wrong_answer", "wrong-answer": self = .column(.wrongAnswer)
      case "id": self = .id
      case "roles": self = .roles
      case "subject": self = .subject
      case "template": self = .template
      default: return nil
      }
    }

    var name: String {
      switch self {
      case .column(let column): column.rawValue
      case .id: "id"
      case .roles: "roles"
      case .subject: "subject"
      case .template: "template"
      }
    }
  }

  private mutating func read(_ field: Field, from json: inout JSONLine)
    throws(PromptError.Problem)
  {
    if case .roles = field { return try readRoles(from: &json) }
    let text: String
    if case .id = field, !json.startsString {
      text = String(try json.integer(as: "a string or an integer as id"))
    } else {
      text = try json.string(as: "a string as \(field.name)")
    }
    switch field {
    case .column(let column): try set(column, text)
    case .id: id = text
    case .subject: subject = text
    case .template: template = text
    case .roles: break
    }
  }

  private mutating func readRoles(from json: inout JSONLine) throws(PromptError.Problem) {
    try json.object { (json, role) throws(PromptError.Problem) in
      guard roles[role] == nil else { throw .repeatedKey(role) }
      roles[role] =
        json.startsString
        ? .text(try json.string())
        : .position(try json.integer(as: "a token position or a text as role"))
    }
  }
}
