import Model
import Patching

/// Comparison of years after Hanna et al. 2023 ("How does GPT-2 compute greater-than?"): something began
/// in the year 17YY, and lasted until a year of the same century.
///
/// The answer is the two digits of a later year, the wrong one those of a year that is not later. In the
/// corrupted prompt it began in the year 01, after which both are later: the gap of the logit
/// difference between the prompts is what the model knows of YY. Roles: event, century, year (YY) and
/// END, the second century.
public struct GreaterThanTask: PromptTask {
  public let name = "greater-than"
  /// A century and the last two digits of a year, each a token of the year.
  struct Year: Sendable, Equatable {
    let century, digits: Int
  }

  let years: [Year]
  public let supply: WordSupply
  private let events: [String]

  /// What can last, each one token in GPT-2's vocabulary.
  public static let events = WordList(
    "events",
    """
    war siege campaign reign voyage expedition drought famine plague trial strike occupation rebellion
    conflict dispute alliance project construction festival tour treaty journey dynasty rule career
    exile revolution boom crisis survey work debate epidemic investigation empire marriage
    """)

  /// - Throws: `TaskError.tooFewWords`, and `.tokenizerLacks` if years are not a token for the century
  ///   and one for the year in it.
  public init(tokenizer: Tokenizer, events: WordList = GreaterThanTask.events) throws(TaskError) {
    var supply = WordSupply()
    self.events = supply.take(events, needed: 1, tokenizer)
    let all = (11...17).flatMap { century in
      (2...98).map { Year(century: century, digits: $0) }
    }
    func splits(_ year: Year) -> Bool {
      let parts = [" \(year.century)", twoDigits(year.digits)].map { tokenizer.encode($0) }
      return parts.allSatisfy { $0.count == 1 }
        && tokenizer.encode(parts: parts) == parts.flatMap { $0 }
    }
    let centuries = Set((11...17).filter { splits(Year(century: $0, digits: 1)) })
    years = all.filter { centuries.contains($0.century) && splits($0) }
    guard !years.isEmpty else {
      throw .tokenizerLacks(
        task: name, what: "years are one token for the century and one for the year in it",
        usable: 0, total: all.count, needed: 1)
    }
    try supply.check(name)
    self.supply = supply
  }

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let event = random.choice(events)
    let year = random.choice(years)
    let later = year.digits + 1 + random.index(below: 99 - year.digits)
    let notLater = 2 + random.index(below: year.digits - 1)
    var clean = MarkedText("The")
    clean.append(" \(event)", role: "event")
    clean.append(" lasted from the year")
    clean.append(" \(year.century)", role: "century")
    clean.append(twoDigits(year.digits), role: "year")
    clean.append(" to the year")
    clean.append(" \(year.century)")
    return RowDraft(
      clean: clean,
      corrupted: "The \(event) lasted from the year \(year.century)01 to the year \(year.century)",
      answer: twoDigits(later), wrongAnswer: twoDigits(notLater), template: name)
  }
}

private func twoDigits(_ number: Int) -> String { (number < 10 ? "0" : "") + String(number) }

extension Tokenizer {
  /// The tokens of the text that tokens make together.
  fileprivate func encode(parts: [[Int32]]) -> [Int32] {
    encode(decode(parts.flatMap { $0 }))
  }
}
