import CKernels
import TestSupport
import Testing

/// Products of blocks of eight vectors against plain loops, bit for bit.
@Suite struct BlockKernelTests {
  private static let width = Int(PB_BLOCK)

  @Test(arguments: Array(1...9) + [63, 64, 65, 130])
  func blocksEqualPlainLoops(n: Int) {
    let width = BlockKernelTests.width
    var generator = SeededGenerator(seed: UInt64(n))
    func doubles(_ count: Int) -> [Double] { generator.floats(count).map(Double.init) }
    let (matrix, q, w, c) = (
      doubles(n * n), doubles(n * width), doubles(n * width), doubles(width * width)
    )
    var (product, rest) = ([Double](repeating: .nan, count: n * width), w)
    var dots = [Double](repeating: .nan, count: width * width)
    pb_multiply_block(matrix, n, q, &product)
    pb_block_dots(q, w, n, &dots)
    pb_subtract_block(q, c, n, &rest)
    for column in 0..<width {
      for i in 0..<n {
        var sum = 0.0
        for j in 0..<n { sum.addProduct(matrix[i * n + j], q[j * width + column]) }
        #expect(product[i * width + column] == sum, "\(i), \(column)")
        var left = w[i * width + column]
        for j in 0..<width { left.addProduct(-q[i * width + j], c[j * width + column]) }
        #expect(rest[i * width + column] == left, "\(i), \(column)")
      }
      for row in 0..<width {
        var dot = 0.0
        for i in 0..<n { dot.addProduct(q[i * width + row], w[i * width + column]) }
        #expect(dots[row * width + column] == dot, "\(row), \(column)")
      }
    }
  }
}
