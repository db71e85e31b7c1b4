import CacheFormat
import Model
import Patching

/// What heads attend to, from the cached patterns of many prompts. Needs no model.
public struct AttentionReading: Sendable {
  /// L and H.
  public let layers, heads: Int
  private let hooks: ReadHooks

  /// The most pairs of places that attention is read between: those of a prompt of 64 tokens.
  public static let pairLimit = 4096

  /// - Throws: `ReadingError.hooksNotCached`.
  public init(_ cache: CacheReader) throws(ReadingError) {
    layers = cache.plan.model.layers
    heads = cache.plan.model.heads
    // A plan may say any numbers; it cannot have more patterns than hooks.
    let shape: [Dimension] = [.fixed(heads), .positions, .positions]
    let first = HookPoint(.pattern, layer: 0).name
    guard layers > 0, layers <= cache.plan.hooks.count, heads > 0,
      let place = cache.hookIndex(first), cache.plan.hooks[place].shape == shape
    else { throw .hooksNotCached([first], directory: cache.directory) }
    hooks = try ReadHooks(
      (0..<layers).map { HookPoint(.pattern, layer: $0) }, in: cache)
  }

  /// L0H0, L0H1, …
  public var labels: [String] {
    (0..<layers).flatMap { layer in (0..<heads).map { "L\(layer)H\($0)" } }
  }

  /// Scores of all heads against detection patterns, and their means over prompts: TransformerLens's
  /// `detect_head`, whose mean over several sequences it is.
  ///
  /// - Parameters:
  ///   - columns: what the patterns are called.
  ///   - patterns: of a prompt's tokens, in the order of `columns`.
  ///   - tokens: of all prompts of the cache, by number.
  /// - Returns: rows heads, columns patterns.
  /// - Throws: `CacheError`.
  /// - Precondition: each pattern has the length of its prompt.
  public func detect(
    _ columns: [String], in prompts: [ReadPrompt], tokens: [Prompt], measure: DetectionMeasure,
    keepsValues: Bool = false, threads: Int, progress: (Int) -> Void = { _ in },
    patterns: @escaping @Sendable ([Int32]) -> [DetectionPattern]
  ) throws -> ReadingTable {
    try table(
      "score", columns: columns, prompts, keepsValues: keepsValues, threads: threads,
      progress: progress
    ) { prompt in
      let patterns = patterns(tokens[prompt.number].tokens)
      return { attention in
        let total = measure.total(attention, length: prompt.length)
        return patterns.map { measure.score(attention, against: $0, total: total) }
      }
    }
  }

  /// The scores of `RepeatedTokens` of all heads, and their means over prompts.
  ///
  /// - Returns: rows heads, columns `RepeatedTokens.scores`.
  /// - Throws: `CacheError`.
  /// - Precondition: all prompts are of that kind.
  public func repeatedTokens(
    in prompts: [ReadPrompt], tokens: [Prompt], keepsValues: Bool = false, threads: Int,
    progress: (Int) -> Void = { _ in }
  ) throws -> ReadingTable {
    try table(
      "attention", columns: RepeatedTokens.scores, prompts, keepsValues: keepsValues,
      threads: threads, progress: progress
    ) { prompt in
      guard let repeated = RepeatedTokens(tokens[prompt.number].tokens) else {
        preconditionFailure("a prompt that repeats nothing")
      }
      return { repeated.scores($0) }
    }
  }

  /// The attention from places to places, and its means over prompts: A[q, k] summed over the positions
  /// k of the one, and then averaged over the positions q of the other.
  ///
  /// - Returns: rows heads, columns `FROM→TO`, those of one place after the other.
  /// - Throws: `CacheError`, `ReadingError.tooManyPlaces`.
  public func attention(
    from queries: [Place], to keys: [Place], in prompts: [ReadPrompt], keepsValues: Bool = false,
    threads: Int, progress: (Int) -> Void = { _ in }
  ) throws -> ReadingTable {
    let count = saturatingProduct(queries.count, keys.count)
    guard count <= AttentionReading.pairLimit else {
      throw ReadingError.tooManyPlaces(count, limit: AttentionReading.pairLimit)
    }
    let names = queries.flatMap { query in keys.map { "\(query)→\($0)" } }
    return try table(
      "attention", columns: names, prompts, keepsValues: keepsValues, threads: threads,
      progress: progress
    ) { prompt in
      let places = queries.flatMap { query in
        keys.map { key in (prompt.positions(of: query), prompt.positions(of: key)) }
      }
      let length = prompt.length
      return { attention in
        places.map { query, key in
          guard let query, let key else { return nil }
          let sum = query.reduce(0.0) { sum, q in
            key.reduce(sum) { $0 + Double(attention[q * length + $1]) }
          }
          return Float(sum / Double(query.count))
        }
      }
    }
  }

  /// The attention pattern of a head on a prompt, [T, T].
  ///
  /// - Throws: `CacheError`.
  public func pattern(layer: Int, head: Int, of prompt: ReadPrompt) throws -> [Float] {
    let square = saturatingProduct(prompt.length, prompt.length)
    return try hooks.withArrays(of: prompt) { (arrays) throws(CacheError) in
      try arrays.read(
        HookPoint(.pattern, layer: layer), count: saturatingProduct(heads, square)
      ) { Array(UnsafeBufferPointer(start: $0 + head * square, count: square)) }
    }
  }

  /// - Throws: `ReadingError.noSuchHead`.
  public func check(layer: Int, head: Int) throws(ReadingError) {
    guard (0..<layers).contains(layer), (0..<heads).contains(head) else {
      throw .noSuchHead(layer: layer, head: head, layers: layers, heads: heads)
    }
  }

  /// - Parameter reader: of a prompt, what reads the columns from a head's pattern; nil where the
  ///   prompt has no such column.
  private func table(
    _ quantity: String, columns: [String], _ prompts: [ReadPrompt], keepsValues: Bool,
    threads: Int, progress: (Int) -> Void,
    _ reader: @escaping @Sendable (ReadPrompt) -> (UnsafePointer<Float>) -> [Float?]
  ) throws -> ReadingTable {
    try readTables(
      [quantity], rows: labels, columns: columns, prompts: prompts.count,
      keepsValues: keepsValues, threads: threads, with: {}, progress: progress
    ) { range, _ in
      var batch = ReadBatch(
        quantities: 1, prompts: range.count, rows: labels.count, columns: columns.count)
      for (number, prompt) in prompts[range].enumerated() {
        let read = reader(prompt)
        let square = saturatingProduct(prompt.length, prompt.length)
        try hooks.withArrays(of: prompt) { (arrays) throws(CacheError) in
          for layer in 0..<layers {
            let scores = try arrays.read(
              HookPoint(.pattern, layer: layer), count: saturatingProduct(heads, square)
            ) { values in (0..<heads).map { read(values + $0 * square) } }
            for (head, scores) in scores.enumerated() {
              for (column, score) in scores.enumerated() {
                guard let score else { continue }
                batch.set(
                  prompt: number, row: layer * heads + head, column: column, to: score)
              }
            }
          }
        }
      }
      return batch
    }[0]
  }
}
