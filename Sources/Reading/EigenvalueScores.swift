import COpenBLAS
import Model
import Parallel

/// Whether heads copy, and whether they attend to the token that they are at, by the eigenvalues of their
/// whole circuits (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits").
///
/// The score is Σ Re λ / Σ |λ|: 1 where every eigenvalue is positive, −1 where every one is negative.
/// OV: of W_E W_V W_O W_U, from a token that is attended to, to the logits. QK: of W_E W_Q W_Kᵀ W_Eᵀ, from
/// the attending to the attended token. Both are [V, V] matrices of rank K, whose eigenvalues other than
/// 0 are those of the K × K matrices W_O (W_U W_E) W_V and W_Kᵀ (W_Eᵀ W_E) W_Q. TransformerLens's
/// `FactoredMatrix.eigenvalues` are the same; biases, LayerNorms and positions are left out.
public struct EigenvalueScores: Sendable {
  /// [L, H]; nil where all eigenvalues are 0.
  public let ov, qk: [Double?]

  /// - Parameter progress: called with the number of heads done.
  /// - Throws: `ReadingError.noEigenvalues`.
  public init(_ model: GPT2, threads: Int, progress: (Int) -> Void = { _ in }) throws(ReadingError)
  {
    let config = model.config
    openblas_set_num_threads(1)  // heads have threads of their own
    let (copying, matching) = EigenvalueScores.throughVocabulary(model, threads: threads)
    var scores: [[Double?]] = [[], []]
    try parallelForEach(
      config.layers * config.heads, threads: threads, with: { MultiplyScratch() },
      { number, scratch throws(ReadingError) -> [Double?] in
        let (layer, head) = (number / config.heads, number % config.heads)
        let block = model.blocks[layer]
        let own = head * config.headWidth..<(head + 1) * config.headWidth
        let all = 0..<config.width
        let output = block.output.values(rows: own, columns: all)  // [K, D]
        let keys = transposed(block.key.values(rows: all, columns: own))  // [K, D]
        let circuits = [
          (output, copying, block.value), (keys, matching, block.query),
        ]
        return try circuits.map { left, middle, right throws(ReadingError) in
          let product = Matrix(rows: config.width, columns: own.count)
          right.multiply(
            middle.pointer, rows: config.width, stride: config.width, inner: all, columns: own,
            bias: nil, into: product.pointer, stride: own.count, scratch: scratch)
          guard let score = score(left, product) else {
            throw ReadingError.noEigenvalues(layer: layer, head: head)
          }
          return score.isFinite ? score : nil
        }
      },
      then: { values throws(ReadingError) in
        for (index, value) in values.enumerated() { scores[index].append(value) }
        progress(scores[0].count)
      })
    (ov, qk) = (scores[0], scores[1])
  }

  /// W_U W_E and W_Eᵀ W_E, each [D, D].
  private static func throughVocabulary(
    _ model: GPT2, threads: Int
  ) -> (copying: Matrix, matching: Matrix) {
    let (width, vocabulary) = (model.config.width, model.config.vocabulary)
    let tokens = model.tokenEmbedding
    let embedding = Linear(tokens, bias: nil)  // [V, D]
    let (copying, matching) = (
      Matrix(rows: width, columns: width), Matrix(rows: width, columns: width)
    )
    let rowsAtATime = 32
    let parts = (width + rowsAtATime - 1) / rowsAtATime
    _ = parallelMap(parts, threads: threads, with: { MultiplyScratch() }) { part, scratch in
      let rows = part * rowsAtATime..<min(width, (part + 1) * rowsAtATime)
      let unembedding = model.unembedding.linear.values(rows: rows, columns: 0..<vocabulary)
      // Every part has rows of its own.
      embedding.apply(
        unembedding.pointer, rows: rows.count, into: copying.row(rows.lowerBound),
        scratch: scratch)
      let columns = Matrix(rows: rows.count, columns: vocabulary)
      for token in 0..<vocabulary {
        let row = tokens.row(token)
        for (index, d) in rows.enumerated() { columns.pointer[index * vocabulary + token] = row[d] }
      }
      embedding.apply(
        columns.pointer, rows: rows.count, into: matching.row(rows.lowerBound), scratch: scratch)
    }
    return (copying, matching)
  }
}

private func transposed(_ matrix: Matrix) -> Matrix {
  let result = Matrix(rows: matrix.columns, columns: matrix.rows)
  for row in 0..<matrix.rows {
    for column in 0..<matrix.columns {
      result.pointer[column * matrix.rows + row] = matrix.pointer[row * matrix.columns + column]
    }
  }
  return result
}

/// Σ Re λ / Σ |λ| of a [K, D] times a [D, K] matrix, multiplied in double precision; NaN where all
/// eigenvalues are 0, nil where they cannot be found.
private func score(_ left: Matrix, _ right: Matrix) -> Double? {
  let (size, inner) = (left.rows, left.columns)
  guard var order = Int32(exactly: size) else { return nil }
  var product = [Double](repeating: 0, count: size * size)
  for row in 0..<size {
    for k in 0..<inner {
      let factor = Double(left.pointer[row * inner + k])
      for column in 0..<size {
        product[row * size + column] += factor * Double(right.pointer[k * size + column])
      }
    }
  }
  // LAPACK may loop for ever over what is not a number.
  guard product.allSatisfy(\.isFinite) else { return nil }
  // The transpose, as LAPACK has columns first, has the same eigenvalues.
  var (real, imaginary) = ([Double](repeating: 0, count: size), [Double](repeating: 0, count: size))
  var (one, info, workSize) = (Int32(1), Int32(0), Int32(-1))
  var work = [0.0]
  // A first call asks how much room the second needs.
  for _ in 0..<2 {
    dgeev_(
      "N", "N", &order, &product, &order, &real, &imaginary, nil, &one, nil, &one, &work, &workSize,
      &info)
    guard info == 0, let room = Int32(exactly: work[0].rounded(.up)) else { return nil }
    if workSize < 0 {
      workSize = max(room, 1)
      work = [Double](repeating: 0, count: Int(workSize))
    }
  }
  let sizes = zip(real, imaginary).reduce(0) { $0 + ($1.0 * $1.0 + $1.1 * $1.1).squareRoot() }
  return real.reduce(0, +) / sizes
}
