/// How the names of an IOI prompt are changed.
///
/// A prompt says three names: IO, S1 and S2, in the order ABB (IO first) or BAB (S1 first), A for the
/// indirect object and B for the subject. A corruption says what stands at these three places instead:
/// `ABB->CDD, BAB->DCD` puts fresh names in both. Any letter but A and B is a fresh name.
///
/// This is the notation of `gen_flipped_prompts` in ARENA's IOI dataset.
public struct IOICorruption: Sendable, Equatable {
  /// What replaces A, B, B of a prompt that says IO first.
  let abb: [Character]
  /// What replaces B, A, B of a prompt that says S1 first.
  let bab: [Character]

  /// - Parameter text: one of `named`, or a pattern.
  /// - Throws: `TaskError.badCorruption` for what is neither, or changes nothing.
  public init(_ text: String) throws(TaskError) {
    let pattern = IOICorruption.named.first { $0.name == text }?.pattern ?? text
    let parts = pattern.filter { !$0.isWhitespace }.split(
      separator: ",", omittingEmptySubsequences: false)
    var results: [String: [Character]] = [:]
    for part in parts {
      let sides = part.split(separator: "->", omittingEmptySubsequences: false).map(String.init)
      guard sides.count == 2, ["ABB", "BAB"].contains(sides[0]), results[sides[0]] == nil,
        sides[1].count == 3, sides[1].allSatisfy({ $0.isASCII && $0.isUppercase }),
        sides[0] != sides[1]
      else { throw .badCorruption(text) }
      results[sides[0]] = Array(sides[1])
    }
    guard let abb = results["ABB"], let bab = results["BAB"] else { throw .badCorruption(text) }
    self.abb = abb
    self.bab = bab
  }

  public struct Named: Sendable {
    public let name, pattern, meaning: String
  }

  /// The usual corruptions. The six that leave the answer's name or its place as it is, or turn it
  /// round, take position and token signal apart (Wang et al. 2022, appendix A; ARENA).
  public static let named = [
    Named(
      name: "s2", pattern: "ABB->ABA, BAB->BAA",
      meaning: "S2 is the other name: names and places exchanged, the answer turns round"),
    Named(
      name: "names", pattern: "ABB->BAA, BAB->ABA",
      meaning: "names exchanged everywhere, places kept: the answer turns round"),
    Named(
      name: "order", pattern: "ABB->BAB, BAB->ABB",
      meaning: "IO and S1 exchanged, names kept: the same answer at the other place"),
    Named(
      name: "random-names", pattern: "ABB->CDD, BAB->DCD",
      meaning: "fresh names, places kept"),
    Named(
      name: "random-names-order", pattern: "ABB->DCD, BAB->CDD",
      meaning: "fresh names, places exchanged"),
    Named(name: "abc", pattern: "ABB->XYZ, BAB->XYZ", meaning: "three fresh names: no answer"),
    Named(name: "io-random", pattern: "ABB->CBB, BAB->BCB", meaning: "IO is a fresh name"),
    Named(name: "s-random", pattern: "ABB->ACC, BAB->CAC", meaning: "S1 and S2 are a fresh name"),
    Named(name: "s1-random", pattern: "ABB->ACB, BAB->CAB", meaning: "S1 is a fresh name"),
    Named(name: "s2-random", pattern: "ABB->ABC, BAB->BAC", meaning: "S2 is a fresh name"),
    Named(name: "s-io", pattern: "ABB->AAA, BAB->AAA", meaning: "S1 and S2 are IO's name too"),
  ]

  /// How many names it takes that the prompt does not say.
  var freshCount: Int { Set(abb + bab).subtracting(["A", "B"]).count }

  /// The three names in their order, by letter.
  ///
  /// - Parameter fresh: `freshCount` names.
  func letters(_ order: IOIOrder, io: String, subject: String, fresh: [String]) -> [String] {
    let others = Set(abb + bab).subtracting(["A", "B"]).sorted()
    var names: [Character: String] = ["A": io, "B": subject]
    for (letter, name) in zip(others, fresh) { names[letter] = name }
    return (order == .abba ? abb : bab).compactMap { names[$0] }
  }
}

/// Which of the two names comes first.
public enum IOIOrder: String, Sendable, CaseIterable {
  /// The indirect object.
  case abba = "ABBA"
  /// The subject.
  case baba = "BABA"
}
