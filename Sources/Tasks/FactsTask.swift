import Model
import Patching

/// A fact: a subject, a relation and an object.
public struct Fact: Sendable, Equatable {
  public let subject: String
  /// The prompt, with `{}` for the subject.
  public let relation: String
  /// What follows the prompt, without the space in front.
  public let object: String
  /// Where it stands, in words.
  public let source: String

  public init(subject: String, relation: String, object: String, source: String) {
    self.subject = subject
    self.relation = relation
    self.object = object
    self.source = source
  }

  func differs(from other: Fact) -> Bool { object != other.object && subject != other.subject }

  var prompt: String {
    MarkedText(filling: relation, ["": subject]).text
  }
}

/// Facts to be traced (Meng et al. 2022) or patched: a row a fact, in their order.
///
/// The corrupted prompt says another subject of the same relation, drawn among those that have another
/// object and as many tokens; its object is the wrong answer. The row's subject is filled in, and the
/// role subject_last is its last token. The template is the relation.
public struct FactsTask: PromptTask {
  public let name = "facts"
  public let facts: [Fact]
  /// Facts without a corrupted prompt: no other one fits.
  public let unpaired: Int
  /// By fact: what it shares with those that it can be paired with; empty if prompts are not paired.
  private let keys: [String]
  /// By key: the facts whose objects can be answers.
  private let groups: [String: [Int]]

  public var fixedCount: Int? { facts.count }

  /// - Parameter isPaired: whether prompts get a corrupted counterpart.
  public init(_ facts: [Fact], tokenizer: Tokenizer, isPaired: Bool = true) {
    self.facts = facts
    var groups: [String: [Int]] = [:]
    var keys: [String] = []
    if isPaired {
      keys = facts.map { "\(tokenizer.encode($0.prompt).count) \($0.relation)" }
      // An object that is not one token cannot be a wrong answer.
      for (index, fact) in facts.enumerated()
      where tokenizer.encode(" " + fact.object).count == 1 {
        groups[keys[index], default: []].append(index)
      }
    }
    unpaired = keys.indices.count { index in
      !(groups[keys[index]] ?? []).contains { facts[$0].differs(from: facts[index]) }
    }
    (self.keys, self.groups) = (keys, groups)
  }

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let fact = facts[number]
    let partners =
      keys.isEmpty ? [] : (groups[keys[number]] ?? []).filter { facts[$0].differs(from: fact) }
    let partner = partners.isEmpty ? nil : facts[random.choice(partners)]
    return RowDraft(
      clean: MarkedText(filling: fact.relation, ["": fact.subject], roles: ["": "subject_last"]),
      corrupted: partner?.prompt, answer: " " + fact.object,
      wrongAnswer: partner.map { " " + $0.object }, template: fact.relation, subject: fact.subject,
      source: fact.source)
  }
}
