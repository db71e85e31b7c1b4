import Testing

@testable import Model

@Suite struct RowLayoutTests {
  @Test func commonBeginningsHaveOneRow() {
    let layout = RowLayout([[1, 2, 3], [1, 2, 4, 5], [1, 2], [1, 2, 4, 6], [2, 2]])
    #expect(layout.tokens == [1, 2, 3, 4, 5, 6, 2, 2])
    #expect(layout.positions == [0, 1, 2, 2, 3, 3, 0, 1])
    #expect(layout.runs == [[0..<3], [0..<2, 3..<5], [0..<2], [0..<2, 3..<4, 5..<6], [6..<8]])
    #expect(layout.own == [0..<3, 3..<5, 5..<5, 5..<6, 6..<8])
    #expect(layout.sequences.map(layout.length) == [3, 4, 2, 4, 2])
    #expect(layout.sequences.map(layout.lastRow) == [2, 4, 1, 5, 7])
  }

  @Test func withoutSharingEverySequenceHasItsRows() {
    let layout = RowLayout([[1, 2], [1, 2], [1]], sharing: false)
    #expect(layout.runs == [[0..<2], [2..<4], [4..<5]])
    #expect(layout.own == [0..<2, 2..<4, 4..<5])
    #expect(layout.tokens == [1, 2, 1, 2, 1])
  }
}
