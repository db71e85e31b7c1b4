import CKernels
import Patching

/// The largest eigenvalues of a large symmetric matrix and their eigenvectors, without a decomposition of
/// the whole: by block Lanczos iteration (Golub and Underwood 1977, "The block Lanczos method for
/// computing eigenvalues") from eight random vectors, every block made orthogonal to all before it.
/// Eigenvalues that are equal are found too, up to eight of them.
struct BlockLanczos {
  /// Falling.
  let values: [Double]
  /// Of each value, a vector of length 1.
  let vectors: [[Double]]

  /// How many can be found.
  static let counts = 1...Int(PB_BLOCK)

  /// What a residual |Ax − λx| may be of the largest |Ax| of vectors of length 1 that was met.
  private static let tolerance = 1e-14
  /// The part of it below which a vector is nothing but rounding.
  private static let negligible = 1e-15
  /// Bounds what a search in vain costs.
  private static let mostVectors = 320

  /// - Parameters:
  ///   - matrix: [size, size], both of its triangles.
  ///   - count: one of `counts`.
  /// - Returns: nil if 320 vectors, or half as many as the matrix has rows, are not enough, and for a matrix
  ///   of zeros.
  init?(_ matrix: [Double], size: Int, count: Int) {
    let width = Int(PB_BLOCK)
    var random = SplitMix64(state: 0)
    var basis = Basis(size: size)
    var next = Basis.Block(repeating: 0, count: size * width)
    _ = basis.makeNext(&next, negligible: .infinity, random: &random)
    var products: [[Double]] = []  // by block j: Q_iᵀ A Q_j of the blocks i up to j, [j + 1, 8, 8]
    var scale = 0.0
    var nextTest = 3
    while (basis.blocks.count + 1) * width <= min(size / 2, BlockLanczos.mostVectors) {
      basis.blocks.append(next)
      let blocks = basis.blocks.count
      var product = Basis.Block(repeating: 0, count: size * width)
      pb_multiply_block(matrix, size, next, &product)
      for column in 0..<width { scale = max(scale, Basis.norm(of: product, column)) }
      guard scale > 0 else { return nil }
      let (shares, rest) = basis.makeNext(
        &product, negligible: BlockLanczos.negligible * scale, random: &random)
      products.append(shares)
      next = product
      guard blocks >= nextTest || rest.allSatisfy({ $0 == 0 }) else { continue }
      nextTest = blocks + max(1, blocks / 4)

      var projected = BlockLanczos.assemble(products)
      guard let ritz = SymmetricEigen(whole: &projected, size: blocks * width, count: count) else {
        return nil
      }
      // A Q s = Q T s + Q_next R s_last, so that the length of R s_last is the residual's.
      let isDone = ritz.vectors.allSatisfy { vector in
        let last = vector.suffix(width)
        let squares = (0..<width).reduce(0.0) { sum, row in
          let factors = rest[row * width..<(row + 1) * width]
          let value = zip(factors, last).reduce(0) { $0 + $1.0 * $1.1 }
          return sum + value * value
        }
        return squares.squareRoot() <= BlockLanczos.tolerance * scale
      }
      guard isDone else { continue }
      values = ritz.values
      vectors = ritz.vectors.map { basis.combine($0) }
      return
    }
    return nil
  }

  /// Qᵀ A Q, which is symmetric.
  private static func assemble(_ products: [[Double]]) -> [Double] {
    let width = Int(PB_BLOCK)
    let size = products.count * width
    var matrix = [Double](repeating: 0, count: size * size)
    for (column, parts) in products.enumerated() {
      for row in 0...column {
        for i in 0..<width {
          for j in 0..<width {
            let value = parts[(row * width + i) * width + j]
            matrix[(row * width + i) * size + column * width + j] = value
            matrix[(column * width + j) * size + row * width + i] = value
          }
        }
      }
    }
    return matrix
  }
}

/// Orthonormal vectors, eight by eight.
private struct Basis {
  /// [size, 8]
  typealias Block = [Double]

  let size: Int
  var blocks: [Block] = []
  private let width = Int(PB_BLOCK)

  init(size: Int) {
    self.size = size
  }

  static func norm(of block: Block, _ column: Int) -> Double {
    var sum = 0.0
    for i in stride(from: column, to: block.count, by: Int(PB_BLOCK)) { sum += block[i] * block[i] }
    return sum.squareRoot()
  }

  /// Makes a block's vectors orthonormal, and orthogonal to the basis. One of which no more than `negligible`
  /// is left is replaced by a random one.
  ///
  /// - Returns: what the vectors had of the basis, [blocks, 8, 8], and what they had of those that they have
  ///   become, [8, 8].
  func makeNext(
    _ block: inout Block, negligible: Double, random: inout SplitMix64
  ) -> (shares: [Double], rest: [Double]) {
    let shares = project(&block)
    let rest = orthonormalize(&block, negligible: negligible, random: &random)
    // What rounding left of others in short vectors has grown with them; now they have length 1.
    _ = project(&block)
    _ = orthonormalize(&block, negligible: 0, random: &random)
    return (shares, rest)
  }

  private func project(_ block: inout Block) -> [Double] {
    var shares: [Double] = []
    var dots = [Double](repeating: 0, count: width * width)
    for known in blocks {
      pb_block_dots(known, block, size, &dots)
      pb_subtract_block(known, dots, size, &block)
      shares += dots
    }
    return shares
  }

  private func orthonormalize(
    _ block: inout Block, negligible: Double, random: inout SplitMix64
  ) -> [Double] {
    var shares = [Double](repeating: 0, count: width * width)
    for column in 0..<width {
      for (earlier, share) in subtractEarlier(column, from: &block).enumerated() {
        shares[earlier * width + column] = share
      }
      var length = Basis.norm(of: block, column)
      if length > negligible {
        shares[column * width + column] = length
      } else {
        for i in stride(from: column, to: block.count, by: width) {
          block[i] = Double.random(in: -1...1, using: &random)
        }
        // A random vector has little of all others.
        _ = subtractEarlier(column, from: &block)
        length = Basis.norm(of: block, column)
      }
      for i in stride(from: column, to: block.count, by: width) { block[i] /= length }
    }
    return shares
  }

  /// Takes from a vector what it has of those before it in the block. Returns what that was.
  private func subtractEarlier(_ column: Int, from block: inout Block) -> [Double] {
    (0..<column).map { earlier in
      var dot = 0.0
      for i in stride(from: 0, to: block.count, by: width) {
        dot += block[i + earlier] * block[i + column]
      }
      for i in stride(from: 0, to: block.count, by: width) {
        block[i + column] -= dot * block[i + earlier]
      }
      return dot
    }
  }

  /// The vector that has these shares of the basis, of length 1. [size]
  func combine(_ shares: [Double]) -> [Double] {
    var vector = [Double](repeating: 0, count: size)
    for (number, block) in blocks.enumerated() {
      for i in 0..<size {
        for j in 0..<width { vector[i] += block[i * width + j] * shares[number * width + j] }
      }
    }
    let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return vector.map { $0 / length }
  }
}
