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
  public func count(positions T: Int) -> Int? {
    var product = 1
    for size in dimensions(positions: T) {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard size >= 0, !overflow else { return nil }
      product = next
    }
    return product
  }
}

/// How a cache stores a value. Readers always see float32.
public enum ElementType: String, Codable, Sendable, CaseIterable {
  case f32, f16, bf16

  /// Bytes a value.
  public var size: Int { self == .f32 ? 4 : 2 }
}
