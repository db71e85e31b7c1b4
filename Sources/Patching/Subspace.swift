/// A subspace of the rows of an activation, as an orthonormal basis.
public struct Subspace: Hashable, Sendable {
  /// The number of values of a row.
  public let width: Int
  /// [K, width], orthonormal rows.
  let basis: [Float]

  /// K.
  public var dimension: Int { basis.count / width }

  /// The span of some rows, orthonormalised one after the other (Gram and Schmidt's process, twice,
  /// in double precision).
  ///
  /// - Throws: `PatchingError.noSubspace` if there are no rows or values, a value is not finite, or a row
  ///   depends on those before it.
  public init(rows: [[Float]]) throws(PatchingError) {
    guard let width = rows.first?.count, width > 0, rows.allSatisfy({ $0.count == width }) else {
      throw .noSubspace("it has no rows of equal length")
    }
    var basis: [[Double]] = []
    for (number, row) in rows.enumerated() {
      var rest = row.map(Double.init)
      let size = length(rest)
      guard size.isFinite, size > 0 else {
        throw .noSubspace("row \(number) is zero or not finite")
      }
      for _ in 0..<2 {
        for known in basis {
          let part = zip(known, rest).reduce(0) { $0 + $1.0 * $1.1 }
          for i in rest.indices { rest[i] -= part * known[i] }
        }
      }
      let remaining = length(rest)
      guard remaining > 1e-6 * size else {
        throw .noSubspace("row \(number) is a combination of the rows before it")
      }
      basis.append(rest.map { $0 / remaining })
    }
    self.width = width
    self.basis = basis.flatMap { $0.map(Float.init) }
  }

  /// Replaces a row's component in the subspace: x + P (other − x).
  ///
  /// - Parameters:
  ///   - row, other: `width` values.
  func replaceComponent(
    of row: UnsafeMutablePointer<Float>, by other: UnsafePointer<Float>
  ) {
    let parts = (0..<dimension).map { number in
      (0..<width).reduce(0.0) {
        $0 + Double(basis[number * width + $1]) * (Double(other[$1]) - Double(row[$1]))
      }
    }
    for i in 0..<width {
      let change = parts.indices.reduce(0.0) { $0 + parts[$1] * Double(basis[$1 * width + i]) }
      if change != 0 { row[i] = Float(Double(row[i]) + change) }
    }
  }
}

private func length(_ row: [Double]) -> Double {
  row.reduce(0) { $0 + $1 * $1 }.squareRoot()
}
