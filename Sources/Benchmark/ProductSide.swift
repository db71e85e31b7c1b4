import COpenBLAS
import Model

/// A product that one thread makes, by our own code or OpenBLAS's.
final class ProductSide: @unchecked Sendable {
  let (rows, inner, columns): (Int, Int, Int)
  let x, w, y: Matrix
  let linear: Linear
  let scratch = MultiplyScratch()

  init(rows: Int, inner: Int, columns: Int) {
    (self.rows, self.inner, self.columns) = (rows, inner, columns)
    x = Matrix(rows: rows, columns: inner, values: ProductSide.values(rows * inner))
    w = Matrix(rows: inner, columns: columns, values: ProductSide.values(inner * columns))
    y = Matrix(rows: rows, columns: columns)
    linear = Linear(w, bias: nil)
  }

  static func values(_ count: Int) -> [Float] {
    (0..<count).map { Float(($0 &* 2_654_435_761) & 1023) / 1024 - 0.5 }
  }

  func ours() { linear.apply(x.pointer, rows: rows, into: y.pointer, scratch: scratch) }

  func theirs() {
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows), blasint(columns),
      blasint(inner), 1, x.pointer, blasint(inner), w.pointer, blasint(columns), 0, y.pointer,
      blasint(columns))
  }
}

/// GFLOPS of all sides together, each on a thread of its own, over some 2 GFLOP a side.
func rate(_ sides: [ProductSide], _ body: @Sendable (ProductSide) -> Void) -> Double {
  let work = 2e-9 * Double(sides[0].rows * sides[0].inner * sides[0].columns)
  let times = max(1, Int(2 / work))
  return work * Double(times * sides.count)
    / seconds {
      onThreads(sides.count) { thread in
        for _ in 0..<times { body(sides[thread]) }
      }
    }
}
