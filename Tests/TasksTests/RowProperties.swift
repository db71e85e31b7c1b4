import Model
import TestSupport
import Testing

@testable import Tasks

/// What every row of every task must be, looked at from outside.
struct RowProperties {
  let tokenizer: Tokenizer

  /// The position that a role means in the tokens of the clean prompt, found as capture finds it: the
  /// token that holds the last byte of the text's one occurrence.
  func position(_ role: String, in row: TaskRow) throws -> Int {
    let tokens = tokenizer.encode(row.clean)
    switch try #require(row.roles.first { $0.name == role }, "\(role) in \(row)").place {
    case .position(let position):
      #expect(-tokens.count..<0 ~= position, "\(row)")
      return position + tokens.count
    case .text(let text):
      let (all, part) = (Array(row.clean.utf8), Array(text.utf8))
      let starts = (0...all.count - part.count).filter {
        all[$0] == part[0] && all[$0..<$0 + part.count].elementsEqual(part)
      }
      try #require(starts.count == 1, "\(text.debugDescription) in \(row)")
      var end = 0
      for (position, token) in tokens.enumerated() {
        end += tokenizer.bytes(of: token).count
        if end >= starts[0] + part.count { return position }
      }
      throw TestError.noSuchToken
    }
  }

  enum TestError: Error { case noSuchToken }

  /// The text of the token that a role means.
  func piece(_ role: String, in row: TaskRow) throws -> String {
    tokenizer.piece(tokenizer.encode(row.clean)[try position(role, in: row)])
  }

  func check(_ rows: [TaskRow], _ note: Comment) throws {
    for row in rows {
      let clean = tokenizer.encode(row.clean)
      let answer = tokenizer.encode(try #require(row.answer))
      #expect(answer.count == 1, note)
      #expect(tokenizer.encode(row.clean + (row.answer ?? "")) == clean + answer, note)
      if let corrupted = row.corrupted {
        let others = tokenizer.encode(corrupted)
        #expect(others.count == clean.count && others != clean, "\(note) \(row)")
        let wrong = tokenizer.encode(try #require(row.wrongAnswer))
        #expect(wrong.count == 1 && wrong != answer, "\(note) \(row)")
      }
      for role in row.roles { _ = try position(role.name, in: row) }
      #expect(try position("END", in: row) == clean.count - 1, note)
    }
    #expect(Set(rows.map(\.clean)).count == rows.count, note)
    #expect(Set(rows.map(\.id)).count == rows.count, note)
  }
}
