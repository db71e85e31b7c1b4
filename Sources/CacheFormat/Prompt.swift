/// One distinct prompt, numbered by first occurrence in the prompt file.
public struct Prompt: Codable, Sendable, Equatable {
  public var text: String
  /// Token ids, with the beginning-of-sequence token if one was prepended.
  public var tokens: [Int32]
  /// The text of each token.
  public var pieces: [String]

  public init(text: String, tokens: [Int32], pieces: [String]) {
    self.text = text
    self.tokens = tokens
    self.pieces = pieces
  }
}

/// One row of the prompt file, resolved to prompt numbers, token ids and positions.
public struct PromptPair: Codable, Sendable, Equatable {
  public var id: String?
  public var clean: Int
  public var corrupted: Int?
  public var answer: Int32?
  public var wrongAnswer: Int32?
  /// Role → position, a prepended token counted.
  public var roles: [String: Int]?
  /// Positions [first, end) in the clean prompt.
  public var subject: [Int]?
  /// What the row's prompts were made from.
  public var template: String?

  public init(
    id: String? = nil, clean: Int, corrupted: Int? = nil, answer: Int32? = nil,
    wrongAnswer: Int32? = nil, roles: [String: Int]? = nil, subject: [Int]? = nil,
    template: String? = nil
  ) {
    self.id = id
    self.clean = clean
    self.corrupted = corrupted
    self.answer = answer
    self.wrongAnswer = wrongAnswer
    self.roles = roles
    self.subject = subject
    self.template = template
  }
}
