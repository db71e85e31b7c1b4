import CKernels
import CacheFormat
import Model
import Parallel
import Patching

/// What the rows of a hook are like at one place of many prompts: their mean, their norms, and the
/// directions in which they vary most.
public struct RowStatistics: Sendable {
  /// Which rows.
  public enum Rows: Sendable, Equatable {
    case run(ReadRun)
    /// The clean run's minus the corrupted one's.
    case difference
  }

  public let hook: HookPoint
  /// The number of prompts.
  public let count: Int
  /// x̄, [width].
  public let mean: [Double]
  /// The mean of the Euclidean norms of the rows, and their standard deviation
  /// √(Σ (|x| − mean)² / (n − 1)), nil for fewer than two.
  public let meanNorm: Double
  public let normDeviation: Double?
  /// Σ (x − x̄)² / (n − 1), summed over the values; nil for fewer than two prompts.
  public let variance: Double?
  /// The eigenvectors of the covariance Σ (x − x̄)(x − x̄)ᵀ / (n − 1) with the largest eigenvalues, of
  /// length 1, the largest first; of the largest element of each the sign is positive. [count, width]
  public let directions: [[Double]]
  /// Their eigenvalues, the variance along each.
  public let directionVariances: [Double]

  /// |x̄|.
  public var normOfMean: Double { mean.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  /// The most values of a row of which principal directions are taken.
  public static let widthLimit = 8192
}

extension RowStatistics {
  /// Reads the rows of some hooks at a place of all prompts that have it, in their order. At a place of
  /// several positions a prompt's row is the mean over them.
  ///
  /// - Parameters:
  ///   - head: takes this head's part of each row; nil for whole rows.
  ///   - directions: how many principal directions.
  /// - Returns: by hook.
  /// - Throws: `ReadingError`, `CacheError`.
  /// - Precondition: `pairs` are given by their clean runs and have the place.
  public static func read(
    _ hooks: [HookPoint], of pairs: [PatchingPair], rows: Rows, at place: Place, head: Int?,
    directions: Int, cache: CacheReader, prompts: [Prompt], threads: Int,
    progress: (Int) -> Void = { _ in }
  ) throws -> [RowStatistics] {
    let reader = try RowReader(
      hooks, rows: rows, place: place, head: head, cache: cache, prompts: prompts)
    for (hook, width) in zip(hooks, reader.widths) where directions > 0 {
      guard width <= widthLimit else {
        throw ReadingError.rowsTooWide(hook: hook.name, width: width, limit: widthLimit)
      }
      guard directions <= min(width, pairs.count - 1) else {
        throw ReadingError.tooManyDirections(directions, prompts: pairs.count, width: width)
      }
    }
    var sums = reader.widths.map { RowSums(width: $0, withSquares: directions > 0) }
    var waiting = hooks.map { _ in [Float]() }
    func addWaiting() {
      let rows = waiting
      sums.withUnsafeMutableBufferPointer { sums in
        // Each is changed by the thread that took its number.
        nonisolated(unsafe) let sums = sums
        _ = parallelMap(hooks.count, threads: threads) { sums[$0].add(rows[$0]) }
      }
      for hook in hooks.indices { waiting[hook].removeAll(keepingCapacity: true) }
    }
    let batch = 32
    var (done, added) = (0, 0)
    try parallelForEach((pairs.count + batch - 1) / batch, threads: threads) { number in
      let range = number * batch..<min(pairs.count, (number + 1) * batch)
      return (range.count, try reader.read(pairs[range]))
    } then: { (count: Int, arrays: [[Float]]) in
      for hook in hooks.indices { waiting[hook] += arrays[hook] }
      done += count
      // A product of many rows is faster than one of few.
      if done - added >= rowsPerProduct {
        addWaiting()
        added = done
      }
      progress(done)
    }
    addWaiting()
    let all = sums
    return try parallelMap(hooks.count, threads: threads) {
      try all[$0].statistics(of: hooks[$0], directions: directions)
    }
  }

  /// Sums are taken over so many rows, so that this is part of their bits.
  private static let rowsPerProduct = 256
}

/// Reads rows of hooks at a place.
private struct RowReader: Sendable {
  let hooks: [HookPoint]
  let rows: RowStatistics.Rows
  let place: Place
  let prompts: [Prompt]
  /// By hook.
  let widths: [Int]
  private let strides: [Int]
  /// By hook: where the head's part of a position begins.
  private let offsets: [Int]
  private let source: ReadHooks

  init(
    _ hooks: [HookPoint], rows: RowStatistics.Rows, place: Place, head: Int?, cache: CacheReader,
    prompts: [Prompt]
  ) throws(ReadingError) {
    self.hooks = hooks
    self.rows = rows
    self.place = place
    self.prompts = prompts
    source = try ReadHooks(hooks, in: cache)
    var (widths, strides, offsets) = ([Int](), [Int](), [Int]())
    for hook in hooks {
      // [T, width] or [T, heads, width] of a plan that says so.
      guard let index = cache.hookIndex(hook.name),
        let shape = fixedShape(cache.plan.hooks[index].shape), let width = shape.last,
        shape.count <= 2, shape.allSatisfy({ 1...(1 << 24) ~= $0 })
      else { throw .noRows(hook.kind) }
      strides.append(shape.reduce(1, *))
      guard let head else {
        widths.append(shape.reduce(1, *))
        offsets.append(0)
        continue
      }
      guard shape.count == 2 else { throw .noRows(hook.kind) }
      guard (0..<shape[0]).contains(head) else {
        throw .noSuchHead(
          layer: hook.layer ?? 0, head: head, layers: cache.plan.model.layers, heads: shape[0])
      }
      widths.append(width)
      offsets.append(head * width)
    }
    (self.widths, self.strides, self.offsets) = (widths, strides, offsets)
  }

  /// By hook: the rows of some pairs, [pairs, width].
  func read(_ pairs: ArraySlice<PatchingPair>) throws -> [[Float]] {
    var result = widths.map { [Float](repeating: 0, count: pairs.count * $0) }
    for (number, pair) in pairs.enumerated() {
      let runs: [(ReadRun, Double)] =
        switch rows {
        case .run(let run): [(run, 1)]
        case .difference: [(.clean, 1), (.corrupted, -1)]
        }
      for (run, sign) in runs {
        let prompt = ReadPrompt(pair, run: run, prompts: prompts)
        guard let positions = prompt.positions(of: place) else { continue }
        try source.withArrays(of: prompt) { (arrays) throws(CacheError) in
          for hook in hooks.indices {
            let (width, stride, offset) = (widths[hook], strides[hook], offsets[hook])
            try arrays.read(
              hooks[hook], rows: positions, width: stride,
              isWhole: ReadHooks.isWhole(pairs.startIndex + number)
            ) { values in
              result[hook].withUnsafeMutableBufferPointer {
                guard let target = $0.baseAddress else { return }
                add(
                  values + offset, rows: positions.count, stride: stride, sign: sign,
                  to: target + number * width, width: width)
              }
            }
          }
        }
      }
    }
    return result
  }
}

/// Adds the mean of some rows, or takes it away.
private func add(
  _ values: UnsafePointer<Float>, rows: Int, stride: Int, sign: Double,
  to target: UnsafeMutablePointer<Float>, width: Int
) {
  withUnsafeTemporaryAllocation(of: Double.self, capacity: width) { memory in
    memory.initialize(repeating: 0)
    guard let sums = memory.baseAddress else { return }
    for row in 0..<rows {
      for i in 0..<width { sums[i] += Double(values[row * stride + i]) }
    }
    let factor = sign / Double(rows)
    for i in 0..<width { target[i] += Float(factor * sums[i]) }
  }
}

/// The sizes after the axis of positions, which must come first and once.
private func fixedShape(_ shape: [Dimension]) -> [Int]? {
  guard shape.first == .positions, shape.count > 1 else { return nil }
  var sizes: [Int] = []
  for case .fixed(let size) in shape.dropFirst() { sizes.append(size) }
  return sizes.count == shape.count - 1 ? sizes : nil
}

/// Sums over rows of one hook, from which their statistics follow.
private struct RowSums {
  let width: Int
  private var count = 0
  /// The first row, from which the others are measured: sums of squares then keep their digits.
  private var origin: [Double]
  private var sum: [Double]
  private var squares = 0.0
  /// Σ (x − origin)(x − origin)ᵀ, [width, width], where the row is not behind the column; empty where it is
  /// not wanted.
  private var products: [Double]
  private var norms = (mean: 0.0, squares: 0.0)

  init(width: Int, withSquares: Bool) {
    self.width = width
    origin = Array(repeating: 0, count: width)
    sum = origin
    products = withSquares ? Array(repeating: 0, count: width * width) : []
  }

  /// - Parameter values: [rows, width].
  mutating func add(_ values: [Float]) {
    let rows = values.count / width
    guard rows > 0 else { return }
    var centred = [Double](repeating: 0, count: rows * width)
    for row in 0..<rows {
      if count == 0 { origin = values[row * width..<(row + 1) * width].map(Double.init) }
      count += 1
      var norm = 0.0
      for i in 0..<width {
        let value = Double(values[row * width + i])
        let distance = value - origin[i]
        norm += value * value
        centred[row * width + i] = distance
        sum[i] += distance
        squares += distance * distance
      }
      // Welford's recurrence.
      let distance = norm.squareRoot() - norms.mean
      norms.mean += distance / Double(count)
      norms.squares += distance * (norm.squareRoot() - norms.mean)
    }
    guard !products.isEmpty else { return }
    withUnsafeTemporaryAllocation(
      of: Double.self, capacity: pb_products_scratch(rows, width)
    ) { scratch in
      pb_add_products(
        centred, rows, width, pb_products_tile_rows(), &products, scratch.baseAddress)
    }
  }

  func statistics(of hook: HookPoint, directions: Int) throws(ReadingError) -> RowStatistics {
    let n = Double(count)
    let shift = sum.map { $0 / max(1, n) }
    let mean = zip(origin, shift).map { $0 + $1 }
    let squared = shift.reduce(0) { $0 + $1 * $1 }
    // Rounding may leave less than nothing; a NaN stays one, which max(0, NaN) would not.
    let spread = squares - n * squared
    let variance = count > 1 ? (spread < 0 ? 0 : spread) / (n - 1) : nil
    var (vectors, values): ([[Double]], [Double]) = ([], [])
    if directions > 0 {
      var covariance = products
      for row in 0..<width {
        for column in row..<width {
          let value = (products[row * width + column] - n * shift[row] * shift[column]) / (n - 1)
          covariance[row * width + column] = value
          covariance[column * width + row] = value
        }
      }
      guard covariance.allSatisfy(\.isFinite) else { throw .notFinite(hook: hook.name) }
      guard let eigen = SymmetricEigen(&covariance, size: width, count: directions) else {
        throw .notDecomposable(hook: hook.name)
      }
      (vectors, values) = (eigen.vectors, eigen.values.map { max(0, $0) })
    }
    return RowStatistics(
      hook: hook, count: count, mean: mean, meanNorm: norms.mean,
      normDeviation: count > 1 ? (norms.squares / (n - 1)).squareRoot() : nil,
      variance: variance, directions: vectors, directionVariances: values)
  }
}
