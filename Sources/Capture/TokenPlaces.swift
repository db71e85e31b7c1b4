/// Finds texts among the tokens of a prompt.
///
/// In byte-level BPE the bytes of the tokens, one after the other, are the bytes of the text, so a
/// byte offset in the text names a token.
struct TokenPlaces {
  private let text: [UInt8]
  /// The byte offset in `text` at which each token ends.
  private let ends: [Int]

  /// - Parameter byteCounts: the bytes that each token stands for; 0 for a BOS before the text.
  init(text: String, byteCounts: [Int]) {
    self.text = Array(text.utf8)
    var end = 0
    ends = byteCounts.map { count in
      end += count
      return end
    }
  }

  /// The position that `place` means: 0 up to the number of tokens.
  func position(of place: PromptRow.Place, role: String) throws(PromptError.Problem) -> Int {
    switch place {
    case .text(let text):
      return try range(of: text, .role(role)).upperBound - 1
    case .position(let typed):
      let position = typed < 0 ? typed + ends.count : typed
      guard ends.indices.contains(position) else {
        throw .positionOutOfRange(role: role, position: typed, tokens: ends.count)
      }
      return position
    }
  }

  /// The tokens that hold the one occurrence of `part`.
  func range(of part: String, _ place: PromptError.Place) throws(PromptError.Problem) -> Range<Int>
  {
    guard ends.last == text.count else { throw .tokensDoNotSpellText }
    let wanted = Array(part.utf8)
    guard !wanted.isEmpty, let start = firstOffset(of: wanted, from: 0) else {
      throw .notInPrompt(place, part)
    }
    // One byte on, not behind the match: overlapping occurrences are two as well.
    if firstOffset(of: wanted, from: start + 1) != nil { throw .ambiguous(place, part) }
    let end = start + wanted.count
    // Tokens end in ascending order, so the first to end beyond a byte is the one that holds it.
    guard let first = ends.firstIndex(where: { $0 > start }),
      let last = ends.firstIndex(where: { $0 >= end })
    else { throw .tokensDoNotSpellText }
    return first..<(last + 1)
  }

  /// The offset of the first occurrence of `wanted` that starts at `from` or after.
  private func firstOffset(of wanted: [UInt8], from: Int) -> Int? {
    let last = text.count - wanted.count
    guard from <= last else { return nil }
    return (from...last).first { offset in
      text[offset] == wanted[0] && text[offset...].starts(with: wanted)
    }
  }
}
