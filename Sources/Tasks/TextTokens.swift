/// The tokens of a text as stretches of its bytes.
struct TextTokens {
  private let text: [UInt8]
  /// The byte offset at which each token ends.
  private let ends: [Int]

  /// - Parameter byteCounts: how many bytes each token stands for.
  init(text: String, byteCounts: [Int]) {
    self.text = Array(text.utf8)
    var end = 0
    ends = byteCounts.map { count in
      end += count
      return end
    }
  }

  /// Names the token that holds a mark: by a text that ends with it and occurs once in the prompt,
  /// which holds for any tokenizer with and without `<|endoftext|>`; and where there is no such text,
  /// by its position from the end.
  func place(of mark: MarkedText.Mark) throws(RowRejection) -> TaskRow.Place {
    guard ends.last == text.count else { throw .tokensDoNotSpellText }
    guard mark.byte < text.count, let token = ends.firstIndex(where: { $0 > mark.byte }) else {
      throw .markOutsideText(role: mark.role)
    }
    let position = TaskRow.Place.position(token - ends.count)
    if token == ends.count - 1 { return position }
    for first in (0...token).reversed() {
      let bytes = text[(first == 0 ? 0 : ends[first - 1])..<ends[token]]
      guard let found = String(validating: bytes, as: UTF8.self) else { continue }
      if occurrences(of: found) == 1 { return .text(found) }
    }
    return position
  }

  /// How often a text occurs, overlapping occurrences counted one by one.
  func occurrences(of part: String) -> Int {
    let wanted = Array(part.utf8)
    guard !wanted.isEmpty, wanted.count <= text.count else { return 0 }
    return (0...text.count - wanted.count).count { offset in
      text[offset] == wanted[0] && text[offset...].starts(with: wanted)
    }
  }
}
