import Model
import TestSupport
import Testing

@testable import Tasks

@Suite struct IOITests {
  private let tokenizer: Tokenizer
  private let properties: RowProperties

  init() throws {
    let words = IOIWords.standard
    tokenizer = try TestTokenizers.of(
      words: (words.names.words + words.places.words + words.objects.words).map { " " + $0 })
    properties = RowProperties(tokenizer: tokenizer)
  }

  private func rows(
    _ corrupt: String, count: Int = 30, seed: UInt64 = 0, templates: [Int]? = nil,
    orders: [IOIOrder] = IOIOrder.allCases
  ) throws -> TaskRows {
    let task = try IOITask(
      tokenizer: tokenizer, templates: templates, orders: orders,
      corruption: try IOICorruption(corrupt))
    return try TaskRows(task, count: count, seed: seed, tokenizer: tokenizer)
  }

  /// The three names of a prompt that is said by the same template as the clean one of `row`.
  private func names(_ text: String, like row: TaskRow) throws -> [String] {
    let tokens = tokenizer.encode(text)
    let roles = row.template?.hasSuffix("ABBA") == true ? ["IO", "S1", "S2"] : ["S1", "IO", "S2"]
    return try roles.map { tokenizer.piece(tokens[try properties.position($0, in: row)]) }
  }

  @Test(arguments: IOICorruption.named.map(\.name))
  func corruptionsChangeTheNamesAsTheySay(corrupt: String) throws {
    let pattern = try #require(IOICorruption.named.first { $0.name == corrupt }).pattern
    for seed in UInt64(0)..<3 {
      let made = try rows(corrupt, seed: seed).rows
      try properties.check(made, "\(corrupt), seed \(seed)")
      for row in made {
        let clean = try names(row.clean, like: row)
        let order = row.template?.hasSuffix("ABBA") == true ? "ABB" : "BAB"
        #expect(row.answer == clean[order == "ABB" ? 0 : 1])
        #expect(row.wrongAnswer == clean[2])
        // Read the pattern by hand: a letter stands for one name, and no two letters for the same.
        var meaning: [Character: String] = [:]
        for (letter, name) in zip(order, clean) { meaning[letter] = name }
        let result = pattern.components(of: order)
        let corrupted = try names(try #require(row.corrupted), like: row)
        for (letter, name) in zip(result, corrupted) {
          #expect(meaning[letter] == nil || meaning[letter] == name, "\(row)")
          meaning[letter] = name
        }
        #expect(Set(meaning.values).count == meaning.count, "\(row)")
        // Nothing else of the prompt changes.
        let places = try ["IO", "S1", "S2"].map { try properties.position($0, in: row) }
        let texts = [row.clean, row.corrupted ?? ""].map { text in
          tokenizer.encode(text).enumerated().map { places.contains($0) ? -1 : $1 }
        }
        #expect(texts[0] == texts[1])
      }
    }
  }

  @Test func theTokenAfterS1HasARole() throws {
    for row in try rows("s2").rows {
      #expect(
        try properties.position("S1+1", in: row) == properties.position("S1", in: row) + 1)
    }
  }

  @Test(arguments: [30, 90, 400])
  func everyTemplateAndOrderTakesTurns(count: Int) throws {
    let made = try rows("abc", count: count, seed: 5).rows
    let counts = made.reduce(into: [:]) { $0[$1.template ?? "", default: 0] += 1 }
    #expect(counts.count == 30)
    #expect((counts.values.max() ?? 0) - (counts.values.min() ?? 0) <= 1)
    let single = try rows("abc", count: 20, templates: [3, 7], orders: [.baba]).rows
    #expect(Set(single.map(\.template)) == ["ioi-03-BABA", "ioi-07-BABA"])
  }

  /// Every word is drawn about as often as every other one: χ² with k degrees of freedom has mean k and
  /// variance 2k, and six deviations are beyond chance.
  @Test func wordsAreDrawnEvenly() throws {
    var counts: [String: Int] = [:]
    var drawn = 0
    for seed in UInt64(0)..<6 {
      for row in try rows("s2", count: 300, seed: seed).rows {
        counts[row.answer ?? "", default: 0] += 1
        drawn += 1
      }
    }
    let words = IOIWords.standard.names.words
    #expect(counts.count == words.count)
    let expected = Double(drawn) / Double(words.count)
    let squares = words.map { word in
      let difference = Double(counts[" " + word] ?? 0) - expected
      return difference * difference / expected
    }.reduce(0, +)
    let freedom = Double(words.count - 1)
    #expect(abs(squares - freedom) < 6 * (2 * freedom).squareRoot(), "χ² \(squares)")
  }

  @Test func seedsDecideAndShorterCountsArePrefixes() throws {
    let long = try rows("s2", count: 50, seed: 9).rows
    #expect(try rows("s2", count: 50, seed: 9).rows == long)
    #expect(try rows("s2", count: 20, seed: 9).rows == Array(long[..<20]))
    #expect(try rows("s2", count: 50, seed: 10).rows != long)
  }

  @Test(arguments: [
    "", "s3", "ABB->ABB, BAB->ABA", "ABB->ABA", "ABB->ABA, ABB->ABA", "ABB->AB, BAB->BA",
    "ABB->abc, BAB->abc", "ABB->ABA, BAB->BAA, ABB->CCC", "ABB->A B, BAB->", "->,->", "é->é",
  ])
  func whatIsNoCorruption(text: String) {
    #expect(throws: TaskError.badCorruption(text)) { try IOICorruption(text) }
  }

  @Test func wordsThatAreNotTokensAreLeftOut() throws {
    let few = try TestTokenizers.of(words: [" Emma", " Carl", " beach", " ball"])
    let task = try IOITask(tokenizer: few, corruption: try IOICorruption("s2"))
    let made = try TaskRows(task, count: 40, seed: 1, tokenizer: few).rows
    try RowProperties(tokenizer: few).check(made, "two names")
    #expect(Set(made.compactMap(\.answer)) == [" Emma", " Carl"])
    #expect(
      throws: TaskError.tooFewWords(
        task: "ioi",
        [
          .init(list: "names", usable: 2, total: IOIWords.standard.names.words.count, needed: 5),
          .init(list: "places", usable: 1, total: IOIWords.standard.places.words.count, needed: 1),
          .init(
            list: "objects", usable: 1, total: IOIWords.standard.objects.words.count, needed: 1),
        ])
    ) { try IOITask(tokenizer: few, corruption: try IOICorruption("abc")) }
  }

  /// 15 templates, two orders and who of the two is IO: there are no more.
  @Test func whenAllRowsWereMadeDrawingEnds() throws {
    let few = try TestTokenizers.of(words: [" Emma", " Carl", " beach", " ball"])
    let task = try IOITask(tokenizer: few, templates: [0], corruption: try IOICorruption("s2"))
    #expect(try TaskRows(task, count: 4, seed: 2, tokenizer: few).rows.count == 4)
    #expect {
      try TaskRows(task, count: 5, seed: 2, tokenizer: few)
    } throws: { error in
      guard case TaskError.exhausted(_, let made, _, _, let rejections) = error else {
        return false
      }
      return made == 4 && rejections == [.alreadyThere: TaskRows.drawLimit]
        && "\(error)".contains("--count 4")
    }
  }

  @Test func templatesThatAreNotThere() throws {
    for number in [-1, 15, Int.max] {
      #expect(throws: TaskError.noSuchTemplate(number, count: 15)) {
        try IOITask(
          tokenizer: tokenizer, templates: [number], corruption: try IOICorruption("s2"))
      }
    }
  }
}

extension String {
  /// What stands behind `->` for an order.
  fileprivate func components(of order: String) -> String {
    for part in split(separator: ", ") where part.hasPrefix(order) {
      return String(part.suffix(3))
    }
    return ""
  }
}
