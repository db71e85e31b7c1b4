/// One axis of an array: the prompt's positions, or a size that the model fixes.
///
/// In JSON `"T"` or an integer.
public enum Dimension: Codable, Hashable, Sendable {
  case positions
  case fixed(Int)

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let size = try? container.decode(Int.self) {
      self = .fixed(size)
    } else if try container.decode(String.self) == "T" {
      self = .positions
    } else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "a dimension is \"T\" or an integer")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .positions: try container.encode("T")
    case .fixed(let size): try container.encode(size)
    }
  }
}

/// An array that a cache holds for every prompt: TransformerLens's hook name, its shape without the
/// batch axis, and how it is derived if it is not stored.
public struct HookSpec: Codable, Hashable, Sendable {
  public var name: String
  public var shape: [Dimension]
  public var recipe: Recipe?

  public init(name: String, shape: [Dimension], recipe: Recipe? = nil) {
    self.name = name
    self.shape = shape
    self.recipe = recipe
  }

  /// Whether an array is a row of square matrices of positions, which may be causal.
  public var isSquare: Bool { shape.count >= 2 && shape.suffix(2) == [.positions, .positions] }

  /// Whether an array has a row for each position, of a length that does not depend on how many
  /// there are: of prompts that begin alike the first rows may be the same.
  public var isRows: Bool { shape.first == .positions && !shape.dropFirst().contains(.positions) }

  /// The array's shape for a prompt of `T` positions.
  public func dimensions(positions T: Int) -> [Int] {
    shape.map {
      switch $0 {
      case .positions: T
      case .fixed(let size): size
      }
    }
  }

  /// The number of values for a prompt of `T` positions; nil on overflow or a negative size.
  public func count(positions T: Int) -> Int? { HookSize(self).count(positions: T) }
}

/// What the sizes of a hook's arrays follow from, in numbers alone: readers ask for them at every array.
struct HookSize: Sendable {
  /// Whether an array is a row of square matrices, and whether it has a row for each position (`HookSpec`).
  let isSquare, isRows: Bool
  /// The product of the sizes that the model fixes; nil on overflow or where one is negative.
  private let fixed: Int?
  /// The number of axes that are positions.
  private let axes: Int

  init(_ hook: HookSpec) {
    isSquare = hook.isSquare
    isRows = hook.isRows
    var (fixed, axes): (Int?, Int) = (1, 0)
    for dimension in hook.shape {
      switch dimension {
      case .positions: axes += 1
      case .fixed(let size): fixed = size < 0 ? nil : fixed.flatMap { product($0, size) }
      }
    }
    (self.fixed, self.axes) = (fixed, axes)
  }

  /// As `HookSpec.count(positions:)`.
  func count(positions T: Int) -> Int? {
    guard T >= 0 else { return nil }
    var count = fixed
    for _ in 0..<axes { count = count.flatMap { product($0, T) } }
    return count
  }

  /// Bytes of an array before encoding; nil when there are more than `Limits.arrayBytes`.
  func byteCount(positions T: Int, of type: ElementType) -> Int? {
    guard let count = count(positions: T), count <= Limits.arrayBytes / 4 else { return nil }
    return count * type.size
  }

  /// How an array's packed bytes are cut.
  func chunking(positions T: Int, of type: ElementType, format: Int) -> Chunking {
    let rows = isRows && T > 0 ? byteCount(positions: T, of: type) : nil
    return Chunking(format: format, row: rows.map { $0 / T })
  }
}

/// nil on overflow.
private func product(_ a: Int, _ b: Int) -> Int? {
  let (product, overflow) = a.multipliedReportingOverflow(by: b)
  return overflow ? nil : product
}

/// How a cache stores a value. Readers always see float32.
public enum ElementType: String, Codable, Sendable, CaseIterable {
  case f32, f16, bf16

  /// Bytes a value.
  public var size: Int { self == .f32 ? 4 : 2 }
}
