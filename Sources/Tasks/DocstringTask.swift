import Model
import Patching

/// The next argument of a docstring, after Heimersheim and Janiak 2023 ("A circuit for Python docstrings
/// in a 4-layer attention-only transformer"): a function of four arguments A to D, of which A and B are
/// described, and C comes next.
///
/// Names and descriptions are random words. Roles: A_def to D_def, A_doc, B_doc and END.
public struct DocstringTask: PromptTask {
  /// What is changed in the corrupted prompt.
  public enum Corruption: String, Sendable, CaseIterable {
    /// C in the function's head is another word, which is then the wrong answer.
    case answer
    /// All four arguments in the head are other words; the wrong answer is the one in C's place.
    case definition = "def"
    /// A and B in the docstring are other words; the wrong answer is D.
    case documentation = "doc"
  }

  public let name = "docstring"
  public let supply: WordSupply
  private let words: [String]
  private let corruption: Corruption

  /// Words that arguments may have as names, each one token in GPT-2's vocabulary.
  public static let words = WordList(
    "words",
    """
    account address angle area balance band base block board body book border box branch bridge budget
    camera card case center chain chair chart child circle city clock code color column cost count
    cover culture data date degree depth design door edge effect engine error event farm field file
    filter fish flag floor focus force frame function game garden gate glass gold grade graph grid group
    guide hall hand head heart height home host house image index island item job key label lake
    language layer length letter level limit line link list load map mark market mass matter method
    minute mirror mode model moment month mouth network node note number object office option order
    origin owner page pair paper parent park part path pattern phone picture piece place plan plane
    plate point pool port power price process profile project queue race radio range rate ratio record
    region report result ring river road role roof room root route row rule sample scale scene school
    score screen season seat section sequence series service shape sheet ship shop side signal size
    skill slot smoke song source space speed stage star state station status step stock stone store
    stream street string structure style subject surface switch symbol system table target task team
    term test text theme time title tone tool top total touch tower town track trade train tree trial
    trip truck type unit update user valley value version video view voice volume wall water wave week
    weight wheel width wind window wing winter word work world year zone
    """)

  /// - Throws: `TaskError.tooFewWords`.
  public init(
    tokenizer: Tokenizer, words: WordList = DocstringTask.words, corruption: Corruption = .answer
  ) throws(TaskError) {
    self.corruption = corruption
    var supply = WordSupply()
    self.words = supply.take(words, needed: DocstringTask.wordsARow, tokenizer)
    try supply.check(name)
    self.supply = supply
  }

  /// The function, four arguments, seven words of description, four words for the corrupted prompt.
  private static let wordsARow = 16

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let drawn = random.sample(DocstringTask.wordsARow, of: words)
    let arguments = Array(drawn[1..<5])
    let other = Array(drawn[12..<16])
    let description = Array(drawn[5..<12])
    var changed = (head: arguments, documented: Array(arguments[..<2]))
    var wrong = other[2]
    switch corruption {
    case .answer: changed.head[2] = other[2]
    case .definition: changed.head = other
    case .documentation:
      changed.documented = Array(other[..<2])
      wrong = arguments[3]
    }
    return RowDraft(
      clean: text(drawn[0], arguments, Array(arguments[..<2]), description),
      corrupted: text(drawn[0], changed.head, changed.documented, description).text,
      answer: " " + arguments[2], wrongAnswer: " " + wrong, template: name)
  }

  private func text(
    _ function: String, _ head: [String], _ documented: [String], _ description: [String]
  ) -> MarkedText {
    var text = MarkedText("\ndef \(function)(self")
    for (letter, argument) in zip("ABCD", head) {
      text.append(",")
      text.append(" \(argument)", role: "\(letter)_def")
    }
    text.append("):\n    \"\"\"\(description[..<3].joined(separator: " "))\n")
    for (index, (letter, argument)) in zip("AB", documented).enumerated() {
      text.append("\n    :param")
      text.append(" \(argument)", role: "\(letter)_doc")
      text.append(": \(description[3 + 2 * index]) \(description[4 + 2 * index])")
    }
    text.append("\n    :param")
    return text
  }
}
