import Model
import Patching

/// Rows of a task, each of them checked against a model's tokenizer.
///
/// In every row the answers are one token each, by themselves and after the clean prompt, and not the
/// same; clean and corrupted prompt have equally many tokens and differ; and no clean prompt comes
/// twice. A row that is not so is drawn again.
public struct TaskRows: Sendable {
  public private(set) var rows: [TaskRow] = []
  /// The shortest and the longest prompt, in tokens, `<|endoftext|>` not counted.
  public private(set) var shortest = Int.max, longest = 0
  /// Draws that were refused and drawn again.
  public private(set) var redrawn = 0
  /// Rows left out that could not be drawn otherwise: where they come from, and why.
  public private(set) var skipped: [(source: String, rejection: RowRejection)] = []

  /// How often a row is drawn at most.
  public static let drawLimit = 1000

  /// Draws rows. The same task, seed and tokenizer give the same rows on every machine, and of two
  /// counts the smaller one gives the first rows of the larger.
  ///
  /// - Parameters:
  ///   - count: how many; of a task that has a fixed number, that number at most.
  ///   - contextLength: the most tokens that the model takes; nil if that is not known.
  ///   - skipUnusable: leaves out a row that can be drawn no other way, instead of throwing.
  /// - Throws: `TaskError.exhausted` if a row was refused `drawLimit` times, `.unusable`,
  ///   `.nothingUsable`.
  public init(
    _ task: some PromptTask, count: Int, seed: UInt64, tokenizer: Tokenizer,
    contextLength: Int? = nil, skipUnusable: Bool = false
  ) throws(TaskError) {
    var random = SplitMix64(state: seed)
    var checker = RowChecker(tokenizer: tokenizer, contextLength: contextLength)
    for number in 0..<max(0, min(count, task.fixedCount ?? count)) {
      var rejections: [RowRejection: Int] = [:]
      var row: TaskRow?
      for _ in 0..<(task.fixedCount == nil ? TaskRows.drawLimit : 1) where row == nil {
        let draft = task.draft(number, using: &random)
        do throws(RowRejection) {
          let (checked, length) = try checker.row(draft, id: "\(task.name)-\(number)")
          row = checked
          shortest = min(shortest, length)
          longest = max(longest, length)
        } catch {
          rejections[error, default: 0] += 1
          redrawn += 1
          guard task.fixedCount != nil else { continue }
          let source = draft.source ?? "row \(number) of \(task.name)"
          guard skipUnusable else { throw .unusable(task: task.name, source: source, error) }
          skipped.append((source, error))
        }
      }
      if let row {
        rows.append(row)
      } else if task.fixedCount == nil {
        throw .exhausted(
          task: task.name, made: rows.count, wanted: count, draws: TaskRows.drawLimit, rejections)
      }
    }
    if rows.isEmpty { throw .nothingUsable(task: task.name) }
    if task.fixedCount != nil { redrawn = 0 }
  }
}

/// Turns drafts into rows, or says why not.
private struct RowChecker {
  let tokenizer: Tokenizer
  let contextLength: Int?
  private var known: Set<[UInt8]> = []

  init(tokenizer: Tokenizer, contextLength: Int?) {
    self.tokenizer = tokenizer
    self.contextLength = contextLength
  }

  /// - Returns: the row, and how many tokens its prompts have.
  mutating func row(_ draft: RowDraft, id: String) throws(RowRejection) -> (TaskRow, Int) {
    let text = draft.clean.text
    let tokens = tokenizer.encode(text)
    if let expected = draft.tokens, tokens != expected { throw .otherTokens }
    // One more for <|endoftext|>.
    if let contextLength, tokens.count >= contextLength {
      throw .tooLong(tokens: tokens.count + 1, limit: contextLength)
    }
    if let corrupted = draft.corrupted {
      let others = tokenizer.encode(corrupted)
      guard others.count == tokens.count else {
        throw .unequalLengths(clean: tokens.count, corrupted: others.count)
      }
      if others == tokens { throw .notCorrupted }
    }
    let answer = try token(draft.answer)
    if let wrong = draft.wrongAnswer, try token(wrong) == answer { throw .sameAnswers }
    for (answer, text) in zip(
      [draft.answer, draft.wrongAnswer ?? draft.answer], [text, draft.corrupted ?? text])
    {
      let prompt = tokenizer.encode(text)
      guard tokenizer.encode(text + answer) == prompt + [try token(answer)] else {
        throw .answerDoesNotFollow(answer)
      }
    }
    let places = TextTokens(text: text, byteCounts: tokens.map { tokenizer.bytes(of: $0).count })
    if let subject = draft.subject, places.occurrences(of: subject) != 1 {
      throw .subjectNotOnce(subject)
    }
    let row = TaskRow(
      id: id, clean: text, corrupted: draft.corrupted, answer: draft.answer,
      wrongAnswer: draft.wrongAnswer, template: draft.template, subject: draft.subject,
      roles: try roles(draft.clean, places))
    guard known.insert(Array(text.utf8)).inserted else { throw .alreadyThere }
    return (row, tokens.count)
  }

  private func token(_ answer: String) throws(RowRejection) -> Int32 {
    let tokens = tokenizer.encode(answer)
    guard tokens.count == 1 else {
      throw .severalTokens(answer: answer, pieces: tokens.map(tokenizer.piece))
    }
    return tokens[0]
  }

  private func roles(_ text: MarkedText, _ places: TextTokens) throws(RowRejection)
    -> [TaskRow.Role]
  {
    var roles: [TaskRow.Role] = []
    for mark in text.marks.sorted(by: { $0.byte < $1.byte }) {
      guard !roles.contains(where: { $0.name == mark.role }) else {
        throw .repeatedRole(mark.role)
      }
      roles.append(TaskRow.Role(name: mark.role, place: try places.place(of: mark)))
    }
    if !roles.isEmpty, !roles.contains(where: { $0.name == "END" }) {
      roles.append(TaskRow.Role(name: "END", place: .position(-1)))
    }
    return roles
  }
}
