import CacheFormat
import Patching

/// The pairs of a cache that can be patched, and those that cannot.
struct TaskSelection {
  /// The pairs to patch.
  let pairs: [PatchingPair]
  /// The numbers that `pairs` have among all rows of the prompt file.
  let numbers: [Int]
  /// Pairs left out because their prompts differ in length.
  let unaligned: Int
  /// Rows left out because they lack a corrupted prompt or an answer.
  let incomplete: Int
  /// Pairs left out because the capture was interrupted before it came to them.
  let notCaptured: Int

  /// - Throws: `PatchingError.unaligned` unless `skipUnaligned`, and `.noPairs`.
  init(
    _ rows: [PromptPair], prompts: [Prompt], committed: Int, skipUnaligned: Bool
  ) throws(PatchingError) {
    var selected: [PatchingPair] = []
    var numbers: [Int] = []
    var incomplete = 0
    var notCaptured = 0
    var unaligned: [(name: String, clean: Int, corrupted: Int)] = []
    for (number, row) in rows.enumerated() {
      guard let corrupted = row.corrupted, let answer = row.answer, let wrong = row.wrongAnswer
      else {
        incomplete += 1
        continue
      }
      guard 0..<committed ~= row.clean, 0..<committed ~= corrupted else {
        notCaptured += 1
        continue
      }
      let lengths = (prompts[row.clean].tokens.count, prompts[corrupted].tokens.count)
      guard lengths.0 == lengths.1 else {
        unaligned.append((row.id ?? "\(number)", lengths.0, lengths.1))
        continue
      }
      selected.append(
        PatchingPair(
          id: row.id, clean: row.clean, corrupted: corrupted, answer: answer, wrongAnswer: wrong))
      numbers.append(number)
    }
    if let first = unaligned.first, !skipUnaligned {
      throw .unaligned(
        pair: first.name, clean: first.clean, corrupted: first.corrupted, count: unaligned.count)
    }
    guard !selected.isEmpty else {
      throw .noPairs(rows: rows.count, unaligned: unaligned.count, notCaptured: notCaptured)
    }
    pairs = selected
    self.numbers = numbers
    self.unaligned = unaligned.count
    self.incomplete = incomplete
    self.notCaptured = notCaptured
  }

  /// - Throws: `PatchingError.unknownToken` for an answer that the model has no logit for.
  func checkTokens(vocabulary: Int) throws(PatchingError) {
    for (pair, number) in zip(pairs, numbers) {
      for token in [pair.answer, pair.wrongAnswer]
      where token < 0 || token >= Int32(clamping: vocabulary) {
        throw .unknownToken(pair: pair.id ?? "\(number)", token: token, vocabulary: vocabulary)
      }
    }
  }

  /// - Throws: `PatchingError.noSuchPosition` for a position that no pair has.
  func checkPosition(_ position: Int, prompts: [Prompt]) throws(PatchingError) {
    let longest = pairs.map { prompts[$0.clean].tokens.count }.max() ?? 0
    guard -longest..<longest ~= position else {
      throw .noSuchPosition(position, longest: longest)
    }
  }

  func name(of index: Int) -> String { pairs[index].id ?? "\(numbers[index])" }
}
