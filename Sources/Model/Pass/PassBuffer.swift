/// Memory of a pass that grows to the largest batch it has seen and is then used again.
public final class PassBuffer {
  private var matrix = Matrix(rows: 0, columns: 0)

  public init() {}

  public var pointer: UnsafeMutablePointer<Float> { matrix.pointer }

  /// Room for `count` values, which are not kept from the last use when it has to grow. It grows at
  /// least to double its size: fresh memory is slow.
  public func need(_ count: Int) -> UnsafeMutablePointer<Float> {
    if count > matrix.count { matrix = Matrix(rows: 1, columns: max(count, 2 * matrix.count)) }
    return matrix.pointer
  }
}
