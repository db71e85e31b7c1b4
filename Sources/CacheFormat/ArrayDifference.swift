import CKernels
import Glibc

/// How the values of one array differ from those of another of the same size.
///
/// Values are equal if their bits are: a NaN equals a NaN of the same payload only, and −0 is not 0.
struct ArrayDifference: Sendable {
  /// Where two values are, in row-major order, and what they are.
  struct Place: Sendable {
    var index: Int
    var first: Float
    var second: Float
  }

  private(set) var values: Int
  private(set) var unequal = 0
  /// Unequal values of which one or both are not finite.
  private(set) var incomparable = 0
  /// The largest difference of finite values, and the first place that has it.
  private(set) var largest: Double?
  private(set) var place: Place?
  /// The first incomparable values.
  private(set) var incomparablePlace: Place?
  /// Of the finite values of the first array.
  let finite: Int
  let squares: Double

  /// - Parameters: `second` has as many values as `first`.
  init(_ first: UnsafeBufferPointer<Float>, _ second: UnsafeBufferPointer<Float>) {
    values = first.count
    var sums = pb_value_sums()
    pb_sum_values(first.baseAddress, first.count, &sums)
    finite = sums.finite
    squares = sums.squares
    guard let a = first.baseAddress, let b = second.baseAddress,
      memcmp(a, b, 4 * first.count) != 0
    else { return }
    for index in 0..<first.count where a[index].bitPattern != b[index].bitPattern {
      unequal += 1
      let place = Place(index: index, first: a[index], second: b[index])
      let difference = abs(Double(a[index]) - Double(b[index]))
      if !difference.isFinite {
        incomparable += 1
        incomparablePlace = incomparablePlace ?? place
      } else if difference > largest ?? -1 {
        largest = difference
        self.place = place
      }
    }
  }
}

/// How one array differs from another, added up over the arrays of a hook or of all hooks of a kind.
public struct HookDifference: Encodable, Sendable {
  public struct Place: Encodable, Sendable, Equatable {
    public var hook: String
    public var firstPrompt: Int
    public var secondPrompt: Int
    /// Along the array's axes.
    public var index: [Int]
    public var first: Float
    public var second: Float
  }

  /// The name, with `*` for the layer if it is of several hooks.
  public var name: String
  public var shape: [Dimension]
  public var hooks = 1
  public var arrays = 0
  /// Arrays and values whose bits differ.
  public var unequalArrays = 0
  public var values = 0
  public var unequalValues = 0
  /// Unequal values of which one or both are NaN or infinite.
  public var incomparableValues = 0
  /// The largest absolute difference of finite values; nil where there is none.
  public var largest: Double?
  /// The same in units of the hook's root mean square in the first cache; of a kind, the largest of
  /// its hooks'.
  public var largestOfRMS: Double?
  /// Where the largest difference is; where none can be told, the first incomparable values.
  public var place: Place?
  private var finite = 0
  private var squares = 0.0

  private enum CodingKeys: String, CodingKey {
    case name, shape, hooks, arrays, unequalArrays, values, unequalValues, incomparableValues
    case largest, largestOfRMS = "largestOfRms", place
  }

  init(_ spec: HookSpec) {
    name = spec.name
    shape = spec.shape
  }

  /// - Parameters:
  ///   - prompts: the numbers of the prompt in the two caches.
  ///   - dimensions: the array's shape.
  mutating func add(_ array: ArrayDifference, prompts: (Int, Int), dimensions: [Int]) {
    arrays += 1
    values += array.values
    finite += array.finite
    squares += array.squares
    guard array.unequal > 0 else { return updateRatio() }
    unequalArrays += 1
    unequalValues += array.unequal
    incomparableValues += array.incomparable
    func place(_ place: ArrayDifference.Place) -> Place {
      Place(
        hook: name, firstPrompt: prompts.0, secondPrompt: prompts.1,
        index: indices(of: place.index, in: dimensions), first: place.first, second: place.second)
    }
    if let more = array.largest, more > largest ?? -1 {
      largest = more
      self.place = array.place.map(place)
    } else if self.place == nil {
      self.place = array.incomparablePlace.map(place)
    }
    updateRatio()
  }

  private mutating func updateRatio() {
    guard let largest else { return }
    let rms = (squares / Double(max(1, finite))).squareRoot()
    largestOfRMS = largest == 0 ? 0 : largest / rms
  }
}

extension HookDifference: HookReport {
  mutating func add(_ other: HookDifference) {
    hooks += other.hooks
    arrays += other.arrays
    unequalArrays += other.unequalArrays
    values += other.values
    unequalValues += other.unequalValues
    incomparableValues += other.incomparableValues
    if let more = other.largest, more > largest ?? -1 {
      largest = more
      place = other.place
    } else if place == nil {
      place = other.place
    }
    if let more = other.largestOfRMS { largestOfRMS = max(largestOfRMS ?? 0, more) }
  }
}

/// A place in row-major order as indices along the axes.
private func indices(of place: Int, in dimensions: [Int]) -> [Int] {
  var rest = place
  var indices: [Int] = []
  for size in dimensions.reversed() {
    indices.append(rest % max(1, size))
    rest /= max(1, size)
  }
  return indices.reversed()
}
