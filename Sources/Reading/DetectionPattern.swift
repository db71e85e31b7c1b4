/// The attention that a kind of head would pay: queries down, keys across, nothing above the diagonal.
public struct DetectionPattern: Sendable, Equatable {
  /// T.
  public let length: Int
  /// What is not 0, query by query.
  let entries: [Entry]

  struct Entry: Sendable, Equatable {
    let query, key: Int
    let weight: Float
  }

  /// The kinds that TransformerLens's `head_detector` knows by name.
  public enum Kind: String, Sendable, CaseIterable {
    /// 1 at the position before the query.
    case previousToken = "previous_token_head"
    /// 1 at every earlier position that has the query's token.
    case duplicateToken = "duplicate_token_head"
    /// 1 behind every earlier position that has the query's token, the query's own position included.
    case induction = "induction_head"
  }

  public init(_ kind: Kind, tokens: [Int32]) {
    length = tokens.count
    var entries: [Entry] = []
    var places: [Int32: [Int]] = [:]
    for (query, token) in tokens.enumerated() {
      switch kind {
      case .previousToken:
        if query > 0 { entries.append(Entry(query: query, key: query - 1, weight: 1)) }
      case .duplicateToken:
        entries += (places[token] ?? []).map { Entry(query: query, key: $0, weight: 1) }
      case .induction:
        entries += (places[token] ?? []).map { Entry(query: query, key: $0 + 1, weight: 1) }
      }
      places[token, default: []].append(query)
    }
    self.entries = entries
  }

  /// A pattern of one's own, [T, T].
  ///
  /// - Throws: `ReadingError.badPattern` if it is not square, has something above the diagonal, or what
  ///   is not a finite number.
  public init(rows: [[Float]]) throws(ReadingError) {
    length = rows.count
    var entries: [Entry] = []
    guard rows.count > 1, rows.allSatisfy({ $0.count == rows.count }) else {
      throw .badPattern(
        "it has \(rows.count) rows of \(rows.first?.count ?? 0) values, and an attention pattern is "
          + "square, two rows at the least")
    }
    for (query, row) in rows.enumerated() {
      for (key, weight) in row.enumerated() where weight != 0 {
        guard weight.isFinite else {
          throw .badPattern("its value at [\(query), \(key)] is not a finite number")
        }
        guard key <= query else {
          throw .badPattern(
            "its value at [\(query), \(key)] is above the diagonal, where a position would attend to "
              + "a later one")
        }
        entries.append(Entry(query: query, key: key, weight: weight))
      }
    }
    self.entries = entries
  }

  /// Whether all values are 0 or 1, as the measure `mul` expects.
  public var isBinary: Bool { entries.allSatisfy { $0.weight == 1 } }
}

/// How an attention pattern A [T, T] is compared with a detection pattern P: TransformerLens's
/// `compute_head_attention_similarity_score`.
public struct DetectionMeasure: Sendable {
  public enum Form: String, Sendable, CaseIterable {
    /// Σ A ∘ P / Σ A: the share of the attention that goes where the pattern has a 1.
    case mul
    /// 1 − round(Σ |A − P| / T, 3): 1 for equal ones.
    case abs
  }

  public let form: Form
  /// Leaves out the attention to position 0.
  public let excludesFirst: Bool
  /// Leaves out the attention of positions to themselves.
  public let excludesCurrent: Bool

  public init(_ form: Form = .mul, excludesFirst: Bool = false, excludesCurrent: Bool = false) {
    self.form = form
    self.excludesFirst = excludesFirst
    self.excludesCurrent = excludesCurrent
  }

  /// The fewest positions of a prompt in which there is attention that counts.
  public var fewestPositions: Int { excludesFirst && excludesCurrent ? 3 : 2 }

  private func counts(_ query: Int, _ key: Int) -> Bool {
    !(excludesFirst && key == 0) && !(excludesCurrent && key == query)
  }

  /// The score of a head.
  ///
  /// - Parameter attention: [T, T], T that of the pattern. What is above the diagonal is not read.
  /// - Returns: NaN if no attention is left to be shared out.
  public func score(_ attention: UnsafePointer<Float>, against pattern: DetectionPattern) -> Float {
    score(attention, against: pattern, total: total(attention, length: pattern.length))
  }

  /// What the attention that counts adds up to, the same for all patterns. [T, T]
  func total(_ attention: UnsafePointer<Float>, length: Int) -> Double {
    var total = 0.0
    for query in 0..<length {
      let row = attention + query * length
      for key in 0...query where counts(query, key) {
        let weight = Double(row[key])
        total += form == .mul ? weight : Swift.abs(weight)
      }
    }
    return total
  }

  func score(
    _ attention: UnsafePointer<Float>, against pattern: DetectionPattern, total: Double
  ) -> Float {
    let length = pattern.length
    var matched = 0.0
    for entry in pattern.entries where counts(entry.query, entry.key) {
      let weight = Double(attention[entry.query * length + entry.key])
      let wanted = Double(entry.weight)
      matched +=
        form == .mul ? weight * wanted : Swift.abs(weight - wanted) - Swift.abs(weight)
    }
    switch form {
    case .mul: return Float(matched / total)
    case .abs:
      // Python's round: to even between two.
      let distance = (total + matched) / Double(length)
      return Float(1 - (distance * 1000).rounded(.toNearestOrEven) / 1000)
    }
  }
}
