import CKernels
import Foundation
import TestSupport
import Testing

/// Sums over values against plain loops.
@Suite struct StatisticsKernelTests {
  /// Every length to 40 values, and those about multiples of sixteen further on.
  private static let lengths = Array(0...40) + [127, 128, 129, 1000, 4096, 4099]

  /// Random values, with every kind of special one among them.
  private func values(_ count: Int) -> [Float] {
    var generator = SeededGenerator(seed: UInt64(count) + 1)
    let special: [Float] = [
      0, -0.0, .nan, Float(bitPattern: 0xFFC1_2345), Float(bitPattern: 0x7F80_0001), .infinity,
      -.infinity, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude,
    ]
    return generator.floats(count).map { value in
      let pick = Int.random(in: 0..<40, using: &generator)
      return pick < special.count ? special[pick] : value
    }
  }

  @Test func sumsEqualPlainOnes() {
    for count in StatisticsKernelTests.lengths {
      let values = values(count)
      var sums = pb_value_sums()
      pb_sum_values(values, count, &sums)
      let finite = values.filter(\.isFinite)
      #expect(sums.finite == finite.count)
      #expect(sums.zeros == values.count { $0 == 0 })
      #expect(sums.nan == values.count(where: \.isNaN))
      #expect(sums.positive_infinity == values.count { $0 == .infinity })
      #expect(sums.negative_infinity == values.count { $0 == -.infinity })
      #expect(sums.minimum == finite.min() ?? .infinity)
      #expect(sums.maximum == finite.max() ?? -.infinity)
      let wide = finite.map(Double.init)
      let scale = wide.reduce(0) { $0 + abs($1) }
      #expect(abs(sums.sum - wide.reduce(0, +)) <= 1e-14 * scale, "\(count) values")
      let squares = wide.reduce(0) { $0 + $1 * $1 }
      #expect(abs(sums.squares - squares) <= 1e-14 * squares, "\(count) values")
    }
  }

  @Test func dotProductsEqualPlainOnes() {
    for count in StatisticsKernelTests.lengths {
      var generator = SeededGenerator(seed: UInt64(count) + 3)
      let (a, b) = (generator.floats(count), generator.floats(count))
      let terms = zip(a, b).map { Double($0) * Double($1) }
      let scale = terms.reduce(0) { $0 + abs($1) }
      #expect(abs(pb_dot(a, b, count) - terms.reduce(0, +)) <= 1e-15 * scale, "\(count) values")
    }
  }

  /// Every width about the edges of tiles, of no row, one and many.
  @Test(arguments: [0, 1, 3, 40])
  func sumsOfProductsEqualPlainOnes(rows: Int) {
    for width in Array(1...26) + [63, 64, 65] {
      var generator = SeededGenerator(seed: UInt64(100 * rows + width))
      let x = generator.floats(rows * width).map(Double.init)
      let before = generator.floats(width * width).map(Double.init)
      for tileRows in Set([4, pb_products_tile_rows()]) {
        var sums = before
        var scratch = [Double](repeating: .nan, count: pb_products_scratch(rows, width))
        pb_add_products(x, rows, width, tileRows, &sums, &scratch)
        for i in 0..<width {
          for j in i..<width {
            var expected = 0.0
            for k in 0..<rows { expected.addProduct(x[k * width + i], x[k * width + j]) }
            expected += before[i * width + j]
            #expect(
              sums[i * width + j] == expected,
              "\(rows) rows of \(width) in tiles of \(tileRows), at \(i), \(j)")
          }
        }
      }
    }
  }

  @Test func logSumExpEqualsThePlainOne() {
    for count in StatisticsKernelTests.lengths where count > 0 {
      var generator = SeededGenerator(seed: UInt64(count) + 7)
      for spread in [Float(0.5), 20, 200] {
        var values = generator.floats(count, in: -spread...spread)
        let top = Double(values.max() ?? 0)
        let plain = top + log(values.reduce(0) { $0 + exp(Double($1) - top) })
        let found = pb_log_sum_exp(values, count)
        #expect(abs(found - plain) < 2e-6, "\(count) values, spread \(spread)")
        for bad in [Float.nan, .infinity, -.infinity] {
          let place = count / 2
          let old = values[place]
          values[place] = bad
          let changed = pb_log_sum_exp(values, count)
          if bad != -.infinity || count == 1 {
            #expect(changed.isNaN)
          } else {
            // The largest may be the one that was replaced.
            let top = Double(values.max() ?? 0)
            let rest = top + log(values.reduce(0) { $0 + exp(Double($1) - top) })
            #expect(abs(changed - rest) < 2e-6, "\(count) values, spread \(spread)")
          }
          values[place] = old
        }
      }
    }
  }

  @Test func deviationsEqualPlainOnes() {
    for count in StatisticsKernelTests.lengths {
      let values = values(count)
      for mean in [0, 0.75, -1e6] {
        let plain = values.filter(\.isFinite).reduce(0) {
          $0 + (Double($1) - mean) * (Double($1) - mean)
        }
        let sum = pb_squared_deviations(values, count, mean)
        #expect(abs(sum - plain) <= 1e-14 * plain, "\(count) values about \(mean)")
      }
    }
  }
}
