import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Tasks

@Suite struct RowTests {
  @Test func linesOfBothForms() throws {
    let row = TaskRow(
      id: "a\"b", clean: "x\ty é/", corrupted: "x\tz é/", answer: " A", wrongAnswer: " B",
      template: "t", subject: "é",
      roles: [.init(name: "S1", place: .text("\n")), .init(name: "END", place: .position(-1))])
    #expect(
      row.jsonLine()
        == #"{"id": "a\"b", "clean": "x\ty é/", "corrupted": "x\tz é/", "answer": " A", "#
        + #""wrong_answer": " B", "template": "t", "subject": "é", "#
        + #""roles": {"S1": "\n", "END": -1}}"#)
    #expect(row.textLine() == nil)
    #expect(TaskRow(clean: " a", corrupted: "b", answer: " A").textLine() == " a\tb\t A")
    #expect(TaskRow(clean: "a", answer: " A").textLine() == nil)
    #expect(TaskRow(clean: "#a").textLine() == nil)
    #expect(TaskRow(clean: "  ").textLine() == nil)
    #expect(TaskRow(clean: "a").textLine() == "a")
    #expect(TaskRow(clean: "a").jsonLine() == #"{"clean": "a"}"#)
  }

  /// A task of a Swift user's own.
  private struct Fixed: PromptTask {
    let name = "own"
    let drafts: [RowDraft]
    var fixedCount: Int? { drafts.count }
    func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft { drafts[number] }
  }

  private func rejection(_ draft: RowDraft, _ tokenizer: Tokenizer) -> RowRejection? {
    do {
      _ = try TaskRows(Fixed(drafts: [draft]), count: 1, seed: 0, tokenizer: tokenizer)
      return nil
    } catch TaskError.unusable(_, "row 0 of own", let rejection) {
      return rejection
    } catch {
      Issue.record("\(error)")
      return nil
    }
  }

  @Test func rowsThatNoPromptFileCanHave() throws {
    let tokenizer = try TestTokenizers.of(words: [" yes", " no", " nothing", "A", "Ab"])
    func draft(
      _ clean: String, _ corrupted: String?, _ answer: String, _ wrong: String? = nil
    ) -> RowDraft {
      RowDraft(clean: MarkedText(clean), corrupted: corrupted, answer: answer, wrongAnswer: wrong)
    }
    #expect(rejection(draft("so", "go", " yes", " no"), tokenizer) == nil)
    #expect(rejection(draft("so", nil, " yes"), tokenizer) == nil)
    #expect(rejection(draft("so", "so", " yes", " no"), tokenizer) == .notCorrupted)
    #expect(
      rejection(draft("so", "going", " yes", " no"), tokenizer)
        == .unequalLengths(clean: 2, corrupted: 5))
    #expect(
      rejection(draft("so", "go", " yet", " no"), tokenizer)
        == .severalTokens(answer: " yet", pieces: [" ye", "t"]))
    #expect(
      rejection(draft("so", "go", " yes", " nine"), tokenizer)
        == .severalTokens(answer: " nine", pieces: [" n", "i", "n", "e"]))
    #expect(rejection(draft("so", "go", " yes", " yes"), tokenizer) == .sameAnswers)
    // "A" and "b" by themselves, "Ab" together.
    #expect(rejection(draft("A", "B", "b", " no"), tokenizer) == .answerDoesNotFollow("b"))
    #expect(rejection(draft("B", "A", " no", "b"), tokenizer) == .answerDoesNotFollow("b"))
    var marked = draft("so", "go", " yes", " no")
    marked.clean.markNext("after")
    #expect(rejection(marked, tokenizer) == .markOutsideText(role: "after"))
    marked.clean = MarkedText()
    marked.clean.append("s", role: "x")
    marked.clean.append("o", role: "x")
    #expect(rejection(marked, tokenizer) == .repeatedRole("x"))
    marked = draft("so", "go", " yes", " no")
    marked.tokens = [1]
    #expect(rejection(marked, tokenizer) == .otherTokens)
    marked.tokens = nil
    for subject in ["", "x", "ss"] {
      marked.subject = subject
      #expect(rejection(marked, tokenizer) == .subjectNotOnce(subject))
    }
    marked.clean = MarkedText("oo")
    marked.subject = "o"
    #expect(rejection(marked, tokenizer) == .subjectNotOnce("o"))
  }

  /// Overlapping occurrences are two, characters of several bytes are not cut, and what occurs twice
  /// even with all that stands before it is named by its position.
  @Test func rolesAreTextsWhereTheyCan() throws {
    let tokenizer = try TestTokenizers.of(words: [" yes", " no"])
    func place(_ parts: [String], marked: Int) throws -> TaskRow.Place? {
      var text = MarkedText()
      for (index, part) in parts.enumerated() {
        text.append(part, role: index == marked ? "R" : nil)
      }
      let draft = RowDraft(clean: text, corrupted: nil, answer: " yes", wrongAnswer: nil)
      return try TaskRows(Fixed(drafts: [draft]), count: 1, seed: 0, tokenizer: tokenizer)
        .rows[0].roles.first { $0.name == "R" }?.place
    }
    #expect(try place(["x", " no", " z"], marked: 1) == .text(" no"))
    #expect(try place(["x", " no", "y", " no", " z"], marked: 1) == .text("x no"))
    #expect(try place(["x", " no", "y", " no", " z"], marked: 3) == .text("y no"))
    #expect(try place(["aaa", "b"], marked: 0) == .text("aaa"))
    #expect(try place(["a", "aa", "b"], marked: 0) == .position(-4))
    #expect(try place(["ab", "abc"], marked: 0) == .position(-4))
    #expect(try place(["ab", "c"], marked: 1) == .position(-1))
    #expect(try place(["é", "ü", "é "], marked: 1) == .text("ü"))
  }

  @Test func drawsAreEvenAndReproducible() {
    var random = SplitMix64(state: 7)
    var counts = [Int](repeating: 0, count: 6)
    for _ in 0..<60_000 { counts[random.index(below: 6)] += 1 }
    // The standard deviation of a count is 91.
    #expect(counts.allSatisfy { abs($0 - 10_000) < 6 * 92 }, "\(counts)")
    #expect((0..<9).allSatisfy { _ in random.index(below: 1) == 0 })
    let sample = random.sample(5, of: Array(0..<5))
    #expect(sample.sorted() == Array(0..<5))
    #expect(random.sample(9, of: [1, 2]).sorted() == [1, 2])
    #expect(random.sample(3, of: [Int]()).isEmpty)
    // SplitMix64's first numbers for the state 1234567, as its author's program prints them.
    var known = SplitMix64(state: 1_234_567)
    #expect(known.next() == 6_457_827_717_110_365_317)
    var drawn = SplitMix64(state: 1_234_567)
    #expect(drawn.index(below: 1000) == 350)
  }
}
