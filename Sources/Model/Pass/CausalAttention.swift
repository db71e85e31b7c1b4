import CKernels

/// Causal attention of one sequence, a head at a time. Used by one thread at a time.
///
/// Keys and values of the sequence lie in pieces, such as positions that another run has computed and
/// then the sequence's own. All rows are [H·K] wide, the heads side by side.
public final class CausalAttention {
  /// Rows of q, k or v, of the positions 0, 1, …
  public struct Rows {
    let pieces: [(rows: UnsafePointer<Float>, count: Int)]
    /// How many positions lie before the last piece.
    public var prefixCount: Int { pieces.dropLast().reduce(0) { $0 + $1.count } }
    /// How many positions the last piece has.
    public var ownCount: Int { pieces.last?.count ?? 0 }

    init(pieces: [(rows: UnsafePointer<Float>, count: Int)]) {
      self.pieces = pieces
    }

    /// Positions 0 ..< `prefixCount` and then `ownCount` more.
    ///
    /// - Precondition: `prefix` is given unless `prefixCount` is 0.
    public init(
      prefix: UnsafePointer<Float>? = nil, prefixCount: Int = 0, own: UnsafePointer<Float>,
      ownCount: Int
    ) {
      precondition(prefix != nil || prefixCount == 0)
      pieces = (prefix.map { [($0, prefixCount)] } ?? []) + [(own, ownCount)]
    }
  }

  /// The keys of a head in the order in which scores read them.
  public final class PackedKeys {
    fileprivate let tiles = PassBuffer()  // [K, 16] each

    public init() {}
  }

  private let config: ModelConfig
  private var stride: Int { config.heads * config.headWidth }
  /// Floating-point operations of scores and mixing so far, two a multiply-add, those of later
  /// positions left out.
  public private(set) var operations = 0.0

  public init(_ config: ModelConfig) {
    self.config = config
  }

  /// The length of a row of scores that kernels are fastest with.
  public static func columns(keys: Int) -> Int { (keys + 15) / 16 * 16 }

  /// Brings a head's keys into the order in which scores read them.
  ///
  /// - Parameters:
  ///   - count: how many are wanted, from position 0 on.
  ///   - known: so many keys from position 0 on were before the own ones of the last call with this memory,
  ///     and are these too as far as they are before its own.
  public func pack(
    _ keys: Rows, head: Int, count: Int, into memory: PackedKeys, known: Int = 0
  ) {
    let (headWidth, column) = (config.headWidth, head * config.headWidth)
    let before = memory.tiles.pointer
    let packed = memory.tiles.need(headWidth * CausalAttention.columns(keys: count))
    let known = packed == before ? min(known, keys.prefixCount) : 0
    var position = 0
    for piece in keys.pieces where position < count {
      let taken = min(piece.count, count - position)
      let left = min(max(0, known - position), taken)
      pb_pack_keys(
        piece.rows + left * stride + column, stride, taken - left, headWidth, packed,
        position + left)
      position += taken
    }
  }

  /// q · k / √K of neighbouring queries, [count, first + count] in rows of `columns` values; -infinity for later
  /// positions.
  ///
  /// - Parameters:
  ///   - q: `count` rows, of the positions from `first` on.
  ///   - keys: of the positions 0 ..< first + count, or more.
  public func scores(
    head: Int, layer: Int, q: UnsafePointer<Float>, first: Int, count: Int, keys: PackedKeys,
    into scores: UnsafeMutablePointer<Float>, columns: Int
  ) {
    // Both products: a query at position p has p + 1 keys, and its pattern as many values.
    operations += 2 * Double(config.headWidth) * Double(count) * Double(2 * first + count + 1)
    pb_attention_scores(
      q + head * config.headWidth, stride, count, first, config.headWidth, keys.tiles.pointer,
      config.attentionDivisor(layer: layer), scores, columns)
  }

  /// The pattern of scores [count, first + count] in rows of `columns` values; the two may be the same.
  public func softmax(
    _ scores: UnsafePointer<Float>, columns: Int, first: Int, count: Int,
    into pattern: UnsafeMutablePointer<Float>
  ) {
    pb_causal_softmax(scores, columns, count, first, pattern)
  }

  /// z of one head: `count` rows of values weighed by the pattern [count, first + count] in rows of `columns`
  /// values.
  public func mix(
    head: Int, pattern: UnsafePointer<Float>, columns: Int, first: Int, count: Int, values: Rows,
    into z: UnsafeMutablePointer<Float>
  ) {
    let (headWidth, column, length) = (config.headWidth, head * config.headWidth, first + count)
    var position = 0
    for piece in values.pieces where position < length {
      let taken = min(piece.count, length - position)
      pb_attention_mix(
        pattern, columns, count, first, piece.rows + column, stride, position, taken, headWidth,
        z + column, stride)
      position += taken
    }
  }
}
