import Model
import Patching

/// Random words, and then the first of them again: what followed the last word the first time follows it
/// again (Elhage et al. 2021; Olsson et al. 2022).
///
/// The answer is the word that came next the first time; the corrupted prompt has another word in
/// its place, which is the wrong answer. Where all of the first round comes again, that is the first word of the
/// second. Roles: A, the first occurrence of the last word; B, the word
/// after it, which is to be copied; and END.
public struct InductionTask: PromptTask {
  public let name = "induction"
  /// Words in the first round, and how many of them come again.
  public let length, repeated: Int
  /// Tokens that are a space and letters, and that their own text is split into.
  public let vocabulary: [Int32]
  private let tokenizer: Tokenizer

  /// - Throws: `TaskError.badLengths`, and `.tokenizerLacks` if there are not enough words.
  public init(tokenizer: Tokenizer, length: Int = 10, repeated: Int = 6) throws(TaskError) {
    guard length >= 2, length <= 1 << 20, 1...length ~= repeated else {
      throw .badLengths(length: length, repeated: repeated)
    }
    self.length = length
    self.repeated = repeated
    self.tokenizer = tokenizer
    vocabulary = (0..<Int32(clamping: tokenizer.count)).filter { id in
      let bytes = tokenizer.bytes(of: id)
      return bytes.count >= 3 && bytes[0] == UInt8(ascii: " ")
        && bytes.dropFirst().allSatisfy({ UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20 })
        && tokenizer.encode(String(decoding: bytes, as: UTF8.self)) == [id]
    }
    guard vocabulary.count > length else {
      throw .tokenizerLacks(
        task: name, what: "tokens are words of letters with a space in front",
        usable: vocabulary.count, total: tokenizer.count, needed: length + 1)
    }
  }

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let drawn = random.sample(length + 1, of: vocabulary)
    let tokens = Array(drawn[..<length] + drawn[..<repeated])
    var changed = tokens
    changed[repeated] = drawn[length]
    var clean = MarkedText()
    for (index, token) in tokens.enumerated() {
      clean.append(
        tokenizer.decode([token]),
        role: index == repeated - 1 ? "A" : index == repeated ? "B" : nil)
    }
    return RowDraft(
      clean: clean, corrupted: tokenizer.decode(changed),
      answer: tokenizer.decode([tokens[repeated]]),
      wrongAnswer: tokenizer.decode([changed[repeated]]), template: name, tokens: tokens)
  }
}
