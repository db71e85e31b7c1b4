extension ReadingTable {
  /// Pearson's correlation with another table of the same rows, columns and prompts, over the prompts
  /// that have a value in both, cell by cell.
  ///
  /// - Precondition: both have the values of each prompt.
  func correlation(with other: ReadingTable) -> ReadingTable {
    let cells = means.count
    let found = (0..<cells).map { cell -> Double? in
      let pairs = stride(from: cell, to: values.count, by: cells).map {
        (x: Double(values[$0]), y: Double(other.values[$0]))
      }.filter { !$0.x.isNaN && !$0.y.isNaN }
      guard pairs.count > 2 else { return nil }
      let n = Double(pairs.count)
      let x = pairs.reduce(0) { $0 + $1.x } / n
      let y = pairs.reduce(0) { $0 + $1.y } / n
      var (xx, yy, xy) = (0.0, 0.0, 0.0)
      for pair in pairs {
        xx += (pair.x - x) * (pair.x - x)
        yy += (pair.y - y) * (pair.y - y)
        xy += (pair.x - x) * (pair.y - y)
      }
      let correlation = xy / (xx * yy).squareRoot()
      return correlation.isFinite ? correlation : nil
    }
    return ReadingTable(
      quantity: "correlation", rows: rows, columns: columns, counts: counts, means: found,
      standardErrors: Array(repeating: nil, count: cells), values: [], seconds: seconds)
  }

  /// The same of some of its prompts, and of some columns.
  ///
  /// - Parameters:
  ///   - prompts: by their places among those that were read.
  ///   - columns: those that are kept, by their places.
  /// - Precondition: it has the values of each prompt.
  public func restricted(toPrompts prompts: [Int], columns kept: [Int]) -> ReadingTable {
    var batch = ReadBatch(
      quantities: 1, prompts: prompts.count, rows: rows.count, columns: kept.count)
    for (place, prompt) in prompts.enumerated() {
      for row in rows.indices {
        for (number, column) in kept.enumerated() {
          let value = values[(prompt * rows.count + row) * columns.count + column]
          guard !value.isNaN else { continue }
          // A column that a prompt lacks has no value in any row.
          batch.set(prompt: place, row: row, column: number, to: value)
        }
      }
    }
    return ReadingTable(
      quantity: quantity, rows: rows, columns: kept.map { columns[$0] },
      totals: CellTotals(batch, quantity: 0), values: batch.values[0], seconds: seconds)
  }

  /// What this table has more than another of the same rows, columns and prompts, prompt by prompt.
  ///
  /// - Precondition: both have the values of each prompt.
  public func less(_ other: ReadingTable) -> ReadingTable {
    let (cells, columns) = (means.count, columns.count)
    precondition(values.count == other.values.count && cells == other.means.count)
    var batch = ReadBatch(
      quantities: 1, prompts: cells == 0 ? 0 : values.count / cells, rows: rows.count,
      columns: columns)
    for prompt in 0..<batch.prompts {
      for column in 0..<columns {
        let those = stride(from: prompt * cells + column, to: (prompt + 1) * cells, by: columns)
        // A column that a prompt lacks has no value in any row.
        batch.present[prompt * columns + column] = those.contains {
          !values[$0].isNaN || !other.values[$0].isNaN
        }
        for cell in those { batch.values[0][cell] = values[cell] - other.values[cell] }
      }
    }
    return ReadingTable(
      quantity: quantity, rows: rows, columns: self.columns,
      totals: CellTotals(batch, quantity: 0), values: batch.values[0],
      seconds: seconds + other.seconds)
  }
}
