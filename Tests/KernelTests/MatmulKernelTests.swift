import CKernels
import Glibc
import TestSupport
import Testing

@Suite struct MatmulKernels {
  /// Products by their definition: fused multiply-adds in order, 768 at a time.
  private func naive(
    _ x: [Float], _ w: [Float], bias: [Float]?, rows: Int, inner: Int, columns: Int
  ) -> [Float] {
    var y = [Float](repeating: 0, count: rows * columns)
    for r in 0..<rows {
      for c in 0..<columns {
        var value = bias?[c] ?? 0
        for first in stride(from: 0, to: inner, by: 768) {
          var sum: Float = 0
          for k in first..<min(inner, first + 768) {
            sum = fma(x[r * inner + k], w[k * columns + c], sum)
          }
          value += sum
        }
        y[r * columns + c] = value
      }
    }
    return y
  }

  /// The widths of panels that can be multiplied here.
  private static let widths = Set([16, pb_panel_width()])

  private func packed(_ w: [Float], inner: Int, columns: Int, width: Int) -> [Float] {
    var panels = [Float](repeating: .nan, count: pb_packed_count(inner, columns, width))
    pb_pack_matrix(w, inner, columns, width, &panels)
    return panels
  }

  /// The product of a part of W [shape], in panels of every width, which must agree.
  private func multiply(
    _ x: [Float], stride: Int, rows: Int, _ w: [Float], shape: (inner: Int, columns: Int),
    inner: Range<Int>, columns: Range<Int>, bias: [Float]?
  ) -> [Float] {
    let products = MatmulKernels.widths.map { width in
      var y = [Float](repeating: 99, count: rows * columns.count)
      var scratch = [Float](repeating: .nan, count: pb_multiply_scratch())
      packed(w, inner: shape.inner, columns: shape.columns, width: width).withUnsafeBufferPointer {
        var w = pb_packed_matrix(
          panels: $0.baseAddress, inner: shape.inner, columns: shape.columns, width: width)
        pb_multiply(
          x, stride, rows, &w, inner.lowerBound, inner.count, columns.lowerBound, columns.count,
          bias, &y, columns.count, &scratch)
      }
      return y
    }
    for other in products.dropFirst() {
      let same = zip(products[0], other).allSatisfy {
        $0.bitPattern == $1.bitPattern || $0.isNaN && $1.isNaN
      }
      #expect(same, "with and without AVX-512")
    }
    return products[0]
  }

  /// Every number of rows about the tiles' and blocks' edges, widths about the panels', depths about
  /// the blocks' and the packing's.
  @Test(arguments: [
    (0, 40), (1, 1), (3, 31), (16, 32), (7, 33), (15, 17), (80, 112), (768, 40), (769, 65),
    (1600, 5),
  ])
  func productsHaveTheBitsOfTheirDefinition(inner: Int, columns: Int) {
    var generator = SeededGenerator(seed: UInt64(inner * 1000 + columns))
    let w = generator.floats(inner * columns)
    let bias = generator.floats(columns)
    let counts = inner < 100 ? Array(0...27) + [191, 192, 193, 400] : [1, 6, 12, 13, 195, 577]
    for rows in counts {
      let x = generator.floats(rows * inner)
      for bias in [bias, nil] {
        let y = multiply(
          x, stride: inner, rows: rows, w, shape: (inner, columns), inner: 0..<inner,
          columns: 0..<columns, bias: bias)
        let expected = naive(x, w, bias: bias, rows: rows, inner: inner, columns: columns)
        #expect(
          zip(y, expected).allSatisfy { $0.bitPattern == $1.bitPattern }, "\(rows) rows")
      }
    }
  }

  @Test func partsOfAProduct() {
    var generator = SeededGenerator(seed: 5)
    let (rows, inner, columns) = (29, 70, 150)
    let w = generator.floats(inner * columns)
    let bias = generator.floats(columns)
    let x = generator.floats(rows * inner)
    for columnRange in [0..<1, 5..<27, 30..<34, 32..<64, 31..<97, 100..<150, 149..<150] {
      for innerRange in [0..<70, 3..<5, 24..<48] {
        let part = (0..<rows).flatMap { r in x[(r * inner)..<(r * inner + innerRange.count)] }
        let found = multiply(
          x, stride: inner, rows: rows, w, shape: (inner, columns), inner: innerRange,
          columns: columnRange, bias: Array(bias[columnRange]))
        let some = innerRange.flatMap { k in w[(k * columns)..<((k + 1) * columns)][...] }
        let cut = innerRange.indices.flatMap { _ in [Float]() } + some
        let weights = stride(from: 0, to: cut.count, by: columns).flatMap { row in
          cut[(row + columnRange.lowerBound)..<(row + columnRange.upperBound)]
        }
        let expected = naive(
          part, weights, bias: Array(bias[columnRange]), rows: rows, inner: innerRange.count,
          columns: columnRange.count)
        #expect(found == expected, "columns \(columnRange), inner \(innerRange)")
      }
    }
  }

  @Test func aTransposedMatrixIsTheSame() {
    var generator = SeededGenerator(seed: 8)
    for (inner, columns) in [(1, 1), (17, 40), (33, 32), (20, 95)] {
      let w = generator.floats(inner * columns)
      var transposed = [Float](repeating: 0, count: w.count)
      for k in 0..<inner {
        for c in 0..<columns { transposed[c * inner + k] = w[k * columns + c] }
      }
      for width in MatmulKernels.widths {
        var panels = [Float](repeating: .nan, count: pb_packed_count(inner, columns, width))
        pb_pack_transposed(transposed, inner, columns, width, &panels)
        #expect(panels == packed(w, inner: inner, columns: columns, width: width))
      }
    }
  }

  /// What is no number stays in its own row.
  @Test func infinitiesStayInTheirRow() {
    var generator = SeededGenerator(seed: 11)
    let (rows, inner, columns) = (14, 9, 35)
    var x = generator.floats(rows * inner)
    let w = generator.floats(inner * columns)
    x[3 * inner + 2] = .infinity
    x[3 * inner + 4] = .nan
    let y = multiply(
      x, stride: inner, rows: rows, w, shape: (inner, columns), inner: 0..<inner,
      columns: 0..<columns, bias: nil)
    for row in 0..<rows {
      let values = y[row * columns..<(row + 1) * columns]
      #expect(values.allSatisfy { row == 3 ? $0.isNaN : $0.isFinite })
    }
  }
}
