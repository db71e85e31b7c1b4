/// Which rows of a pass's buffers belong to which sequences of its batch.
///
/// What a row becomes depends on its token and on those before it, and on nothing else. Sequences that
/// begin alike, such as a clean prompt and its corrupted one, therefore share the rows of their common
/// beginning, which are computed once.
struct RowLayout {
  /// Of each sequence, its rows from the first position to the last, as runs of neighbours.
  private(set) var runs: [[Range<Int>]] = []
  /// Of each sequence, the rows that no sequence before it has: its last ones, perhaps none.
  private(set) var own: [Range<Int>] = []
  /// Of each row, its token and its position.
  private(set) var tokens: [Int32] = []
  private(set) var positions: [Int] = []
  /// R
  var rows: Int { tokens.count }

  /// - Parameter sharing: whether rows may belong to several sequences.
  /// - Precondition: no sequence is empty.
  init(_ sequences: [[Int32]] = [], sharing: Bool = true) {
    // The row of a token that stands behind the row of another, or behind nothing: -1.
    var known: [Link: Int] = [:]
    for sequence in sequences {
      var path: [Range<Int>] = []
      var row = -1
      let first = rows
      for (position, token) in sequence.enumerated() {
        let link = Link(before: row, token: token)
        if sharing, let shared = known[link] {
          row = shared
        } else {
          row = rows
          tokens.append(token)
          positions.append(position)
          if sharing { known[link] = row }
        }
        if let last = path.last, last.upperBound == row {
          path[path.count - 1] = last.lowerBound..<row + 1
        } else {
          path.append(row..<row + 1)
        }
      }
      runs.append(path)
      own.append(first..<rows)
    }
  }

  private struct Link: Hashable {
    let before: Int
    let token: Int32
  }

  var sequences: Range<Int> { runs.indices }

  /// T of a sequence.
  func length(_ sequence: Int) -> Int { runs[sequence].reduce(0) { $0 + $1.count } }

  /// The row of a sequence's last position.
  func lastRow(_ sequence: Int) -> Int { runs[sequence][runs[sequence].count - 1].upperBound - 1 }
}
