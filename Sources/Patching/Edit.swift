import Model

/// A part of a run's activation.
struct Site: Hashable, Sendable {
  var hook: HookPoint
  /// Rows; for scores and patterns those of the position that attends.
  let positions: Range<Int>
  /// One head, or nil for all; nil for hooks without heads.
  var head: Int?
  /// For scores and patterns: one attended position, or nil for all.
  var key: Int?
  /// One value of each row, such as a neuron of mlp.hook_post, or nil for all.
  var neuron: Int?
  /// What of the values is replaced, or nil for all of them.
  var subspace: Subspace?
  /// Whether it is held at the receiving run's own values.
  var isHeld = false

  /// Whether it is all of its rows.
  var isWholeRows: Bool { head == nil && key == nil && neuron == nil && subspace == nil }

  /// The values of a row that belong to it, where a row has `unit` values.
  func columns(unit: Int, config: ModelConfig) -> Range<Int> {
    if let neuron { return neuron..<(neuron + 1) }
    guard let head else { return 0..<unit }
    let part = unit / config.heads
    return head * part..<(head + 1) * part
  }
}

/// Values that take the place of a part of a run's activation, or are added to it.
struct Edit {
  let site: Site
  /// What is put there: an array in the hook's shape for all T positions. What is added to the inputs of
  /// heads is [T, D], the same for each head.
  let values: Matrix
  /// Whether these are the values that the source run has there.
  let isOfSource: Bool
  /// Whether the values are added to what is there.
  var adds = false

  var hook: HookPoint { site.hook }
  var positions: Range<Int> { site.positions }

  /// The same at another hook with the same values.
  func moved(to hook: HookPoint) -> Edit {
    var site = site
    site.hook = hook
    return Edit(site: site, values: values, isOfSource: isOfSource, adds: adds)
  }

  /// Replaces the part of it that lies in some rows of the hook.
  ///
  /// - Parameters:
  ///   - target: the rows of positions `rows`, each of the hook's size for one position.
  /// - Precondition: the hook is not one of scores or patterns.
  func apply(to target: UnsafeMutablePointer<Float>, rows: Range<Int>, config: ModelConfig) {
    let unit = config.valueCount(of: hook.kind, positions: 1)
    let columns = site.columns(unit: unit, config: config)
    for position in positions.clamped(to: rows) {
      put(
        values.pointer + position * unit + columns.lowerBound, columns.count,
        into: target + (position - rows.lowerBound) * unit + columns.lowerBound)
    }
  }

  private func put(
    _ values: UnsafePointer<Float>, _ count: Int, into target: UnsafeMutablePointer<Float>
  ) {
    if let subspace = site.subspace {
      subspace.replaceComponent(of: target, by: values)
    } else if adds {
      for i in 0..<count { target[i] += values[i] }
    } else {
      target.update(from: values, count: count)
    }
  }

  /// The same for the scores or the pattern of one head.
  ///
  /// - Parameters:
  ///   - target: [rows.count, rows.upperBound], queries by keys, in rows of `columns` values.
  ///   - length: T, which the values have.
  func apply(
    toAttention target: UnsafeMutablePointer<Float>, columns: Int, of head: Int, rows: Range<Int>,
    length: Int
  ) {
    guard site.head == nil || site.head == head else { return }
    let keys = site.key.map { $0..<($0 + 1) } ?? 0..<rows.upperBound
    for position in positions.clamped(to: rows) {
      let known = keys.clamped(to: 0..<rows.upperBound)
      put(
        values.pointer + (head * length + position) * length + known.lowerBound, known.count,
        into: target + (position - rows.lowerBound) * columns + known.lowerBound)
    }
  }

  /// Replaces it in a whole run's array of the hook.
  func apply(toWhole target: UnsafeMutablePointer<Float>, length: Int, config: ModelConfig) {
    guard hook.kind.isAttention else {
      return apply(to: target, rows: 0..<length, config: config)
    }
    for head in 0..<config.heads {
      apply(
        toAttention: target + head * length * length, columns: length, of: head, rows: 0..<length,
        length: length)
    }
  }

  /// Whether all its values are zero.
  var isZero: Bool { values.values.allSatisfy { $0 == 0 } }

  /// Whether it leaves, bit for bit, an array of the hook as it is.
  func leaves(_ array: Matrix, length: Int, config: ModelConfig) -> Bool {
    func same(_ start: Int, _ count: Int) -> Bool {
      if site.subspace != nil || adds {
        let changed = UnsafeMutablePointer<Float>.allocate(capacity: count)
        defer { changed.deallocate() }
        changed.update(from: array.pointer + start, count: count)
        put(values.pointer + start, count, into: changed)
        return (0..<count).allSatisfy {
          changed[$0].bitPattern == array.pointer[start + $0].bitPattern
        }
      }
      return (start..<start + count).allSatisfy {
        values.pointer[$0].bitPattern == array.pointer[$0].bitPattern
      }
    }
    if hook.kind.isAttention {
      let heads = site.head.map { $0..<($0 + 1) } ?? 0..<config.heads
      let keys = site.key.map { $0..<($0 + 1) } ?? 0..<length
      return heads.allSatisfy { head in
        positions.allSatisfy { same((head * length + $0) * length + keys.lowerBound, keys.count) }
      }
    }
    let unit = config.valueCount(of: hook.kind, positions: 1)
    let columns = site.columns(unit: unit, config: config)
    return positions.allSatisfy { same($0 * unit + columns.lowerBound, columns.count) }
  }
}

extension HookKind {
  /// Whether it holds a value for every query and key.
  var isAttention: Bool { self == .attnScores || self == .pattern }

  /// Whether it holds each head's own copy of a block's input.
  var isHeadInput: Bool { [.attnIn, .qInput, .kInput, .vInput].contains(self) }
}

/// Where a patched pass is entered: the last place at which none of its changes is behind it.
enum Entry: Hashable {
  /// The attention half of a block, with the stream as hook_resid_pre has it.
  case attention(Int)
  /// The MLP half of a block, with the stream as hook_resid_mid has it.
  case mlp(Int)
  /// Behind a block.
  case after(Int)
  /// The final LayerNorm.
  case final

  init(_ hook: HookPoint) {
    let layer = hook.layer ?? 0
    switch hook.kind {
    case .attnOut, .residMid, .mlpIn, .ln2Scale, .ln2Normalized, .mlpPre, .mlpPost:
      self = .mlp(layer)
    case .mlpOut, .residPost: self = .after(layer)
    case .finalScale, .finalNormalized, .unembed: self = .final
    default: self = .attention(layer)
    }
  }

  /// The first block whose attention the pass runs.
  func firstAttention(of layers: Int) -> Int {
    switch self {
    case .attention(let layer): layer
    case .mlp(let layer), .after(let layer): layer + 1
    case .final: layers
    }
  }
}
