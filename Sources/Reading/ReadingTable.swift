import Dispatch
import Parallel

/// Means over prompts of what was read: rows such as layers or heads, columns such as positions.
///
/// Of columns that are places a prompt may lack some; its values count in those that it has.
public struct ReadingTable: Sendable {
  /// What the values are, such as the name of a metric.
  public let quantity: String
  public let rows: [String]
  public let columns: [String]
  /// By column: how many prompts have it.
  public let counts: [Int]
  /// [rows, columns]. nil where no prompt has the column, or a value is not a finite number.
  public let means: [Double?]
  /// The standard error of each mean, s / √n with s² = Σ (x − x̄)² / (n − 1); nil for fewer than two
  /// prompts. [rows, columns]
  public let standardErrors: [Double?]
  /// [prompts, rows, columns], NaN where a prompt has no such column; empty unless asked for.
  public let values: [Float]
  /// How long it took to read, together with the tables that were read with it.
  public let seconds: Double

  init(
    quantity: String, rows: [String], columns: [String], totals: CellTotals, values: [Float],
    seconds: Double
  ) {
    self.quantity = quantity
    self.rows = rows
    self.columns = columns
    self.values = values
    self.seconds = seconds
    counts = totals.counts
    means = totals.means.indices.map { cell in
      let mean = totals.means[cell]
      return totals.counts[cell % columns.count] > 0 && mean.isFinite ? mean : nil
    }
    standardErrors = totals.means.indices.map { cell in
      let n = Double(totals.counts[cell % columns.count])
      let error = (totals.squares[cell] / (n - 1)).squareRoot() / n.squareRoot()
      return n > 1 && error.isFinite ? error : nil
    }
  }

  init(
    quantity: String, rows: [String], columns: [String], counts: [Int], means: [Double?],
    standardErrors: [Double?], values: [Float], seconds: Double
  ) {
    (self.quantity, self.rows, self.columns) = (quantity, rows, columns)
    (self.counts, self.means, self.standardErrors) = (counts, means, standardErrors)
    (self.values, self.seconds) = (values, seconds)
  }

  /// The mean at a row and column.
  public func mean(row: Int, column: Int) -> Double? { means[row * columns.count + column] }
}

/// Counts, means and squared deviations of cells [rows, columns] over prompts.
struct CellTotals: Sendable {
  /// By column.
  var counts: [Int]
  /// [rows, columns]
  var means: [Double]
  /// Σ (x − x̄)². [rows, columns]
  var squares: [Double]

  init(rows: Int, columns: Int) {
    counts = Array(repeating: 0, count: columns)
    means = Array(repeating: 0, count: rows * columns)
    squares = means
  }

  /// Of some prompts.
  init(_ batch: ReadBatch, quantity: Int) {
    self.init(rows: batch.rows, columns: batch.columns)
    let (cells, columns) = (batch.rows * batch.columns, batch.columns)
    let isWhole = !batch.present.contains(false)
    for (number, isPresent) in batch.present.enumerated() where isPresent {
      counts[number % columns] += 1
    }
    let counts = counts
    batch.values[quantity].withUnsafeBufferPointer { values in
      means.withUnsafeMutableBufferPointer { means in
        squares.withUnsafeMutableBufferPointer { squares in
          func forEachValue(_ body: (Int, Double) -> Void) {
            for prompt in 0..<batch.prompts {
              let first = prompt * cells
              for cell in 0..<cells
              where isWhole || batch.present[prompt * columns + cell % columns] {
                body(cell, Double(values[first + cell]))
              }
            }
          }
          forEachValue { means[$0] += $1 }
          for cell in 0..<cells {
            means[cell] /= Double(max(1, counts[columns == 1 ? 0 : cell % columns]))
          }
          forEachValue { cell, value in
            let distance = value - means[cell]
            squares[cell] += distance * distance
          }
        }
      }
    }
  }

  /// Takes in the totals of other prompts (Chan, Golub and LeVeque 1983).
  mutating func merge(_ other: CellTotals) {
    let columns = counts.count
    for cell in means.indices {
      let (a, b) = (Double(counts[cell % columns]), Double(other.counts[cell % columns]))
      guard b > 0 else { continue }
      let distance = other.means[cell] - means[cell]
      means[cell] += distance * (b / (a + b))
      squares[cell] += other.squares[cell] + distance * distance * (a * b / (a + b))
    }
    for column in 0..<columns { counts[column] += other.counts[column] }
  }
}

/// What was read of some prompts.
struct ReadBatch: Sendable {
  let prompts, rows, columns: Int
  /// By quantity: [prompts, rows, columns].
  var values: [[Float]]
  /// Which columns a prompt has, [prompts, columns].
  var present: [Bool]

  init(quantities: Int, prompts: Int, rows: Int, columns: Int) {
    (self.prompts, self.rows, self.columns) = (prompts, rows, columns)
    values = Array(
      repeating: Array(repeating: .nan, count: prompts * rows * columns), count: quantities)
    present = Array(repeating: false, count: prompts * columns)
  }

  /// Puts a value into a cell, which makes its column present.
  mutating func set(quantity: Int = 0, prompt: Int, row: Int, column: Int, to value: Float) {
    values[quantity][(prompt * rows + row) * columns + column] = value
    present[prompt * columns + column] = true
  }
}

/// Reads prompts in their order, a batch at a time on as many threads, and takes the means. Results do
/// not depend on the number of threads; memory does not depend on that of prompts, unless the values
/// are kept.
///
/// - Parameters:
///   - context: makes what each thread keeps for itself.
///   - read: gets the numbers of the prompts of a batch; every call's batch has the rows and columns of
///     the tables and a quantity a name.
///   - progress: called with the number of prompts done.
/// - Returns: a table a quantity.
func readTables<Context>(
  _ quantities: [String], rows: [String], columns: [String], prompts: Int, keepsValues: Bool,
  threads: Int, with context: @Sendable () -> Context,
  progress: (Int) -> Void,
  _ read: @Sendable (Range<Int>, Context) throws -> ReadBatch
) throws -> [ReadingTable] {
  let start = DispatchTime.now().uptimeNanoseconds
  let size = promptsPerBatch
  var totals = quantities.map { _ in CellTotals(rows: rows.count, columns: columns.count) }
  var values = quantities.map { _ in [Float]() }
  var done = 0
  try parallelForEach(
    (prompts + size - 1) / size, threads: threads, with: context,
    { number, own in
      let range = number * size..<min(prompts, (number + 1) * size)
      let batch = try read(range, own)
      return (
        prompts: range.count,
        totals: quantities.indices.map { CellTotals(batch, quantity: $0) },
        values: keepsValues ? batch.values : []
      )
    },
    then: { batch in
      for quantity in quantities.indices {
        totals[quantity].merge(batch.totals[quantity])
        if keepsValues { values[quantity] += batch.values[quantity] }
      }
      done += batch.prompts
      progress(done)
    })
  let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
  return quantities.indices.map {
    ReadingTable(
      quantity: quantities[$0], rows: rows, columns: columns, totals: totals[$0],
      values: values[$0], seconds: seconds)
  }
}

/// Prompts that are read together. Sums are taken over batches, so that this is part of their bits.
private let promptsPerBatch = 32
