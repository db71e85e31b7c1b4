import CacheFormat

/// The rows of a prompt file as tokens: what `capture` runs, and what it records of the pairs.
struct PromptSet: Sendable {
  /// A pair whose prompts differ in length, so that a position of one is not the same place in the
  /// other.
  struct UnalignedPair: Sendable, Equatable {
    let line: Int
    /// Tokens of each prompt, BOS counted.
    let cleanTokens: Int
    let corruptedTokens: Int
  }

  /// Every distinct prompt once, in the order of first occurrence, clean before corrupted.
  let prompts: [Prompt]
  /// One a row, in the file's order.
  let pairs: [PromptPair]
  let unalignedPairs: [UnalignedPair]
  private let path: String
  private let skippedUnaligned: Bool

  /// Reads every row and tokenises each distinct prompt and answer once.
  ///
  /// - Parameters:
  ///   - encode: the tokens of a text, without BOS.
  ///   - piece: the text of one token, for people to read.
  ///   - bytes: the bytes that one token stands for. Over the tokens of a text they must add up to
  ///     the text's UTF-8: that is how a role or subject is found among tokens.
  ///   - bos: the token put before every prompt, if any.
  ///   - contextLength: the most tokens that the model takes, BOS counted.
  ///   - skipUnaligned: leaves unaligned pairs out of `pairs`, and out of `prompts` what no other
  ///     row has.
  /// - Throws: `PromptError` for the first row that is malformed or does not fit the model, and if
  ///   no row is left.
  init(
    _ file: PromptFile,
    encode: @escaping (String) -> [Int32],
    piece: @escaping (Int32) -> String,
    bytes: @escaping (Int32) -> [UInt8],
    bos: Int32?,
    contextLength: Int,
    skipUnaligned: Bool = false
  ) throws(PromptError) {
    var rows = file.rows()
    var numbering = PromptNumbering(
      encode: encode, piece: piece, bytes: bytes, bos: bos, contextLength: contextLength)
    var pairs: [PromptPair] = []
    var unaligned: [UnalignedPair] = []
    while let row = try rows.next() {
      do throws(PromptError.Problem) {
        let clean = try numbering.tokens(of: row.clean, .clean)
        let corrupted = try row.corrupted.map { text throws(PromptError.Problem) in
          try numbering.tokens(of: text, .corrupted)
        }
        if let corrupted, corrupted.count != clean.count {
          unaligned.append(
            UnalignedPair(
              line: row.line, cleanTokens: clean.count, corruptedTokens: corrupted.count))
          if skipUnaligned { continue }
        }
        pairs.append(try numbering.pair(row, clean: clean, corrupted: corrupted))
      } catch {
        throw PromptError(path: file.path, line: row.line, problem: error)
      }
    }
    if pairs.isEmpty {
      throw PromptError(path: file.path, line: nil, problem: .everyPairUnaligned)
    }
    prompts = numbering.prompts
    self.pairs = pairs
    unalignedPairs = unaligned
    path = file.path
    skippedUnaligned = skipUnaligned
  }

  /// What the user should know although nothing is wrong with the file.
  var warnings: [String] {
    if unalignedPairs.isEmpty { return [] }
    let shown = unalignedPairs.prefix(3).map { pair in
      "line \(pair.line): clean \(pair.cleanTokens), corrupted \(pair.corruptedTokens) tokens"
    }
    let more = unalignedPairs.count > shown.count ? "; …" : ""
    let outcome =
      skippedUnaligned
      ? "they are left out"
      : "they are captured, and `analyze patch` refuses them unless --skip-unaligned is given"
    return [
      "\(path): pairs of unequal length: \(unalignedPairs.count) "
        + "(\(shown.joined(separator: "; "))\(more)); \(outcome)"
    ]
  }
}

/// Numbers prompts by first occurrence and resolves texts to tokens, each distinct text once.
private struct PromptNumbering {
  let encode: (String) -> [Int32]
  let piece: (Int32) -> String
  let bytes: (Int32) -> [UInt8]
  let bos: Int32?
  let contextLength: Int

  private(set) var prompts: [Prompt] = []
  private var numbers: [ExactText: Int] = [:]
  private var answers: [ExactText: Int32] = [:]
  private var pieces: [Int32: String] = [:]

  init(
    encode: @escaping (String) -> [Int32], piece: @escaping (Int32) -> String,
    bytes: @escaping (Int32) -> [UInt8], bos: Int32?, contextLength: Int
  ) {
    self.encode = encode
    self.piece = piece
    self.bytes = bytes
    self.bos = bos
    self.contextLength = contextLength
  }

  /// The tokens of a prompt, BOS in front if there is one.
  func tokens(of text: String, _ column: PromptError.Column) throws(PromptError.Problem) -> [Int32]
  {
    if let number = numbers[ExactText(text)] { return prompts[number].tokens }
    let encoded = encode(text)
    if encoded.isEmpty { throw .noTokens(column, text) }
    let tokens = (bos.map { [$0] } ?? []) + encoded
    guard tokens.count <= contextLength else {
      throw .promptTooLong(column, tokens: tokens.count, limit: contextLength)
    }
    return tokens
  }

  /// The row with its prompts numbered; `clean` and `corrupted` are their tokens.
  mutating func pair(_ row: PromptRow, clean: [Int32], corrupted: [Int32]?)
    throws(PromptError.Problem) -> PromptPair
  {
    var pair = PromptPair(clean: number(of: row.clean, clean))
    if let text = row.corrupted, let corrupted { pair.corrupted = number(of: text, corrupted) }
    pair.id = row.id
    pair.template = row.template
    if let text = row.answer { pair.answer = try token(of: text, .answer) }
    if let text = row.wrongAnswer { pair.wrongAnswer = try token(of: text, .wrongAnswer) }
    if row.roles.isEmpty && row.subject == nil { return pair }
    let places = TokenPlaces(
      text: row.clean,
      byteCounts: clean.enumerated().map { $0 == 0 && bos != nil ? 0 : bytes($1).count })
    if let subject = row.subject {
      let range = try places.range(of: subject, .subject)
      pair.subject = [range.lowerBound, range.upperBound]
    }
    if row.roles.isEmpty { return pair }
    var roles: [String: Int] = [:]
    for (name, place) in row.roles { roles[name] = try places.position(of: place, role: name) }
    pair.roles = roles
    return pair
  }

  private mutating func number(of text: String, _ tokens: [Int32]) -> Int {
    let key = ExactText(text)
    if let number = numbers[key] { return number }
    var pieces: [String] = []
    pieces.reserveCapacity(tokens.count)
    for token in tokens { pieces.append(sharedPiece(token)) }
    prompts.append(Prompt(text: text, tokens: tokens, pieces: pieces))
    numbers[key] = prompts.count - 1
    return prompts.count - 1
  }

  /// The one token of an answer.
  private mutating func token(of text: String, _ column: PromptError.Column)
    throws(PromptError.Problem) -> Int32
  {
    let key = ExactText(text)
    if let token = answers[key] { return token }
    let tokens = encode(text)
    guard let token = tokens.first else { throw .noTokens(column, text) }
    guard tokens.count == 1 else {
      throw .severalTokens(column, text, pieces: tokens.map(piece))
    }
    answers[key] = token
    return token
  }

  /// `piece`, asked once a token, so that prompts share the strings.
  private mutating func sharedPiece(_ token: Int32) -> String {
    if let known = pieces[token] { return known }
    let text = piece(token)
    pieces[token] = text
    return text
  }
}

/// A text as its bytes: `String` takes "é" for equal to "e" with a combining accent, and their
/// tokens differ.
private struct ExactText: Hashable {
  let text: String

  init(_ text: String) { self.text = text }

  static func == (a: ExactText, b: ExactText) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}
