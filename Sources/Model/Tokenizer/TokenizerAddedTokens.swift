/// A token that is found in the text as a whole, before the rest is split into words.
struct AddedToken: Sendable, Equatable {
  /// Its text in UTF-8.
  var content: [UInt8]
  /// Whether it takes the white space before it.
  var stripsLeft = false
  /// Whether it takes the white space after it.
  var stripsRight = false
  /// Whether it is sought in normalised text, that is, after those that are not. GPT-2 changes
  /// nothing when it normalises.
  var normalized = true
  var special = false
}

/// The added tokens of a tokenizer, found as Hugging Face's tokenizers find them.
struct AddedTokens: Sendable {
  /// A piece of a text.
  enum Part {
    case token(Int32)
    case text(Range<Int>)
  }

  private(set) var tokens: [Int32: AddedToken] = [:]
  /// Those sought in a first pass, and those sought in what that leaves.
  private var first = TokenFinder()
  private var second = TokenFinder()
  private var specials: Set<[UInt8]> = []

  /// Adds a token, or gives one new flags.
  mutating func add(_ token: AddedToken, id: Int32) {
    // A special token stays in the pass in which it was first added.
    let isNewSpecial = token.special && specials.insert(token.content).inserted
    guard tokens[id] != token || isNewSpecial else { return }
    tokens[id] = token
    guard isNewSpecial || !specials.contains(token.content) else { return }
    if token.normalized {
      second.add(token.content, id: id)
    } else {
      first.add(token.content, id: id)
    }
  }

  func parts(of text: UnsafeBufferPointer<UInt8>) -> [Part] {
    var parts: [Part] = []
    find(first, in: text, 0..<text.count) { part in
      if case .text(let range) = part {
        find(second, in: text, range) { parts.append($0) }
      } else {
        parts.append(part)
      }
    }
    return parts
  }

  private func find(
    _ finder: TokenFinder, in text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>,
    _ body: (Part) -> Void
  ) {
    var done = range.lowerBound
    var position = range.lowerBound
    while let match = finder.firstMatch(in: text, position..<range.upperBound) {
      position = match.end
      let token = tokens[match.id]
      var start = match.start
      var end = match.end
      if token?.stripsLeft == true {
        start = max(spacesBefore(start, in: text, from: range.lowerBound), done)
      }
      if token?.stripsRight == true {
        end = spacesAfter(end, in: text, to: range.upperBound)
      }
      if done < start { body(.text(done..<start)) }
      body(.token(match.id))
      done = end
    }
    if done < range.upperBound { body(.text(done..<range.upperBound)) }
  }

  private func spacesBefore(
    _ end: Int, in text: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> Int {
    var end = end
    while end > start {
      var index = end - 1
      while index > start, text[index] & 0xC0 == 0x80 { index -= 1 }
      guard scalarAt(index, in: text).properties.isWhitespace else { break }
      end = index
    }
    return end
  }

  private func spacesAfter(
    _ start: Int, in text: UnsafeBufferPointer<UInt8>, to end: Int
  ) -> Int {
    var start = start
    while start < end {
      let scalar = scalarAt(start, in: text)
      guard scalar.properties.isWhitespace else { break }
      start += UTF8.width(scalar)
    }
    return start
  }
}

/// Finds the leftmost of some byte strings in a text, the longest of those that begin there.
private struct TokenFinder: Sendable {
  /// By first byte, the longest first.
  private var candidates = [[(content: [UInt8], id: Int32)]](repeating: [], count: 256)
  private var isEmpty = true

  mutating func add(_ content: [UInt8], id: Int32) {
    guard let first = content.first else { return }
    isEmpty = false
    let list = candidates[Int(first)]
    guard !list.contains(where: { $0.content == content }) else { return }
    let place = list.firstIndex { $0.content.count < content.count } ?? list.count
    candidates[Int(first)].insert((content, id), at: place)
  }

  func firstMatch(
    in text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>
  ) -> (id: Int32, start: Int, end: Int)? {
    if isEmpty { return nil }
    for start in range {
      for (content, id) in candidates[Int(text[start])] {
        let end = start + content.count
        if end <= range.upperBound, text[start..<end].elementsEqual(content) {
          return (id, start, end)
        }
      }
    }
    return nil
  }
}
