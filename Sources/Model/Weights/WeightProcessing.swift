import Parallel

/// The weight processing of TransformerLens's `HookedTransformer.from_pretrained` with its default
/// options: fold_ln, center_writing_weights, center_unembed and fold_value_biases. None of it
/// changes the probabilities of the next token. Sums are taken in double precision.
///
/// LayerNorm is x ↦ n(x) w + b with n(x) = (x − mean x) / √(var x + ε). In turn
///
/// 1. fold_ln: a matrix W that reads n(x) w + b becomes W'[i, j] = w[i] W[i, j], its bias takes in
///    b W, and only n(x) is left. The values of n(x) sum to 0, so each column of W' may be
///    centred, and is.
/// 2. center_writing_weights: n(x) does not see the mean of x, so each row of a matrix that writes
///    to the residual stream, and each bias, is centred.
/// 3. center_unembed: softmax does not see a constant that all logits share, so the unembedding
///    and its bias are centred over the vocabulary.
/// 4. fold_value_biases: attention weights sum to 1, so the value bias comes out of attention as
///    it went in, and its product with W_O moves into the output bias.
extension LayerWeights {
  init(folding layer: CheckpointLayer) {
    let width = layer.attention.rows
    ln1 = nil
    (query, queryBias) = folded(layer.ln1, layer.attention, layer.attentionBias, 0..<width)
    (key, keyBias) = folded(layer.ln1, layer.attention, layer.attentionBias, width..<2 * width)
    let (value, foldedValueBias) = folded(
      layer.ln1, layer.attention, layer.attentionBias, 2 * width..<3 * width)
    self.value = value
    output = layer.output.withCentredRows(threads: 1)
    outputBias = layer.outputBias.withCentredRows(threads: 1)
    output.addProduct(with: foldedValueBias, to: outputBias)
    valueBias = Matrix(rows: 1, columns: width)
    ln2 = nil
    (mlpIn, mlpInBias) = folded(
      layer.ln2, layer.mlpIn, layer.mlpInBias, 0..<layer.mlpIn.columns)
    mlpOut = layer.mlpOut.withCentredRows(threads: 1)
    mlpOutBias = layer.mlpOutBias.withCentredRows(threads: 1)
  }
}

/// Rows that one thread processes at a time.
private let rowsPerTask = 256

/// Columns that are folded together: a tile of so many columns of a GPT-2 fits into the cache of
/// a core, and is read twice.
private let columnsPerTile = 256

/// Columns of a matrix that reads a LayerNorm, with the LayerNorm folded into them, and centred.
///
/// - Parameters:
///   - matrix: [D, N]
///   - bias: [1, N]
///   - columns: n of the N columns.
/// - Returns: [D, n] and [1, n].
private func folded(
  _ ln: LayerNormWeights, _ matrix: Matrix, _ bias: Matrix, _ columns: Range<Int>
) -> (Matrix, Matrix) {
  let result = Matrix(rows: matrix.rows, columns: columns.count)
  let resultBias = Matrix(rows: 1, columns: columns.count)
  for start in stride(from: 0, to: columns.count, by: columnsPerTile) {
    let width = min(columnsPerTile, columns.count - start)
    foldTile(
      ln, matrix, bias, from: columns.lowerBound + start, into: result, resultBias, at: start,
      width: width)
  }
  return (result, resultBias)
}

private func foldTile(
  _ ln: LayerNormWeights, _ matrix: Matrix, _ bias: Matrix, from source: Int,
  into result: Matrix, _ resultBias: Matrix, at target: Int, width: Int
) {
  withDoubles(width, width) { mean, shift in
    for i in 0..<matrix.rows {
      let (row, w, b) = (
        matrix.row(i) + source, Double(ln.weight.pointer[i]), Double(ln.bias.pointer[i])
      )
      for j in 0..<width {
        mean[j] += w * Double(row[j])
        shift[j] += b * Double(row[j])
      }
    }
    for j in 0..<width {
      mean[j] /= Double(matrix.rows)
      resultBias.pointer[target + j] = Float(Double(bias.pointer[source + j]) + shift[j])
    }
    for i in 0..<matrix.rows {
      let (row, out, w) = (
        matrix.row(i) + source, result.row(i) + target, Double(ln.weight.pointer[i])
      )
      for j in 0..<width { out[j] = Float(w * Double(row[j]) - mean[j]) }
    }
  }
}

extension Unembedding {
  /// With ln_final folded into it and its bias, centred over the width and over the vocabulary.
  ///
  /// - Parameter head: [V, D]
  convenience init(_ head: Matrix, folding ln: LayerNormWeights, threads: Int) {
    let bias = Matrix(rows: 1, columns: head.rows)
    let w = ln.weight.values.map(Double.init)
    let b = ln.bias.values.map(Double.init)
    // Centring the rows first would take the same mean off every column's mean.
    var columnMean = head.columnSums(threads: threads)
    for i in columnMean.indices { columnMean[i] *= w[i] / Double(head.rows) }
    let grandMean = columnMean.reduce(0, +) / Double(columnMean.count)
    head.forRows(threads: threads) { bias.pointer[$0] = Float(dot(head.row($0), b)) }
    self.init(
      head, folding: Folding(weight: w, shift: columnMean.map { $0 - grandMean }),
      bias: bias.withCentredRows(threads: 1), threads: threads)
  }
}

extension Matrix {
  /// The same rows, the mean of each taken off it.
  func withCentredRows(threads: Int) -> Matrix {
    let result = Matrix(rows: rows, columns: columns)
    forRows(threads: threads) { index in
      let (row, out) = (self.row(index), result.row(index))
      let mean = sum(row, columns) / Double(columns)
      for i in 0..<columns { out[i] = Float(Double(row[i]) - mean) }
    }
    return result
  }

  /// Adds x W to `target`.
  ///
  /// - Parameters:
  ///   - x: [1, rows]
  ///   - target: [1, columns]
  fileprivate func addProduct(with x: Matrix, to target: Matrix) {
    withDoubles(columns, 0) { sums, _ in
      for index in 0..<rows {
        let (row, factor) = (self.row(index), Double(x.pointer[index]))
        for i in 0..<columns { sums[i] += factor * Double(row[i]) }
      }
      for i in 0..<columns {
        target.pointer[i] = Float(Double(target.pointer[i]) + sums[i])
      }
    }
  }

  /// The sum of each column.
  fileprivate func columnSums(threads: Int) -> [Double] {
    let tasks = (rows + rowsPerTask - 1) / rowsPerTask
    let parts = parallelMap(tasks, threads: threads) { task in
      var part = [Double](repeating: 0, count: columns)
      part.withUnsafeMutableBufferPointer { part in
        for index in task * rowsPerTask..<min((task + 1) * rowsPerTask, rows) {
          let row = self.row(index)
          for i in 0..<columns { part[i] += Double(row[i]) }
        }
      }
      return part
    }
    var sums = [Double](repeating: 0, count: columns)
    for part in parts {
      for i in 0..<columns { sums[i] += part[i] }
    }
    return sums
  }
}

extension Matrix {
  /// Calls `body` with the number of every row.
  func forRows(threads: Int, _ body: @Sendable (Int) -> Void) {
    let tasks = (rows + rowsPerTask - 1) / rowsPerTask
    _ = parallelMap(tasks, threads: threads) { task in
      for row in task * rowsPerTask..<min((task + 1) * rowsPerTask, rows) { body(row) }
    }
  }
}

/// Gives `body` two arrays of zeros.
private func withDoubles(
  _ first: Int, _ second: Int,
  _ body: (UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>) -> Void
) {
  withUnsafeTemporaryAllocation(of: Double.self, capacity: first + second + 1) { buffer in
    guard let base = buffer.baseAddress else { return }
    base.initialize(repeating: 0, count: first + second + 1)
    body(base, base + first)
  }
}

/// A sum in double precision. Four partial sums do not wait for each other.
private func sum(_ values: UnsafePointer<Float>, _ count: Int) -> Double {
  var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
  let whole = count & ~3
  for i in stride(from: 0, to: whole, by: 4) {
    s0 += Double(values[i])
    s1 += Double(values[i &+ 1])
    s2 += Double(values[i &+ 2])
    s3 += Double(values[i &+ 3])
  }
  for i in whole..<count { s0 += Double(values[i]) }
  return (s0 + s1) + (s2 + s3)
}

/// A product in double precision.
func dot(_ values: UnsafePointer<Float>, _ factors: [Double]) -> Double {
  factors.withUnsafeBufferPointer { factors in
    var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
    let whole = factors.count & ~3
    for i in stride(from: 0, to: whole, by: 4) {
      s0 += Double(values[i]) * factors[i]
      s1 += Double(values[i &+ 1]) * factors[i &+ 1]
      s2 += Double(values[i &+ 2]) * factors[i &+ 2]
      s3 += Double(values[i &+ 3]) * factors[i &+ 3]
    }
    for i in whole..<factors.count { s0 += Double(values[i]) * factors[i] }
    return (s0 + s1) + (s2 + s3)
  }
}
