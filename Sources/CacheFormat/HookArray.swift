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

  /// The number of values that belong to one position: those along the axes after the first axis of
  /// positions, or all.
  public var rowLength: Int {
    let first = axes.firstIndex(where: \.isPositions).map { $0 + 1 } ?? 0
    return axes[first...].reduce(1) { $0 * $1.size }
  }

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
