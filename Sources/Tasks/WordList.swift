import Model

/// Words of one kind, to fill a gap of a template.
public struct WordList: Sendable, Equatable {
  /// In the plural, such as `names`.
  public let name: String
  public let words: [String]

  public init(_ name: String, _ words: [String]) {
    self.name = name
    self.words = words
  }

  /// The words of `text`, separated by white space.
  public init(_ name: String, _ text: String) {
    self.init(name, text.split(whereSeparator: \.isWhitespace).map(String.init))
  }

  /// The words that are one token with a space in front.
  public func usable(_ tokenizer: Tokenizer) -> [String] {
    words.filter { tokenizer.encode(" " + $0).count == 1 }
  }
}

/// How much of word lists a tokenizer leaves.
public struct WordSupply: Sendable, Equatable {
  public struct Entry: Sendable, Equatable {
    public let list: String
    public let usable, total, needed: Int
  }

  public private(set) var entries: [Entry] = []

  /// The usable words of a list.
  ///
  /// - Parameter needed: how many a row takes.
  mutating func take(_ list: WordList, needed: Int, _ tokenizer: Tokenizer) -> [String] {
    let usable = list.usable(tokenizer)
    entries.append(
      Entry(list: list.name, usable: usable.count, total: list.words.count, needed: needed))
    return usable
  }

  /// - Throws: `TaskError.tooFewWords` if a list has too few for a row.
  func check(_ task: String) throws(TaskError) {
    guard entries.allSatisfy({ $0.usable >= $0.needed }) else {
      throw .tooFewWords(task: task, entries)
    }
  }
}
