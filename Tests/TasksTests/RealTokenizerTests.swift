import Glibc
import Model
import TestSupport
import Testing

@testable import Tasks

/// Every task with the demo model's tokenizer, and with GPT-2's own where it is on this machine:
/// `PATCHBAY_GPT2=DIRECTORY swift test -c release --filter RealTokenizerTests`; `PATCHBAY_SEEDS=20` tries
/// more seeds.
@Suite struct RealTokenizerTests {
  private let seeds: Range<UInt64>

  init() {
    let count = getenv("PATCHBAY_SEEDS").flatMap { UInt64(String(cString: $0)) }
    seeds = 0..<(count ?? 1)
  }

  private func checkIOI(_ tokenizer: Tokenizer, contextLength: Int, seeds: Range<UInt64>)
    throws
  {
    let properties = RowProperties(tokenizer: tokenizer)
    for corruption in IOICorruption.named {
      let task = try IOITask(
        tokenizer: tokenizer, corruption: try IOICorruption(corruption.name))
      for seed in seeds {
        let rows = try TaskRows(
          task, count: 30, seed: seed, tokenizer: tokenizer, contextLength: contextLength)
        try properties.check(rows.rows, "\(corruption.name), seed \(seed)")
        for row in rows.rows {
          #expect(try properties.piece("IO", in: row) == row.answer)
          #expect(try properties.piece("S1", in: row) == row.wrongAnswer)
          #expect(try properties.piece("S2", in: row) == row.wrongAnswer)
        }
      }
    }
  }

  @Test func theDemoModels() throws {
    let tokenizer = try TestTokenizers.demo()
    let length = try ModelConfig(directory: TestTokenizers.demoModel).contextLength
    try checkIOI(tokenizer, contextLength: length, seeds: seeds)
    // It says numbers digit by digit.
    #expect(throws: TaskError.self) { try GreaterThanTask(tokenizer: tokenizer) }
  }

  @Test(.enabled(if: TestTokenizers.gpt2 != nil, "GPT-2's tokenizer is not on this machine"))
  func gpt2s() throws {
    let tokenizer = try Tokenizer(directory: try #require(TestTokenizers.gpt2))
    try checkIOI(tokenizer, contextLength: 1024, seeds: seeds)
    let properties = RowProperties(tokenizer: tokenizer)
    let words = IOIWords.standard
    // The lists are for this vocabulary: nothing of them is lost.
    for list in [
      words.names, words.places, words.objects, GreaterThanTask.events, DocstringTask.words,
    ] {
      #expect(list.usable(tokenizer) == list.words, "\(list.name)")
      #expect(Set(list.words).count == list.words.count, "\(list.name)")
    }
    let years = try GreaterThanTask(tokenizer: tokenizer)
    let induction = try InductionTask(tokenizer: tokenizer, length: 50, repeated: 49)
    #expect(induction.vocabulary.count > 20_000)
    for seed in seeds {
      let rows = try TaskRows(years, count: 200, seed: seed, tokenizer: tokenizer).rows
      try properties.check(rows, "greater-than, seed \(seed)")
      let random = try TaskRows(induction, count: 20, seed: seed, tokenizer: tokenizer).rows
      try properties.check(random, "induction, seed \(seed)")
      for corruption in DocstringTask.Corruption.allCases {
        let task = try DocstringTask(tokenizer: tokenizer, corruption: corruption)
        let docstrings = try TaskRows(task, count: 50, seed: seed, tokenizer: tokenizer).rows
        try properties.check(docstrings, "docstring \(corruption), seed \(seed)")
      }
    }
  }
}
