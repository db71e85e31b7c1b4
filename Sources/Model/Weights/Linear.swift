import CKernels

/// A weight matrix [inner, columns] in the order in which products read it, and its bias: what takes
/// x to x W + b.
///
/// The bits of a product's row depend on that row alone, whatever rows stand beside it, and are the
/// same on every CPU (`matmul.h`).
///
/// Thread safety: immutable, and safe to use from any thread.
public final class Linear: Sendable {
  public let inner: Int
  public let columns: Int
  /// [1, columns]; nil stands for zeros.
  public let bias: Matrix?
  private let panels: Matrix

  /// The name of the way in which products are summed, on which their bits depend: fused
  /// multiply-adds, 768 at a time.
  public static let arithmetic = "fused-768"

  /// From a matrix [inner, columns].
  public init(_ matrix: Matrix, bias: Matrix?) {
    (inner, columns) = (matrix.rows, matrix.columns)
    self.bias = bias
    panels = Matrix(rows: 1, columns: pb_packed_count(inner, columns, Linear.panelWidth))
    pb_pack_matrix(matrix.pointer, inner, columns, Linear.panelWidth, panels.pointer)
  }

  /// From the transpose [columns, inner] of a matrix.
  public init(transposed matrix: Matrix, bias: Matrix?) {
    (inner, columns) = (matrix.columns, matrix.rows)
    self.bias = bias
    panels = Matrix(rows: 1, columns: pb_packed_count(inner, columns, Linear.panelWidth))
    pb_pack_transposed(matrix.pointer, inner, columns, Linear.panelWidth, panels.pointer)
  }

  /// y = x W + b.
  ///
  /// - Parameters:
  ///   - x: [rows, inner], without gaps.
  ///   - y: [rows, columns], without gaps.
  public func apply(
    _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>,
    scratch: MultiplyScratch
  ) {
    multiply(
      x, rows: rows, stride: inner, inner: 0..<inner, columns: 0..<columns, bias: bias, into: y,
      stride: columns, scratch: scratch)
  }

  /// The part of the product that some rows and columns of W make.
  ///
  /// - Parameters:
  ///   - x: `rows` rows of `innerRange.count` values, `xStride` apart.
  ///   - bias: [1, columns], of which those in `columnRange` are added; nil for none.
  ///   - y: `rows` rows of `columnRange.count` values, `yStride` apart.
  /// - Precondition: the ranges lie within the matrix.
  public func multiply(
    _ x: UnsafePointer<Float>, rows: Int, stride xStride: Int, inner innerRange: Range<Int>,
    columns columnRange: Range<Int>, bias: Matrix?, into y: UnsafeMutablePointer<Float>,
    stride yStride: Int, scratch: MultiplyScratch
  ) {
    precondition(innerRange.upperBound <= inner && columnRange.upperBound <= columns)
    scratch.operations += 2 * Double(rows) * Double(innerRange.count) * Double(columnRange.count)
    var packed = pb_packed_matrix(
      panels: panels.pointer, inner: inner, columns: columns, width: Linear.panelWidth)
    pb_multiply(
      x, xStride, rows, &packed, innerRange.lowerBound, innerRange.count, columnRange.lowerBound,
      columnRange.count, bias.map { UnsafePointer($0.pointer + columnRange.lowerBound) }, y,
      yStride, scratch.pointer)
  }

  /// Some rows and columns of W, as they were.
  ///
  /// - Precondition: the ranges lie within the matrix.
  public func values(rows rowRange: Range<Int>, columns columnRange: Range<Int>) -> Matrix {
    precondition(rowRange.lowerBound >= 0 && rowRange.upperBound <= inner)
    precondition(columnRange.lowerBound >= 0 && columnRange.upperBound <= columns)
    let (width, count) = (Linear.panelWidth, columnRange.count)
    let values = Matrix(rows: rowRange.count, columns: count)
    var column = columnRange.lowerBound
    while column < columnRange.upperBound {
      let part = min(width - column % width, columnRange.upperBound - column)
      for (index, row) in rowRange.enumerated() {
        (values.pointer + index * count + column - columnRange.lowerBound).update(
          from: place(of: column) + row * width, count: part)
      }
      column += part
    }
    return values
  }
}

extension Linear {
  /// Values of a row of the matrix that lie side by side.
  private static let panelWidth = pb_panel_width()

  /// Where a column's first value is; the next ones are `panelWidth` apart.
  private func place(of column: Int) -> UnsafeMutablePointer<Float> {
    let width = Linear.panelWidth
    return panels.pointer + column / width * width * inner + column % width
  }

  /// What takes y to y Wᵀ, without a bias.
  public func transposed() -> Linear {
    Linear(transposed: values(rows: 0..<inner, columns: 0..<columns), bias: nil)
  }
}

/// Memory for products on one thread: some 0.4 MB, taken when the first product needs it.
public final class MultiplyScratch {
  private lazy var matrix = Matrix(rows: 1, columns: pb_multiply_scratch())
  var pointer: UnsafeMutablePointer<Float> { matrix.pointer }
  /// Floating-point operations of the products so far, two a multiply-add.
  public internal(set) var operations = 0.0

  public init() {}
}
