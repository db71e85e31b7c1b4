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
    return product(shape[first...])
  }

  /// The part at one position: of a pattern, the row of that destination. Nil when the array has
  /// no axis of positions, or not this one.
  public func selecting(position: Int) -> HookArray? {
    axes.firstIndex(where: \.isPositions).flatMap { selecting(position, along: $0) }
  }

  /// The part of one head. Nil when the array has no axis of heads, or not this one.
  ///
  /// - Parameter heads: how many the model has. Arrays of heads have an axis of this size among three.
  public func selecting(head: Int, of heads: Int) -> HookArray? {
    guard axes.count == 3 else { return nil }
    return axes.firstIndex { !$0.isPositions && $0.size == heads }
      .flatMap { selecting(head, along: $0) }
  }

  private func selecting(_ index: Int, along axis: Int) -> HookArray? {
    guard (0..<axes[axis].size).contains(index) else { return nil }
    let inner = product(shape[(axis + 1)...])
    let outer = values.isEmpty ? 0 : product(shape[..<axis])
    var selected: [Float] = []
    for block in 0..<outer {
      let start = (block * axes[axis].size + index) * inner
      selected += values[start..<start + inner]
    }
    var axes = axes
    axes[axis].size = 1
    axes[axis].first += index
    return HookArray(axes: axes, values: selected)
  }
}

/// The product of an array's sizes, some of them; the largest number where it overflows, as it may
/// only if another size is 0 and the array is empty.
func product(_ sizes: some Sequence<Int>) -> Int {
  sizes.reduce(1) {
    let (product, overflow) = $0.multipliedReportingOverflow(by: $1)
    return overflow ? .max : product
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
