import Model
import Patching

/// Indirect object identification after Wang et al. 2022 ("Interpretability in the wild"): of two
/// names, one is said again as the one who gives, and the other is who receives.
///
/// Templates and orders take turns, so that each is as frequent as every other one. The answer is IO and
/// the wrong one S, whatever the corruption. Roles: IO, S1, S1+1 (the token after S1), S2 and END; the
/// template of a row is `ioi-NN-ABBA` or `ioi-NN-BABA`.
public struct IOITask: PromptTask {
  public let name = "ioi"
  public let templates: [Int]
  public let orders: [IOIOrder]
  /// Of the names, places and objects, those that are one token, and how many there are.
  public let supply: WordSupply
  private let words: IOIWords
  private let names, places, objects: [String]
  private let corruption: IOICorruption

  /// - Parameters:
  ///   - templates: their numbers; nil or none for all.
  ///   - orders: one or both.
  /// - Throws: `TaskError.tooFewWords`, `.noSuchTemplate`.
  public init(
    _ words: IOIWords = .standard, tokenizer: Tokenizer, templates: [Int]? = nil,
    orders: [IOIOrder] = IOIOrder.allCases, corruption: IOICorruption
  ) throws(TaskError) {
    self.words = words
    self.templates =
      templates.flatMap { $0.isEmpty ? nil : $0 } ?? Array(words.templates.indices)
    for number in self.templates where !words.templates.indices.contains(number) {
      throw .noSuchTemplate(number, count: words.templates.count)
    }
    if self.templates.isEmpty { throw .noSuchTemplate(0, count: 0) }
    self.orders = orders.isEmpty ? IOIOrder.allCases : orders
    self.corruption = corruption
    var supply = WordSupply()
    names = supply.take(words.names, needed: 2 + corruption.freshCount, tokenizer)
    places = supply.take(words.places, needed: 1, tokenizer)
    objects = supply.take(words.objects, needed: 1, tokenizer)
    try supply.check(name)
    self.supply = supply
  }

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let (round, turn) = number.quotientAndRemainder(dividingBy: templates.count)
    let template = templates[turn]
    let order = orders[(turn + round) % orders.count]
    let drawn = random.sample(2 + corruption.freshCount, of: names)
    let place = random.choice(places)
    let object = random.choice(objects)
    return IOIPrompt(
      template: words.templates[template], order: order, io: drawn[0], subject: drawn[1],
      place: place, object: withArticle(object)
    ).draft(
      corruption, fresh: Array(drawn[2...]),
      template: "ioi-\(template < 10 ? "0" : "")\(template)-\(order.rawValue)")
  }
}

/// "an apple", "a drum".
private func withArticle(_ noun: String) -> String {
  (noun.first.map { "aeiou".contains($0) } == true ? "an " : "a ") + noun
}

/// What the gaps of an IOI template are filled with.
struct IOIPrompt: Sendable {
  let template: String
  let order: IOIOrder
  let io, subject, place: String
  /// With its article.
  let object: String

  /// - Parameter fresh: names that the corruption takes besides.
  func draft(_ corruption: IOICorruption, fresh: [String] = [], template name: String) -> RowDraft {
    let names = order == .abba ? [io, subject, subject] : [subject, io, subject]
    let others = corruption.letters(order, io: io, subject: subject, fresh: fresh)
    let roles = order == .abba ? ["A": "IO", "B": "S1"] : ["A": "S1", "B": "IO"]
    let s1 = order == .abba ? "B" : "A"
    return RowDraft(
      clean: MarkedText(
        filling: template, gaps(names), roles: roles.merging(["S": "S2"]) { $1 },
        following: [s1: "S1+1"]),
      corrupted: MarkedText(filling: template, gaps(others)).text, answer: " " + io,
      wrongAnswer: " " + subject, template: name)
  }

  private func gaps(_ names: [String]) -> [String: String] {
    ["A": names[0], "B": names[1], "S": names[2], "PLACE": place, "OBJECT": object]
  }
}
