import COpenBLAS

/// The largest eigenvalues of a symmetric matrix and their eigenvectors: a few of a large one by
/// `BlockLanczos`, else by LAPACK's `dsyevr`.
struct SymmetricEigen {
  /// Falling.
  let values: [Double]
  /// Of each value: its vector of length 1. Of its largest element, the first of equal ones, the sign is
  /// positive.
  let vectors: [[Double]]

  /// Of smaller matrices a decomposition of the whole is as fast.
  private static let largeSize = 128

  /// - Parameters:
  ///   - matrix: [size, size], both of its triangles; it is destroyed.
  ///   - count: how many, from 1 to `size`.
  /// - Returns: nil if they cannot be found.
  init?(_ matrix: inout [Double], size: Int, count: Int) {
    guard size >= SymmetricEigen.largeSize, matrix.count == size * size,
      BlockLanczos.counts ~= count,
      let found = BlockLanczos(matrix, size: size, count: count)
    else {
      self.init(whole: &matrix, size: size, count: count)
      return
    }
    self.init(values: found.values, vectors: found.vectors)
  }

  private init(values: [Double], vectors: [[Double]]) {
    self.values = values
    self.vectors = vectors.map { vector in
      let largest = vector.reduce(0.0) { abs($1) > abs($0) ? $1 : $0 }
      return largest < 0 ? vector.map { -$0 } : vector
    }
  }

  /// The same by a decomposition of the whole matrix.
  init?(whole matrix: inout [Double], size: Int, count: Int) {
    guard size > 0, 1...size ~= count, matrix.count == size * size, let order = Int32(exactly: size)
    else { return nil }
    openblas_set_num_threads(1)
    var (n, found, info) = (order, Int32(0), Int32(0))
    var (low, high) = (0.0, 0.0)
    var (first, last, tolerance) = (order - Int32(count) + 1, order, 0.0)
    var found_values = [Double](repeating: 0, count: size)
    var columns = [Double](repeating: 0, count: size * count)
    var support = [Int32](repeating: 0, count: 2 * size)
    // A first call asks how much room the second needs.
    var (workSize, integerSize) = (Int32(-1), Int32(-1))
    var work = [0.0]
    var integers: [Int32] = [0]
    for _ in 0..<2 {
      dsyevr_(
        "V", "I", "U", &n, &matrix, &n, &low, &high, &first, &last, &tolerance, &found,
        &found_values, &columns, &n, &support, &work, &workSize, &integers, &integerSize, &info)
      guard info == 0, let size = Int32(exactly: work[0].rounded(.up)) else { return nil }
      if workSize < 0 {
        (workSize, integerSize) = (max(size, 1), max(integers[0], 1))
        work = [Double](repeating: 0, count: Int(workSize))
        integers = [Int32](repeating: 0, count: Int(integerSize))
      }
    }
    guard Int(found) == count else { return nil }
    self.init(
      values: found_values[..<count].reversed(),
      vectors: (0..<count).reversed().map { Array(columns[$0 * size..<($0 + 1) * size]) })
  }
}
