import CacheFormat
import FileIO
import Glibc
import Testing

@testable import Capture

/// A prompt file of its own for one test, removed with the object.
private final class TemporaryFile {
  let path: String
  private let directory: String

  init(_ name: String, _ bytes: [UInt8]) throws {
    var template = Array("/tmp/patchbay-prompts-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = "\(directory)/\(name)"
    let stream = try #require(fopen(path, "w"))
    defer { fclose(stream) }
    try #require(fwrite(bytes, 1, bytes.count, stream) == bytes.count)
  }

  deinit {
    unlink(path)
    rmdir(directory)
  }
}

private func rows(_ bytes: [UInt8], name: String = "p.txt") throws -> [PromptRow] {
  let file = try TemporaryFile(name, bytes)
  var rows = try PromptFile(path: file.path).rows()
  var all: [PromptRow] = []
  while let row = try rows.next() { all.append(row) }
  return all
}

private func rows(_ text: String, name: String = "p.txt") throws -> [PromptRow] {
  try rows(Array(text.utf8), name: name)
}

/// Expects that reading `text` fails, at `line`, for the reason `problem`.
private func expectProblem(
  _ text: String, name: String = "p.txt", line: Int?, _ problem: PromptError.Problem,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let error = #expect(throws: PromptError.self, sourceLocation: sourceLocation) {
    try rows(text, name: name)
  }
  #expect(error?.line == line, sourceLocation: sourceLocation)
  #expect(error?.problem == problem, sourceLocation: sourceLocation)
  #expect(error?.exitCode == .badData, sourceLocation: sourceLocation)
}

/// Splits ASCII words off with the space before them, and other characters into their bytes, as
/// byte-level BPE does with what it does not know.
private final class WordTokenizer {
  static let bos: Int32 = 0
  private(set) var encoded: [String] = []
  private var words: [[UInt8]] = [Array("<bos>".utf8)]

  func encode(_ text: String) -> [Int32] {
    encoded.append(text)
    var tokens: [[UInt8]] = []
    for byte in text.utf8 {
      let startsToken = byte == 0x20 || byte == UInt8(ascii: ",") || byte >= 0x80
      if startsToken || tokens.isEmpty || (tokens.last?.last ?? 0) >= 0x80 {
        tokens.append([byte])
      } else {
        tokens[tokens.count - 1].append(byte)
      }
    }
    return tokens.map { word in
      if let known = words.firstIndex(of: word) { return Int32(known) }
      words.append(word)
      return Int32(words.count - 1)
    }
  }

  func bytes(_ token: Int32) -> [UInt8] { words[Int(token)] }
  func piece(_ token: Int32) -> String { String(decoding: words[Int(token)], as: UTF8.self) }
}

private func promptSet(
  _ text: String, name: String = "p.txt", tokenizer: WordTokenizer = WordTokenizer(),
  bos: Int32? = WordTokenizer.bos, contextLength: Int = 12, skipUnaligned: Bool = false
) throws -> PromptSet {
  let file = try TemporaryFile(name, Array(text.utf8))
  return try PromptSet(
    PromptFile(path: file.path), encode: tokenizer.encode, piece: tokenizer.piece,
    bytes: tokenizer.bytes, bos: bos, contextLength: contextLength, skipUnaligned: skipUnaligned)
}

@Suite struct TextPromptFileTests {
  @Test func columns() throws {
    let found = try rows("A b\nC\tD\nE \tF\t x\n# no\n\n \t \nG\tH\t yes\t no")
    #expect(
      found == [
        PromptRow(line: 1, clean: "A b"),
        PromptRow(line: 2, clean: "C", corrupted: "D"),
        PromptRow(line: 3, clean: "E ", corrupted: "F", answer: " x"),
        PromptRow(line: 7, clean: "G", corrupted: "H", answer: " yes", wrongAnswer: " no"),
      ])
  }

  @Test func byteOrderMarkAndCRLF() throws {
    let found = try rows("\u{FEFF}A\tB\r\n\r\n#\r\nC\r D\r\n")
    #expect(
      found == [
        PromptRow(line: 1, clean: "A", corrupted: "B"), PromptRow(line: 4, clean: "C\r D"),
      ])
  }

  @Test func onlyTheBytesOfTabAndNewlineSeparate() throws {
    let text = "a\u{2028}b\u{85}c\u{0}d\t\u{301}e #"
    let found = try rows(text)
    #expect(found.count == 1)
    #expect(found.first.map { Array($0.clean.utf8) } == Array("a\u{2028}b\u{85}c\u{0}d".utf8))
    #expect(found.first?.corrupted.map { Array($0.utf8) } == Array("\u{301}e #".utf8))
    #expect(try rows(" # indented").first?.clean == " # indented")
    #expect(try rows("a\\tb").first?.clean == "a\\tb")
  }

  @Test func malformedLines() {
    expectProblem("A\tB\n\tB", line: 2, .empty(.clean))
    expectProblem("A\t", line: 1, .empty(.corrupted))
    expectProblem("A\t\t x", line: 1, .empty(.corrupted))
    expectProblem("A\tB\t", line: 1, .empty(.answer))
    expectProblem("A\tB\t x\t", line: 1, .empty(.wrongAnswer))
    expectProblem("# c\nA\tB\t x\t y\tz", line: 2, .tooManyColumns(5))
    expectProblem("", line: nil, .noPrompts)
    expectProblem("# nothing\n\n", line: nil, .noPrompts)
    expectProblem("A", name: "p.csv", line: nil, .unknownFormat)
  }

  @Test func invalidUTF8IsRefusedWithItsLine() throws {
    for bad: [UInt8] in [[0xFF, 0xFE], [0xC3], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xC0, 0x80]] {
      let error = #expect(throws: PromptError.self) { try rows(Array("A\nB\tC".utf8) + bad + [10]) }
      #expect(error?.line == 2)
      #expect(error?.problem == .notUTF8)
    }
  }

  @Test func longLinesAreRefused() throws {
    let most = String(repeating: "a", count: PromptFile.lineLimit)
    #expect(try rows(most + "\r\n").count == 1)
    expectProblem("x\n\(most)a\n", line: 2, .lineTooLong(limit: PromptFile.lineLimit))
  }

  @Test func missingFile() {
    let error = #expect(throws: PromptError.self) { try PromptFile(path: "/nonexistent/p.txt") }
    #expect(error?.exitCode == .noInput)
    #expect(
      error?.description
        == "there is no file /nonexistent/p.txt; --prompts takes a .txt or .jsonl file")
    let directory = #expect(throws: PromptError.self) { try PromptFile(path: "/tmp") }
    #expect(directory?.exitCode == .badData)
  }
}

@Suite struct JSONPromptFileTests {
  private func parse(_ text: String) throws -> [PromptRow] { try rows(text, name: "p.jsonl") }

  @Test func allFields() throws {
    let found = try parse(
      #"{"prompt": "A"}"# + "\n\n"
        + #" { "id" : 7, "clean":"C\td\u00e9\ud83d\ude00\"","corrupted":"D", "answer": " x","#
        + #" "wrong-answer":" y","roles":{"S1":2,"END":-1,"IO":" Mary"},"subject": "C" }"#)
    #expect(
      found == [
        PromptRow(line: 1, clean: "A"),
        PromptRow(
          line: 3, id: "7", clean: "C\td\u{E9}\u{1F600}\"", corrupted: "D", answer: " x",
          wrongAnswer: " y",
          roles: ["S1": .position(2), "END": .position(-1), "IO": .text(" Mary")], subject: "C"),
      ])
    let sparse = try parse(##"{"clean": "# a", "corrupted": null, "roles": {}, "id": "x"}"##)
    #expect(sparse == [PromptRow(line: 1, id: "x", clean: "# a")])
  }

  @Test func whatAKeyMayNotBe() {
    func check(_ text: String, _ problem: PromptError.Problem) {
      expectProblem(text, name: "p.jsonl", line: 1, problem)
    }
    check(#"{"clean": "A", "corupted": "B"}"#, .unknownKey("corupted"))
    check(#"{"clean": "A", "tags": [1]}"#, .unknownKey("tags"))
    check(#"{"clean": "A", "prompt": "B"}"#, .repeatedKey("prompt"))
    check(#"{"clean": "A", "clean": "A"}"#, .repeatedKey("clean"))
    check(#"{"clean": "A", "roles": {"S": 1, "S": 2}}"#, .repeatedKey("S"))
    check(#"{"corrupted": "A"}"#, .noCleanPrompt)
    check(#"{"clean": null}"#, .noCleanPrompt)
    check(#"{}"#, .noCleanPrompt)
    check(#"{"clean": ""}"#, .empty(.clean))
    check(#"{"clean": "A", "corrupted": ""}"#, .empty(.corrupted))
    check(#"{"clean": "A", "answer": ""}"#, .empty(.answer))
    check(#"{"clean": "A", "wrong_answer": " x"}"#, .wrongAnswerAlone)
  }

  @Test(arguments: [
    (#"A plain prompt"#, 1, "'{'"),
    (#"["A"]"#, 1, "'{'"),
    (#"{clean: "A"}"#, 2, "a key in double quotes"),
    (#"{"clean" "A"}"#, 10, "':'"),
    (#"{"clean": 3}"#, 11, "a string as clean"),
    (#"{"clean": "é" "x"}"#, 15, "',' or '}'"),
    (#"{"clean": "A",}"#, 15, "a key in double quotes"),
    (#"{"clean": "A"} x"#, 16, "nothing after the object"),
    (#"{"clean": "A"#, 13, "a closing quote"),
    (#"{"clean": "A\"#, 14, "a closing quote"),
    (#"{"clean": "A\x"}"#, 13, "an escape that JSON has"),
    (#"{"clean": "\ud800"}"#, 12, "an escape that JSON has"),
    (#"{"clean": "\ud83dx"}"#, 12, "an escape that JSON has"),
    (#"{"clean": "\u12"}"#, 12, "an escape that JSON has"),
    (#"{"clean": "A", "id": true}"#, 22, "a string or an integer as id"),
    (#"{"clean": "A", "roles": {"S": 1.5}}"#, 31, "a token position or a text as role"),
    (#"{"clean": "A", "roles": {"S": 1e3}}"#, 31, "a token position or a text as role"),
    (
      #"{"clean": "A", "roles": {"S": 99999999999999999999}}"#, 31,
      "a token position or a text as role"
    ),
    (#"{"clean": "A", "roles": [1]}"#, 25, "'{'"),
    (#"{"clean": "A", "roles": {"S": "#, 31, "a token position or a text as role"),
    (#"{"#, 2, "a key in double quotes"),
  ])
  func brokenJSON(text: String, column: Int, expected: String) {
    expectProblem(text, name: "p.jsonl", line: 1, .notJSON(column: column, expected: expected))
  }

  @Test func controlCharactersAndBadUTF8InStrings() {
    expectProblem(
      "{\"clean\": \"A\tB\"}", name: "p.jsonl", line: 1,
      .notJSON(
        column: 13, expected: "no control character in a string (write \\t for a TAB)"))
    let error = #expect(throws: PromptError.self) {
      try rows(Array("{\"clean\": \"".utf8) + [0xFF] + Array("\"}".utf8), name: "p.jsonl")
    }
    #expect(error?.problem == .notUTF8)
  }

  /// Every prefix of a good line is refused; with one byte replaced, it is read or refused.
  @Test func damagedLinesNeverTrap() {
    let line = Array(
      #"{"id":1,"clean":"a\u00e9\ud83d\ude00","roles":{"S":-1,"T":"a"},"answer":null}"#.utf8)
    func isRead(_ bytes: some Collection<UInt8>) -> Bool {
      Array(bytes).withUnsafeBytes { (try? PromptRow(json: $0, line: 1)) != nil }
    }
    #expect(isRead(line))
    for length in line.indices {
      #expect(!isRead(line[..<length]))
    }
    for index in line.indices {
      for byte in UInt8.min...UInt8.max {
        var damaged = line
        damaged[index] = byte
        _ = isRead(damaged)
      }
    }
  }
}

@Suite struct PromptSetTests {
  @Test func promptsAreNumberedByFirstOccurrence() throws {
    let tokenizer = WordTokenizer()
    let set = try promptSet(
      "a b\tc d\t x\t y\nc d\ta b\t y\t x\ne\na b\te f\n", tokenizer: tokenizer)
    #expect(set.prompts.map(\.text) == ["a b", "c d", "e", "e f"])
    #expect(set.pairs.map(\.clean) == [0, 1, 2, 0])
    #expect(set.pairs.map(\.corrupted) == [1, 0, nil, 3])
    #expect(set.prompts[0].tokens == [0, 1, 2])
    #expect(set.prompts[0].pieces == ["<bos>", "a", " b"])
    #expect(set.pairs[0].answer == set.pairs[1].wrongAnswer)
    #expect(set.pairs[0].wrongAnswer == set.pairs[1].answer)
    #expect(set.pairs[0].answer != set.pairs[1].answer)
    #expect(Set(tokenizer.encoded).count == tokenizer.encoded.count, "each text is encoded once")
    #expect(set.warnings.isEmpty)
  }

  @Test func canonicallyEqualTextsAreTwoPrompts() throws {
    let set = try promptSet("caf\u{E9}\ncafe\u{301}\ncaf\u{E9}\n")
    #expect(set.prompts.count == 2)
    #expect(set.pairs.map(\.clean) == [0, 1, 0])
    #expect(set.prompts[0].tokens != set.prompts[1].tokens)
  }

  @Test func withoutBOS() throws {
    let set = try promptSet("a b", bos: nil)
    #expect(set.prompts[0].pieces == ["a", " b"])
  }

  @Test func unequalLengthsAreReportedOrLeftOut() throws {
    let text = "a b\tc d e\nf g\th i\nj\tf g\n"
    let all = try promptSet(text)
    #expect(all.pairs.count == 3)
    #expect(
      all.unalignedPairs == [
        .init(line: 1, cleanTokens: 3, corruptedTokens: 4),
        .init(line: 3, cleanTokens: 2, corruptedTokens: 3),
      ])
    #expect(all.warnings.count == 1)
    #expect(all.warnings[0].contains("line 1: clean 3, corrupted 4 tokens"))
    let aligned = try promptSet(text, skipUnaligned: true)
    #expect(aligned.prompts.map(\.text) == ["f g", "h i"])
    #expect(aligned.pairs == [PromptPair(clean: 0, corrupted: 1)])
    #expect(aligned.unalignedPairs == all.unalignedPairs)
    let error = #expect(throws: PromptError.self) {
      try promptSet("a b\tc\n", skipUnaligned: true)
    }
    #expect(error?.problem == .everyPairUnaligned)
  }

  @Test func promptsLongerThanTheContext() throws {
    #expect(try promptSet("a\nb c d", contextLength: 4).prompts[1].tokens.count == 4)
    let error = #expect(throws: PromptError.self) {
      try promptSet("a\nb\tb c d e", contextLength: 4)
    }
    #expect(error?.line == 2)
    #expect(error?.problem == .promptTooLong(.corrupted, tokens: 5, limit: 4))
    #expect(
      error?.description.hasSuffix(
        "p.txt, line 2: the corrupted prompt has 5 tokens and the model takes 4; shorten it")
        == true)
  }

  @Test func answersAreOneToken() throws {
    let error = #expect(throws: PromptError.self) { try promptSet("a\tb\t x y") }
    #expect(error?.problem == .severalTokens(.answer, " x y", pieces: [" x", " y"]))
    #expect(
      error?.problem.description
        == #"the answer " x y" is 2 tokens, " x" " y"; it must be one"#)
    let wrong = #expect(throws: PromptError.self) { try promptSet("a\tb\t x\tx y") }
    #expect(wrong?.problem == .severalTokens(.wrongAnswer, "x y", pieces: ["x", " y"]))
    #expect(wrong?.problem.description.hasSuffix("and most begin with a space") == true)
  }

  @Test func textsWithoutTokensAreRefused() throws {
    let file = try TemporaryFile("p.txt", Array("a\tb\t x".utf8))
    func set(_ encode: @escaping (String) -> [Int32]) throws -> PromptSet {
      try PromptSet(
        PromptFile(path: file.path), encode: encode, piece: { "\($0)" }, bytes: { _ in [] },
        bos: 0, contextLength: 9)
    }
    let prompt = #expect(throws: PromptError.self) { try set { _ in [] } }
    #expect(prompt?.problem == .noTokens(.clean, "a"))
    let answer = #expect(throws: PromptError.self) { try set { $0 == " x" ? [] : [1] } }
    #expect(answer?.problem == .noTokens(.answer, " x"))
  }
}

@Suite struct RoleTests {
  private func pair(_ fields: String, bos: Int32? = WordTokenizer.bos) throws -> PromptPair? {
    try promptSet("{\(fields)}\n", name: "p.jsonl", bos: bos).pairs.first
  }

  private func problem(_ fields: String) -> PromptError.Problem? {
    #expect(throws: PromptError.self) { try pair(fields) }?.problem
  }

  private let john = #""clean": "When John met Zoë, John gave""#

  /// Tokens: <bos> When␣ John met Zo Ã « , ␣John ␣gave, the two bytes of ë being tokens.
  @Test func placesBecomePositions() throws {
    let roles = try pair(
      john + #", "roles": {"S1": "When John", "S2": ", John", "IO": "Zoë", "END": -1, "BOS": 0}"#
    )?.roles
    #expect(roles == ["S1": 2, "S2": 8, "IO": 6, "END": 9, "BOS": 0])
    let bare = try pair(
      john + #", "roles": {"S2": ", John", "END": -1, "first": 0}"#, bos: nil)?.roles
    #expect(bare == ["S2": 7, "END": 8, "first": 0])
  }

  @Test func subjectsBecomeRanges() throws {
    #expect(try pair(john + #", "subject": "Zoë""#)?.subject == [4, 7])
    #expect(try pair(john + #", "subject": "When""#)?.subject == [1, 2])
    #expect(try pair(john + #", "subject": "met Zo""#)?.subject == [3, 5])
    #expect(try pair(john + #", "subject": " gave""#, bos: nil)?.subject == [8, 9])
    #expect(try pair(john)?.subject == nil)
    #expect(try pair(john)?.roles == nil)
  }

  @Test func placesThatAreNotOne() {
    #expect(
      problem(john + #", "roles": {"S": "John"}"#) == .ambiguous(.role("S"), "John"))
    #expect(problem(john + #", "roles": {"S": "Jim"}"#) == .notInPrompt(.role("S"), "Jim"))
    #expect(problem(john + #", "roles": {"S": ""}"#) == .notInPrompt(.role("S"), ""))
    #expect(problem(john + #", "subject": " John""#) == .ambiguous(.subject, " John"))
    #expect(problem(#""clean": "aaa", "subject": "aa""#) == .ambiguous(.subject, "aa"))
    // A combining accent is other bytes than the letter that carries it.
    #expect(
      problem(john + #", "subject": "Zoe\#u{308}""#) == .notInPrompt(.subject, "Zoe\u{308}"))
    for position in [10, -11, Int.max, Int.min] {
      #expect(
        problem(john + #", "roles": {"S": \#(position)}"#)
          == .positionOutOfRange(role: "S", position: position, tokens: 10))
    }
  }

  @Test func tokensThatDoNotSpellTheText() throws {
    let file = try TemporaryFile(
      "p.jsonl", Array(#"{"clean": "a b", "subject": "b", "roles": {"E": -1}}"#.utf8))
    let error = #expect(throws: PromptError.self) {
      try PromptSet(
        PromptFile(path: file.path), encode: { _ in [1, 2] }, piece: { _ in "" },
        bytes: { _ in [0x20] }, bos: nil, contextLength: 9)
    }
    #expect(error?.problem == .tokensDoNotSpellText)
  }
}
