/// The values of one hook for one prompt, with their shape.
public struct HookArray: Sendable {
  /// One axis: its size, and whether it runs over the prompt's positions.
  public struct Axis: Sendable, Equatable {
    public var size: Int
    public var isPositions: Bool
    /// The index that the first entry has in the whole array.
    public var first: Int

    public init(size: Int, isPositions: Bool, first: Int = 0) {
      self.size = size
      self.isPositions = isPositions
      self.first = first
    }
  }

  public var axes: [Axis]
  /// In row-major order.
  public var values: [Float]

  public init(axes: [Axis], values: [Float]) {
    self.axes = axes
    self.values = values
  }

  public var shape: [Int] { axes.map(\.size) }

  /// The part at one position: of a pattern, the row of that destination. Nil when the array has
  /// no axis of positions, or not this one.
  public func selecting(position: Int) -> HookArray? {
    guard let axis = axes.firstIndex(where: \.isPositions),
      (0..<axes[axis].size).contains(position)
    else { return nil }
    let inner = axes[(axis + 1)...].reduce(1) { $0 * $1.size }
    let outer = axes[..<axis].reduce(1) { $0 * $1.size }
    var selected: [Float] = []
    selected.reserveCapacity(outer * inner)
    for block in 0..<outer {
      let start = (block * axes[axis].size + position) * inner
      selected += values[start..<start + inner]
    }
    var axes = axes
    axes[axis] = Axis(size: 1, isPositions: true, first: position)
    return HookArray(axes: axes, values: selected)
  }
}

/// What `cachedump show` says of an array. Of the finite values, in double precision; nil when
/// there is none.
public struct ArrayStatistics: Codable, Sendable, Equatable {
  public var count: Int
  /// Values that are NaN or infinite. Masked attention scores are −∞.
  public var nonFinite: Int
  public var mean: Double?
  /// With the number of values as divisor, as numpy has it.
  public var standardDeviation: Double?
  /// The square root of the sum of squares.
  public var norm: Double?
  public var minimum: Double?
  public var maximum: Double?

  public init(of values: [Float]) {
    let finite = values.lazy.filter(\.isFinite).map(Double.init)
    count = values.count
    let finiteCount = finite.reduce(0) { sum, _ in sum + 1 }
    nonFinite = count - finiteCount
    guard finiteCount > 0 else { return }
    let mean = finite.reduce(0, +) / Double(finiteCount)
    self.mean = mean
    let squares = finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    standardDeviation = (squares / Double(finiteCount)).squareRoot()
    norm = finite.reduce(0) { $0 + $1 * $1 }.squareRoot()
    minimum = finite.min()
    maximum = finite.max()
  }
}

extension CacheReader {
  /// The array of one hook and prompt with its shape.
  public func array(hook: Int, prompt: Int) throws(CacheError) -> HookArray {
    let values = try read(hook: hook, prompt: prompt)
    let T = try positions(prompt: prompt)
    let axes = plan.hooks[hook].shape.map {
      switch $0 {
      case .positions: HookArray.Axis(size: T, isPositions: true)
      case .fixed(let size): HookArray.Axis(size: size, isPositions: false)
      }
    }
    return HookArray(axes: axes, values: values)
  }
}
