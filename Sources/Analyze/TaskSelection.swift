import CacheFormat
import Patching
import Terminal

/// What a row of the prompt file must have.
struct TaskNeeds {
  let corrupted, answer, wrongAnswer: Bool

  init(_ metrics: [AnswerMetric], _ direction: Direction, _ source: PatchSource) {
    // Effects of patches are normalised by the gap between the answers of two runs.
    let isPatch = direction != .ablate
    let isMeanOfCorrupted = if case .mean(_, over: .corrupted) = source { true } else { false }
    corrupted = isPatch || isMeanOfCorrupted
    answer = isPatch || metrics.contains(where: \.readsAnswer)
    wrongAnswer = isPatch || metrics.contains(where: \.readsWrongAnswer)
  }

  init(corrupted: Bool, answer: Bool, wrongAnswer: Bool) {
    (self.corrupted, self.answer, self.wrongAnswer) = (corrupted, answer, wrongAnswer)
  }

  /// In words.
  var description: String {
    let parts = [
      (corrupted, "a corrupted prompt"), (answer, "an answer"), (wrongAnswer, "a wrong answer"),
    ].filter(\.0).map(\.1)
    guard let last = parts.last, parts.count > 1 else { return parts.first ?? "a prompt" }
    return parts.dropLast().joined(separator: ", ") + " and " + last
  }
}

/// The pairs of a cache that can be patched, and those that cannot.
struct TaskSelection {
  /// The pairs to patch.
  let pairs: [PatchingPair]
  /// The numbers that `pairs` have among all rows of the prompt file.
  let numbers: [Int]
  /// Pairs left out because their prompts differ in length.
  let unaligned: Int
  /// Rows left out because they lack a corrupted prompt or an answer.
  let incomplete: Int
  let needs: TaskNeeds
  /// Pairs left out because the capture was interrupted before it came to them.
  let notCaptured: Int

  /// - Throws: `PatchingError.unaligned` unless `skipUnaligned`, and `.noPairs`.
  init(
    _ rows: [PromptPair], prompts: [Prompt], committed: Int, needs: TaskNeeds,
    skipUnaligned: Bool
  ) throws(PatchingError) {
    var selected: [PatchingPair] = []
    var numbers: [Int] = []
    var incomplete = 0
    var notCaptured = 0
    var unaligned: [(name: String, clean: Int, corrupted: Int)] = []
    for (number, row) in rows.enumerated() {
      guard row.corrupted != nil || !needs.corrupted, row.answer != nil || !needs.answer,
        row.wrongAnswer != nil || !needs.wrongAnswer
      else {
        incomplete += 1
        continue
      }
      let corrupted = needs.corrupted ? row.corrupted ?? row.clean : row.clean
      guard 0..<committed ~= row.clean, 0..<committed ~= corrupted else {
        notCaptured += 1
        continue
      }
      let lengths = (prompts[row.clean].tokens.count, prompts[corrupted].tokens.count)
      guard lengths.0 == lengths.1 else {
        unaligned.append((row.id ?? "\(number)", lengths.0, lengths.1))
        continue
      }
      selected.append(
        PatchingPair(
          id: row.id, clean: row.clean, corrupted: corrupted, answer: row.answer,
          wrongAnswer: row.wrongAnswer, roles: rolePositions(of: row, length: lengths.0),
          template: row.template))
      numbers.append(number)
    }
    if let first = unaligned.first, !skipUnaligned {
      throw .unaligned(
        pair: first.name, clean: first.clean, corrupted: first.corrupted, count: unaligned.count)
    }
    guard !selected.isEmpty else {
      throw .noPairs(
        rows: rows.count, unaligned: unaligned.count, notCaptured: notCaptured,
        needs: needs.description)
    }
    self.needs = needs
    pairs = selected
    self.numbers = numbers
    self.unaligned = unaligned.count
    self.incomplete = incomplete
    self.notCaptured = notCaptured
  }

  /// The roles of all pairs, in the order in which they stand in prompts on average.
  var roles: [String] {
    var places: [String: (sum: Int, count: Int)] = [:]
    for (name, positions) in pairs.flatMap({ Array($0.roles) }) {
      places[name, default: (0, 0)].sum += positions.lowerBound
      places[name, default: (0, 0)].count += 1
    }
    return places.mapValues { Double($0.sum) / Double($0.count) }
      .sorted { ($0.value, $0.key) < ($1.value, $1.key) }.map(\.key)
  }

  /// - Throws: `PatchingError.unknownToken` for an answer that the model has no logit for.
  func checkTokens(vocabulary: Int) throws(PatchingError) {
    for (pair, number) in zip(pairs, numbers) {
      for token in [pair.answer, pair.wrongAnswer].compactMap({ $0 })
      where token < 0 || token >= Int32(clamping: vocabulary) {
        throw .unknownToken(pair: pair.id ?? "\(number)", token: token, vocabulary: vocabulary)
      }
    }
  }

  /// - Throws: `PatchingError.noSuchPosition`, `.noSuchRole` for a place that no pair has.
  func checkPlaces(of sweep: Sweep, prompts: [Prompt]) throws(PatchingError) {
    try check(
      [sweep.place] + sweep.list.flatMap { $0.patches.flatMap { [$0.place, $0.key] } },
      prompts: prompts)
  }

  /// - Throws: `PatchingError.noSuchPosition`, `.noSuchRole` for a place that no pair has.
  func check(_ places: [Place?], prompts: [Prompt]) throws(PatchingError) {
    let longest = pairs.map { prompts[$0.clean].tokens.count }.max() ?? 0
    for place in places {
      switch place {
      case .index(let position) where !(-longest..<longest ~= position):
        throw .noSuchPosition(position, longest: longest)
      case .role(let role)
      where !pairs.contains {
        place?.positions(roles: $0.roles, length: prompts[$0.clean].tokens.count) != nil
      }:
        throw .noSuchRole(role, known: roles)
      default: break
      }
    }
  }

  /// What was left out, in words.
  var leftOut: [String] {
    var lines: [String] = []
    if unaligned > 0 { lines.append("left out: \(counted(unaligned, "pair")) of unequal length") }
    if incomplete > 0 {
      lines.append("left out: \(counted(incomplete, "row")) without \(needs.description)")
    }
    if notCaptured > 0 {
      lines.append("left out: \(counted(notCaptured, "pair")) that the capture did not come to")
    }
    return lines
  }

  func name(of index: Int) -> String { pairs[index].id ?? "\(numbers[index])" }
}

/// The positions of a row's roles, with the last position as END and the subject's tokens, unless the
/// row has other roles of these names.
func rolePositions(of row: PromptPair, length: Int) -> [String: Range<Int>] {
  var roles = ["END": max(0, length - 1)..<length]
  if let subject = row.subject, subject.count == 2, 0 <= subject[0], subject[0] < subject[1] {
    roles["subject"] = subject[0]..<subject[1]
  }
  for (name, position) in row.roles ?? [:] where 0..<length ~= position {
    roles[name] = position..<(position + 1)
  }
  return roles.filter { $0.value.upperBound <= length }
}
