import COpenBLAS

extension LayerWeights {
  /// The heads in the form that TransformerLens's `refactor_factored_attn_matrices` gives them.
  ///
  /// A head acts through the products Q Kᵀ and V O alone, so each may be factored anew from its
  /// singular value decomposition U S Vᵀ: into Q = U √S and K = V √S, with the biases as one more
  /// row, and into V = U S and O = Vᵀ. The sign of each singular vector is the decomposition's
  /// choice, and with it the sign of each element of a head's q and k, or v and z.
  ///
  /// - Precondition: the value bias is zero; it is folded into the output bias.
  /// - Throws: `ModelError.notDecomposable`.
  func refactored(heads: Int, layer: Int) throws(ModelError) -> LayerWeights {
    var result = self
    let (D, K) = (query.rows, query.columns / heads)
    result.query = Matrix(rows: D, columns: query.columns)
    result.key = Matrix(rows: D, columns: query.columns)
    result.value = Matrix(rows: D, columns: query.columns)
    result.queryBias = Matrix(rows: 1, columns: query.columns)
    result.keyBias = Matrix(rows: 1, columns: query.columns)
    result.output = Matrix(rows: query.columns, columns: D)
    for head in 0..<heads {
      let columns = head * K..<(head + 1) * K
      let queryKey = factored(
        columnMajor(query, queryBias, columns), rowMajor(key, keyBias, columns), inner: K)
      let valueOutput = factored(
        columnMajor(value, nil, columns), transposed(output, rows: columns), inner: K)
      guard let queryKey, let valueOutput else {
        throw .notDecomposable(layer: layer, head: head)
      }
      for k in 0..<K {
        let root = queryKey.s[k].squareRoot()
        for d in 0..<D {
          result.query.row(d)[columns.lowerBound + k] = queryKey.u[k * (D + 1) + d] * root
          result.key.row(d)[columns.lowerBound + k] = queryKey.v[d * K + k] * root
          result.value.row(d)[columns.lowerBound + k] =
            valueOutput.u[k * D + d] * valueOutput.s[k]
          result.output.row(columns.lowerBound + k)[d] = valueOutput.v[d * K + k]
        }
        result.queryBias.pointer[columns.lowerBound + k] = queryKey.u[k * (D + 1) + D] * root
        result.keyBias.pointer[columns.lowerBound + k] = queryKey.v[D * K + k] * root
      }
    }
    return result
  }
}

/// The columns of a head in column-major order, with its bias as the last row.
private func columnMajor(_ matrix: Matrix, _ bias: Matrix?, _ columns: Range<Int>) -> [Float] {
  var values: [Float] = []
  values.reserveCapacity((matrix.rows + 1) * columns.count)
  for column in columns {
    for row in 0..<matrix.rows { values.append(matrix.pointer[row * matrix.columns + column]) }
    if let bias { values.append(bias.pointer[column]) }
  }
  return values
}

/// The columns of a head in row-major order, with its bias as the last row.
private func rowMajor(_ matrix: Matrix, _ bias: Matrix, _ columns: Range<Int>) -> [Float] {
  var values: [Float] = []
  values.reserveCapacity((matrix.rows + 1) * columns.count)
  for row in 0..<matrix.rows {
    for column in columns { values.append(matrix.pointer[row * matrix.columns + column]) }
  }
  for column in columns { values.append(bias.pointer[column]) }
  return values
}

/// The transpose of some rows, in row-major order.
private func transposed(_ matrix: Matrix, rows: Range<Int>) -> [Float] {
  var values: [Float] = []
  values.reserveCapacity(rows.count * matrix.columns)
  for column in 0..<matrix.columns {
    for row in rows { values.append(matrix.pointer[row * matrix.columns + column]) }
  }
  return values
}

/// The decomposition A Bᵀ = U S Vᵀ of a product of inner size K.
private struct FactoredProduct {
  /// [m, K], column-major
  var u: [Float]
  /// [K]
  let s: [Float]
  /// [n, K], row-major
  var v: [Float]
}

/// Decomposes A Bᵀ without forming it: from A = U₁ S₁ V₁ᵀ and Bᵀ = U₂ S₂ V₂ᵀ, the K × K matrix
/// S₁ V₁ᵀ U₂ S₂ = U₃ S V₃ᵀ, and U = U₁ U₃, V = V₂ V₃. These are TransformerLens's steps, so that
/// signs come out as there wherever LAPACK agrees.
///
/// - Parameters:
///   - a: A [m, K], column-major.
///   - b: B [n, K], row-major, which is Bᵀ in column-major order.
/// - Returns: nil if LAPACK finds no decomposition.
private func factored(_ a: [Float], _ b: [Float], inner: Int) -> FactoredProduct? {
  let (m, n, K) = (a.count / inner, b.count / inner, inner)
  guard let first = SingularValues(a, rows: m, columns: K),
    let second = SingularValues(b, rows: K, columns: n)
  else { return nil }
  // Read by rows, a column-major matrix is its transpose.
  var middle = [Float](repeating: 0, count: K * K)
  multiply(
    second.u, rows: K, stride: K, by: first.vTransposed, inner: K, columns: K, stride: K,
    into: &middle, stride: K)
  for column in 0..<K {
    for row in 0..<K { middle[column * K + row] *= first.s[row] * second.s[column] }
  }
  guard let third = SingularValues(middle, rows: K, columns: K) else { return nil }
  var result = FactoredProduct(
    u: [Float](repeating: 0, count: m * K), s: third.s, v: [Float](repeating: 0, count: n * K))
  multiply(
    third.u, rows: K, stride: K, by: first.u, inner: K, columns: m, stride: m,
    into: &result.u, stride: m)
  multiply(
    second.vTransposed, rows: n, stride: K, by: third.vTransposed, inner: K, columns: K,
    stride: K, into: &result.v, stride: K)
  return result
}

/// The thin singular value decomposition U S Vᵀ of a matrix, k = min(m, n). Column-major.
private struct SingularValues {
  /// [m, k]
  var u: [Float]
  /// [k], falling
  var s: [Float]
  /// [k, n]
  var vTransposed: [Float]

  init?(_ matrix: [Float], rows: Int, columns: Int) {
    let smaller = min(rows, columns)
    u = [Float](repeating: 0, count: rows * smaller)
    s = [Float](repeating: 0, count: smaller)
    vTransposed = [Float](repeating: 0, count: smaller * columns)
    var a = matrix
    var integers = [Int32](repeating: 0, count: 8 * smaller)
    var (m, n, k, info) = (Int32(rows), Int32(columns), Int32(smaller), Int32(0))
    // A first call asks how much room the second needs.
    var workSize = Int32(-1)
    var work: [Float] = [0]
    for _ in 0..<2 {
      sgesdd_(
        "S", &m, &n, &a, &m, &s, &u, &m, &vTransposed, &k, &work, &workSize, &integers, &info)
      guard info == 0, let size = Int32(exactly: work[0].rounded(.up)) else { return nil }
      if workSize < 0 {
        workSize = max(size, 1)
        work = [Float](repeating: 0, count: Int(workSize))
      }
    }
  }
}

/// y = x W, row-major.
private func multiply(
  _ x: UnsafePointer<Float>, rows: Int, stride xStride: Int,
  by w: UnsafePointer<Float>, inner: Int, columns: Int, stride wStride: Int,
  into y: UnsafeMutablePointer<Float>, stride yStride: Int
) {
  cblas_sgemm(
    CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows), blasint(columns), blasint(inner),
    1, x, blasint(xStride), w, blasint(wStride), 0, y, blasint(yStride))
}
