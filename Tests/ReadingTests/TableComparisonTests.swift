import Testing

@testable import Reading

/// Tables that are compared prompt by prompt.
@Suite struct TableComparisonTests {
  /// Of values by prompt and cell; NaN where a prompt lacks the column.
  private func table(_ values: [[Float]], rows: Int = 1) -> ReadingTable {
    let columns = values[0].count / rows
    var batch = ReadBatch(
      quantities: 1, prompts: values.count, rows: rows, columns: columns)
    for (prompt, cells) in values.enumerated() {
      for (cell, value) in cells.enumerated() where !value.isNaN {
        batch.set(prompt: prompt, row: cell / columns, column: cell % columns, to: value)
      }
    }
    return ReadingTable(
      quantity: "x", rows: (0..<rows).map { "\($0)" }, columns: (0..<columns).map { "\($0)" },
      totals: CellTotals(batch, quantity: 0), values: batch.values[0], seconds: 1)
  }

  @Test func differencesAreThoseOfEachPrompt() {
    let (a, b) = (table([[1, 5], [4, .nan], [10, 2]]), table([[0, 1], [5, .nan], [4, 3]]))
    let less = a.less(b)
    #expect(less.means == [2, 1.5] && less.counts == [3, 2] && less.seconds == 2)
    #expect(less.values.prefix(3) == [1, 4, -1] && less.values[3].isNaN)
    // Of 1, -1 and 6; and of 4 and -1.
    let deviation = ((1.0 + 9 + 16) / 2).squareRoot() / 3.0.squareRoot()
    #expect(abs((less.standardErrors[0] ?? .nan) - deviation) < 1e-12)
    #expect(abs((less.standardErrors[1] ?? .nan) - 2.5) < 1e-12)
    #expect(a.less(a).means == [0, 0] && a.less(a).standardErrors == [0, 0])
  }

  @Test func restrictedTablesAreThoseOfFewerPrompts() {
    let all = table([[1, 5, 0], [4, .nan, 1], [10, 2, 7]])
    let some = all.restricted(toPrompts: [0, 2], columns: [1, 2])
    let expected = table([[5, 0], [2, 7]])
    #expect(some.columns == ["1", "2"] && some.counts == [2, 2] && some.means == expected.means)
    #expect(some.standardErrors == expected.standardErrors && some.values == expected.values)
    let lacking = all.restricted(toPrompts: [1], columns: [0, 1])
    #expect(lacking.counts == [1, 0] && lacking.means == [4, nil])
    // Two rows and one column; a value that is no number stays one.
    let rows = table([[1, .nan], [2, 3]], rows: 2).restricted(toPrompts: [0, 1], columns: [0])
    #expect(rows.counts == [2] && rows.means == [1.5, nil])
  }

  /// A value that is no number is one of the difference too, and no missing column.
  @Test func whatIsNotANumberIsNotLeftOut() {
    let (a, b) = (
      table([[1, 2], [.infinity, 2]], rows: 2), table([[1, 1], [.infinity, 1]], rows: 2)
    )
    let less = a.less(b)
    #expect(less.means == [nil, 1] && less.counts == [2])
  }

  @Test func correlations() {
    let a = table([[1, 1, 3, 1], [2, 1, .nan, 2], [3, 1, 1, 7], [5, 1, 2, -4]])
    let b = table([[-2, 4, 1, 0], [-4, 2, .nan, 1], [-6, 9, 2, 5], [-10, 1, 3, 5]])
    let found = a.correlation(with: b)
    #expect(abs((found.means[0] ?? .nan) + 1) < 1e-12)
    #expect(found.means[1] == nil)  // always 1
    // Three prompts: 3, 1, 2 with 1, 2, 3.
    #expect(abs((found.means[2] ?? .nan) + 0.5) < 1e-12)
    // numpy.corrcoef([1, 2, 7, -4], [0, 1, 5, 5])
    #expect(abs((found.means[3] ?? .nan) - 0.01405387) < 1e-7)
    #expect(table([[1], [2]]).correlation(with: table([[1], [2]])).means == [nil])
  }
}
