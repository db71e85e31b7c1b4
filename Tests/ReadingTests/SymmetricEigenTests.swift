import TestSupport
import Testing

@testable import Reading

/// Block Lanczos iteration against LAPACK's decomposition of the whole, and both against what
/// eigenvectors must be.
@Suite struct SymmetricEigenTests {
  struct Spectrum: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Whether neighbours are too close for an iteration with half as many vectors as rows.
    var isFlat = false
    /// The number of the eigenvalue to it.
    let value: @Sendable (Int) -> Double
  }

  static let spectra = [
    Spectrum(testDescription: "geometric") { power(0.8, $0) },
    Spectrum(testDescription: "a line", isFlat: true) { 1 - Double($0) / 200 },
    Spectrum(testDescription: "one value far above all") { $0 == 0 ? 1e9 : 1 / Double($0) },
    Spectrum(testDescription: "values that are equal") { $0 < 3 ? 5 : $0 < 9 ? 4 : power(0.9, $0) },
    Spectrum(testDescription: "eight equal ones") { $0 < 8 ? 2 : $0 < 20 ? 1.9 : 0.5 },
    Spectrum(testDescription: "rank three") { $0 < 3 ? Double(3 - $0) : 0 },
    Spectrum(testDescription: "all equal") { _ in 7 },
    Spectrum(testDescription: "small ones") { 1e-60 * power(0.7, $0) },
    Spectrum(testDescription: "negative ones as large", isFlat: true) {
      $0.isMultiple(of: 2) ? 3 - Double($0) / 50 : -3
    },
    Spectrum(testDescription: "a large negative one") { $0 == 150 ? -9 : 1 / Double($0 + 1) },
  ]

  @Test(arguments: spectra, [1, 4, 8])
  func equalsTheWhole(_ spectrum: Spectrum, count: Int) throws {
    let size = 200
    let matrix = SymmetricEigenTests.matrix(size, spectrum)
    var copy = matrix
    let whole = try #require(SymmetricEigen(whole: &copy, size: size, count: count))
    copy = matrix
    let found = try #require(SymmetricEigen(&copy, size: size, count: count))
    let scale = (0..<size).map { abs(spectrum.value($0)) }.max() ?? 0
    for (number, values) in zip(found.values, whole.values).enumerated() {
      #expect(abs(values.0 - values.1) < 2e-14 * scale, "\(number)")
    }
    check(found, matrix, size, scale)
    check(whole, matrix, size, scale)
  }

  /// The iteration itself ends with what is asked for, where it can.
  @Test(arguments: spectra)
  func iterationEnds(_ spectrum: Spectrum) {
    let matrix = SymmetricEigenTests.matrix(200, spectrum)
    #expect((BlockLanczos(matrix, size: 200, count: 3) == nil) == spectrum.isFlat)
  }

  @Test func zerosAndSmallMatrices() throws {
    for (size, count) in [(1, 1), (2, 2), (130, 4), (130, 130)] {
      var zeros = [Double](repeating: 0, count: size * size)
      let found = try #require(SymmetricEigen(&zeros, size: size, count: count))
      #expect(found.values.allSatisfy { $0 == 0 })
      check(found, [Double](repeating: 0, count: size * size), size, 1)
    }
    var none: [Double] = []
    #expect(SymmetricEigen(&none, size: 0, count: 1) == nil)
    var two = [1.0, 0, 0, 1]
    #expect(SymmetricEigen(&two, size: 2, count: 3) == nil)
  }

  /// Vectors are orthonormal, their largest element is positive, and A v = λ v.
  private func check(_ eigen: SymmetricEigen, _ matrix: [Double], _ size: Int, _ scale: Double) {
    for (number, vector) in eigen.vectors.enumerated() {
      for (other, second) in eigen.vectors.enumerated() {
        let product = zip(vector, second).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(abs(product - (number == other ? 1 : 0)) < 1e-11, "\(number), \(other)")
      }
      #expect(vector.reduce(0.0) { abs($1) > abs($0) ? $1 : $0 } > 0)
      let squares = (0..<size).reduce(0.0) { sum, row in
        let image = (0..<size).reduce(0.0) { $0 + matrix[row * size + $1] * vector[$1] }
        let difference = image - eigen.values[number] * vector[row]
        return sum + (difference / scale) * (difference / scale)
      }
      #expect(squares.squareRoot() < 1e-13, "\(number)")
    }
  }

  /// Q diag(values) Qᵀ, of a random orthogonal Q.
  private static func matrix(_ size: Int, _ spectrum: Spectrum) -> [Double] {
    var generator = SeededGenerator(seed: 5)
    var columns: [[Double]] = []
    for _ in 0..<size {
      var vector = generator.floats(size).map(Double.init)
      for _ in 0..<2 {
        for other in columns {
          let share = zip(vector, other).reduce(0) { $0 + $1.0 * $1.1 }
          vector = zip(vector, other).map { $0 - share * $1 }
        }
      }
      let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
      columns.append(vector.map { $0 / length })
    }
    var matrix = [Double](repeating: 0, count: size * size)
    for (number, vector) in columns.enumerated() {
      let value = spectrum.value(number)
      for row in 0..<size {
        for column in 0..<size {
          matrix[row * size + column] += value * vector[row] * vector[column]
        }
      }
    }
    return matrix
  }
}

private func power(_ base: Double, _ exponent: Int) -> Double {
  (0..<exponent).reduce(1) { product, _ in product * base }
}
