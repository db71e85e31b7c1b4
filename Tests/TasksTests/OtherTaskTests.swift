import FileIO
import Foundation
import Model
import Patching
import TestSupport
import Testing

@testable import Tasks

@Suite struct OtherTaskTests {
  @Test func laterAndNotLaterYears() throws {
    // Years of the 18th century only, and a year that is a token of its own.
    let tokenizer = try TestTokenizers.of(
      words: GreaterThanTask.events.words.map { " " + $0 } + [" 17", " 1745"]
        + (0..<100).map { ($0 < 10 ? "0" : "") + String($0) })
    let task = try GreaterThanTask(tokenizer: tokenizer)
    // The tokenizer has " 174" on the way to " 1745", so that 1740 to 1749 are split otherwise.
    #expect(task.years.map(\.digits) == Array(2...39) + Array(50...98))
    #expect(task.years.allSatisfy { $0.century == 17 })
    let properties = RowProperties(tokenizer: tokenizer)
    for seed in UInt64(0)..<3 {
      let rows = try TaskRows(task, count: 100, seed: seed, tokenizer: tokenizer).rows
      try properties.check(rows, "seed \(seed)")
      for row in rows {
        let year = try #require(Int(try properties.piece("year", in: row)))
        #expect(try #require(Int(row.answer ?? "")) > year)
        #expect(try #require(Int(row.wrongAnswer ?? "")) <= year)
        #expect(try properties.piece("century", in: row) == " 17")
        #expect(row.corrupted?.contains(" 1701 to the year 17") == true)
        // A year that is split otherwise has no two digits to predict.
        for answer in [row.answer, row.wrongAnswer] { #expect(answer?.hasPrefix("4") == false) }
      }
    }
  }

  @Test func aTokenizerWithoutYears() throws {
    let tokenizer = try TestTokenizers.of(words: [" war"])
    #expect(
      throws: TaskError.tokenizerLacks(
        task: "greater-than",
        what: "years are one token for the century and one for the year in it",
        usable: 0, total: 679, needed: 1)
    ) { try GreaterThanTask(tokenizer: tokenizer) }
  }

  @Test(arguments: DocstringTask.Corruption.allCases)
  func argumentsAndTheirDescriptions(corruption: DocstringTask.Corruption) throws {
    let tokenizer = try TestTokenizers.of(words: DocstringTask.words.words.map { " " + $0 })
    let task = try DocstringTask(tokenizer: tokenizer, corruption: corruption)
    let properties = RowProperties(tokenizer: tokenizer)
    for row in try TaskRows(task, count: 50, seed: 4, tokenizer: tokenizer).rows {
      try properties.check([row], "\(corruption)")
      let tokens = tokenizer.encode(try #require(row.corrupted))
      func other(_ role: String) throws -> String {
        tokenizer.piece(tokens[try properties.position(role, in: row)])
      }
      let roles = ["A_def", "B_def", "C_def", "D_def", "A_doc", "B_doc"]
      let changed = try roles.filter { try other($0) != properties.piece($0, in: row) }
      #expect(try properties.piece("C_def", in: row) == row.answer)
      #expect(try properties.piece("A_doc", in: row) == properties.piece("A_def", in: row))
      switch corruption {
      case .answer:
        #expect(changed == ["C_def"])
        #expect(try other("C_def") == row.wrongAnswer)
      case .definition:
        #expect(changed == Array(roles[..<4]))
        #expect(try other("C_def") == row.wrongAnswer)
      case .documentation:
        #expect(changed == ["A_doc", "B_doc"])
        #expect(try properties.piece("D_def", in: row) == row.wrongAnswer)
      }
      #expect(row.textLine() == nil)
    }
  }

  @Test(arguments: [(10, 6), (2, 1), (30, 29), (20, 1), (10, 10), (2, 2)])
  func repeatedWords(length: Int, repeated: Int) throws {
    let tokenizer = try TestTokenizers.demo()
    let task = try InductionTask(tokenizer: tokenizer, length: length, repeated: repeated)
    let properties = RowProperties(tokenizer: tokenizer)
    for seed in UInt64(0)..<2 {
      let rows = try TaskRows(task, count: 40, seed: seed, tokenizer: tokenizer).rows
      try properties.check(rows, "seed \(seed)")
      for row in rows {
        let tokens = tokenizer.encode(row.clean)
        #expect(tokens.count == length + repeated && Set(tokens).count == length)
        #expect(Array(tokens[length...]) == Array(tokens[..<repeated]))
        #expect(try properties.position("A", in: row) == repeated - 1)
        #expect(try properties.position("B", in: row) == repeated)
        #expect(tokenizer.encode(row.answer ?? "") == [tokens[repeated]])
        let others = tokenizer.encode(row.corrupted ?? "")
        #expect(tokens.indices.filter { tokens[$0] != others[$0] } == [repeated])
        #expect(tokenizer.encode(row.wrongAnswer ?? "") == [others[repeated]])
        #expect(!tokens.contains(others[repeated]))
      }
    }
  }

  @Test(arguments: [(1, 1), (10, 0), (10, 11), (0, 0), (-3, -4), (Int.max, 1)])
  func lengthsThatCannotBe(length: Int, repeated: Int) throws {
    let tokenizer = try TestTokenizers.demo()
    #expect(throws: TaskError.badLengths(length: length, repeated: repeated)) {
      try InductionTask(tokenizer: tokenizer, length: length, repeated: repeated)
    }
  }

  @Test func moreWordsThanThereAre() throws {
    let tokenizer = try TestTokenizers.of(words: [" ab", " cd", " ef"])
    #expect {
      try InductionTask(tokenizer: tokenizer, length: 9, repeated: 2)
    } throws: { error in
      guard case TaskError.tokenizerLacks(_, _, let usable, _, let needed) = error else {
        return false
      }
      // The prefixes of the three words are words of one letter more or less.
      return usable < needed && needed == 10
    }
  }

  @Test func promptsLongerThanTheModelTakes() throws {
    let tokenizer = try TestTokenizers.demo()
    let task = try InductionTask(tokenizer: tokenizer, length: 40, repeated: 24)
    #expect(
      try TaskRows(task, count: 3, seed: 0, tokenizer: tokenizer, contextLength: 65).rows.count == 3
    )
    #expect {
      try TaskRows(task, count: 3, seed: 0, tokenizer: tokenizer, contextLength: 64)
    } throws: { error in
      guard case TaskError.exhausted(_, 0, 3, _, let rejections) = error else { return false }
      return rejections == [.tooLong(tokens: 65, limit: 64): TaskRows.drawLimit]
    }
  }

  @Test func factsAndTheirPartners() throws {
    let tokenizer = try TestTokenizers.of(
      words: [" Paris", " Rome", " Lima", "Tower", "Temple", "Gate", " East", " West"])
    let folder = try TemporaryDirectory()
    let path = try folder.write(
      "facts.csv",
      Data(
        """
        id,subject,relation,object
        1,Tower East,"{} is, as all know, in",Paris
        2,Temple West,"{} is, as all know, in",Rome

        3,Gate,"{} is, as all know, in",Lima
        4,Tower West,{} looks to,Rome
        5,"Temple ""Old"" Gate",{} looks to,Paris
        """.utf8))
    let facts = try factTable(path: path)
    #expect(
      facts.map(\.subject) == [
        "Tower East", "Temple West", "Gate", "Tower West", "Temple \"Old\" Gate",
      ])
    #expect(facts[2].source == "\(path), line 5")
    let task = FactsTask(facts, tokenizer: tokenizer)
    #expect(task.unpaired == 3)
    let rows = try TaskRows(task, count: 99, seed: 0, tokenizer: tokenizer).rows
    try RowProperties(tokenizer: tokenizer).check(rows, "facts")
    #expect(rows.count == 5)
    #expect(
      rows[0].corrupted == "Temple West is, as all know, in" && rows[0].wrongAnswer == " Rome")
    #expect(rows[0].subject == "Tower East")
    #expect(rows[2].corrupted == nil && rows[2].wrongAnswer == nil && rows[2].answer == " Lima")
    #expect(
      FactsTask(facts, tokenizer: tokenizer, isPaired: false).draft(0, using: &SplitMix64.zero)
        .corrupted == nil)
  }

  @Test func factsThatCannotBeUsed() throws {
    let tokenizer = try TestTokenizers.of(words: [" Paris", " Rome"])
    func fact(_ subject: String, _ relation: String, _ object: String) -> Fact {
      Fact(subject: subject, relation: relation, object: object, source: subject)
    }
    let facts = [
      fact("Tower", "{} is in", "Paris"), fact("Gate", "{} is in", "New York"),
      fact("in", "{} is in", "Rome"), fact("Tower", "{} is in", "Rome"),
    ]
    let task = FactsTask(facts, tokenizer: tokenizer)
    #expect {
      try TaskRows(task, count: 4, seed: 0, tokenizer: tokenizer)
    } throws: { error in
      guard case TaskError.unusable(_, "Gate", .severalTokens(let answer, _)) = error else {
        return false
      }
      return answer == " New York"
    }
    let rows = try TaskRows(task, count: 4, seed: 0, tokenizer: tokenizer, skipUnusable: true)
    #expect(rows.rows.count == 1)
    #expect(rows.skipped.map(\.source) == ["Gate", "in", "Tower"])
    #expect(
      rows.skipped.map(\.rejection.kind) == [
        "an answer of several tokens", "a subject that is not there exactly once", "drawn before",
      ])
    #expect(throws: TaskError.nothingUsable(task: "facts")) {
      try TaskRows(
        FactsTask([facts[1]], tokenizer: tokenizer), count: 1, seed: 0, tokenizer: tokenizer,
        skipUnusable: true)
    }
  }

  @Test(arguments: [
    ("", FactTableError.Problem.noFacts, nil),
    ("subject,relation,object\n", .noFacts, nil),
    ("subject,relation\na,b\n", .noColumn("object"), 1),
    ("subject,relation,object,object\na,{},c,d\n", .noColumn("object"), 1),
    ("subject,relation,object\na,{} b\n", .wrongFields(found: 2, expected: 3), 2),
    ("subject,relation,object\n\n ,{} b,c\n", .empty("subject"), 3),
    ("subject,relation,object\na,b,c\n", .noGap("b"), 2),
    ("subject,relation,object\na,{} {},c\n", .noGap("{} {}"), 2),
  ])
  func tablesThatAreNone(text: String, problem: FactTableError.Problem, line: Int?) throws {
    let folder = try TemporaryDirectory()
    let path = try folder.write("facts.csv", Data(text.utf8))
    #expect(throws: FactTableError(path: path, line: line, problem: problem)) {
      try factTable(path: path)
    }
  }
}

extension SplitMix64 {
  fileprivate static var zero: SplitMix64 {
    get { SplitMix64(state: 0) }
    set {}
  }
}
