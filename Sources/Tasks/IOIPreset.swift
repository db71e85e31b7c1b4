import Patching

/// IOI prompts that others have published numbers for, as they stand.
public struct IOIPreset: PromptTask {
  public let name: String
  private let prompts: [IOIPrompt]
  private let corruption: IOICorruption

  public var fixedCount: Int? { prompts.count }

  /// The eight prompts of ARENA's exercises and of TransformerLens's demos: four sentences with each of
  /// their names as the subject. The corruption says the other name at S2.
  public static func arena() throws(TaskError) -> IOIPreset {
    let sentences = [
      ("When {A} and {B} went to the shops, {S} gave {OBJECT} to", "John", "Mary", "the bag"),
      ("When {A} and {B} went to the park, {S} gave {OBJECT} to", "Tom", "James", "the ball"),
      ("When {A} and {B} went to the shops, {S} gave {OBJECT} to", "Dan", "Sid", "an apple"),
      ("After {A} and {B} went to the park, {S} gave {OBJECT} to", "Martin", "Amy", "a drink"),
    ]
    let prompts = sentences.enumerated().flatMap { number, sentence in
      let (template, first, second, object) = sentence
      let baba = IOIPrompt(
        template: template, order: .baba, io: second, subject: first, place: "", object: object)
      let abba = IOIPrompt(
        template: template, order: .abba, io: first, subject: second, place: "", object: object)
      // ARENA takes the first name as the subject first in the first sentence, the second in the others.
      return number == 0 ? [baba, abba] : [abba, baba]
    }
    return IOIPreset(name: "arena", prompts: prompts, corruption: try IOICorruption("s2"))
  }

  /// Five prompts whose corruption exchanges the names everywhere.
  public static func seed1() throws(TaskError) -> IOIPreset {
    let prompts = [
      ("Mary", "John", "store", "a drink"), ("Alice", "Bob", "park", "a ball"),
      ("Emma", "James", "restaurant", "a menu"), ("Sarah", "Michael", "library", "a book"),
      ("Lisa", "David", "office", "a report"),
    ].map { io, subject, place, object in
      IOIPrompt(
        template: "When {A} and {B} went to the {PLACE}, {S} gave {OBJECT} to", order: .abba,
        io: io, subject: subject, place: place, object: object)
    }
    return IOIPreset(name: "seed1", prompts: prompts, corruption: try IOICorruption("names"))
  }

  public func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft {
    let prompt = prompts[number]
    return prompt.draft(
      corruption, template: "\(name)-\(templateNumber(prompt))-\(prompt.order.rawValue)")
  }

  /// The number of the sentence among the different ones.
  private func templateNumber(_ prompt: IOIPrompt) -> Int {
    var seen: [String] = []
    for other in prompts where !seen.contains(other.template) { seen.append(other.template) }
    return seen.firstIndex(of: prompt.template) ?? 0
  }
}
