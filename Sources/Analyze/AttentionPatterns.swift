import CacheFormat
import FoundationEssentials
import Model
import Patching
import Terminal

/// The attention patterns that `patch.html` carries: of the heads with the largest effects, on the
/// first pairs.
struct AttentionPatterns {
  struct Head: Equatable {
    let layer: Int
    let head: Int
    /// The largest of its effects, of either sign, in whatever sweep and metric.
    let effect: Double
    /// The number of the figure with that effect.
    let figure: Int

    var name: String { "L\(layer) H\(head)" }
    var hook: String { HookPoint(.pattern, layer: layer).name }
  }

  /// A prompt's pass.
  struct Run {
    /// The tokens, as `tokenText` writes them.
    let tokens: [String]
    /// By head.
    let weights: [AttentionWeights]
  }

  struct Pair {
    /// The number among the report's pairs.
    let number: Int
    /// Numbers of runs.
    let clean, corrupted: Int
    /// The positions at which the two have different tokens.
    let differs: [Int]
  }

  /// The head with the largest effect first.
  private(set) var heads: [Head] = []
  private(set) var pairs: [Pair] = []
  private(set) var runs: [Run] = []
  /// What is not here, and why.
  private(set) var notes: [String] = []
  /// false if nothing that was swept has heads: then there is nothing to say.
  var isWanted: Bool { !heads.isEmpty || !notes.isEmpty }

  static let mostHeads = 12
  /// The most bytes that weights and tokens take in the page.
  static let mostBytes = 4_000_000

  /// Reads patterns of `figures` from the cache of their report. What cannot be read is left out,
  /// and `notes` say so: the sweeps are the page's matter.
  init(_ figures: PatchFigures, mostBytes: Int = AttentionPatterns.mostBytes) {
    let withHeads = figures.figures.contains { figure in
      figure.result.cells.contains {
        AttentionPatterns.head(of: $0, in: figure.result.sweep) != nil
      }
    }
    guard withHeads else { return }
    let cache = figures.report.cache
    let ranked = AttentionPatterns.ranked(figures).prefix(AttentionPatterns.mostHeads)
    let held = ranked.filter { AttentionPatterns.hook($0, in: cache) != nil }
    if ranked.isEmpty {
      notes.append("No head has any effect, and so no attention pattern is shown.")
    } else if held.count < ranked.count {
      let missing = ranked.filter { !held.contains($0) }.map(\.name).joined(separator: ", ")
      notes.append(
        "The cache does not hold the attention patterns (blocks.L.attn.hook_pattern) of \(missing); "
          + "captured with them, they would stand here.")
    }
    guard let first = figures.report.selection.pairs.first, !held.isEmpty else { return }
    let length = figures.prompts[first.clean].tokens.count
    let count = (1...held.count).last { count in
      [first.clean, first.corrupted].reduce(0) {
        $0 + AttentionPatterns.bytes(of: figures.prompts[$1], heads: count)
      } <= mostBytes
    }
    guard let count else {
      notes.append(
        "Attention patterns of \(grouped(length)) positions are too large for a page "
          + "(\(byteSize(mostBytes))); cachedump export writes them.")
      return
    }
    if count < held.count {
      notes.append(
        "Of \(counted(held.count, "head")) \(count) fit into a page with the first pair "
          + "(\(byteSize(mostBytes))).")
    }
    do throws(CacheError) {
      try read(Array(held.prefix(count)), figures, mostBytes: mostBytes)
    } catch {
      (heads, pairs, runs) = ([], [], [])
      notes = ["Attention patterns cannot be shown: \(error.description)."]
    }
  }

  private mutating func read(_ chosen: [Head], _ figures: PatchFigures, mostBytes: Int)
    throws(CacheError)
  {
    let selection = figures.report.selection.pairs
    var numbers: [Int: Int] = [:]
    var room = mostBytes
    for (number, pair) in selection.enumerated() {
      let (clean, corrupted) = (figures.prompts[pair.clean], figures.prompts[pair.corrupted])
      let new = Set([pair.clean, pair.corrupted]).filter { numbers[$0] == nil }.sorted()
      room -= new.reduce(0) {
        $0 + AttentionPatterns.bytes(of: figures.prompts[$1], heads: chosen.count)
      }
      guard room >= 0 else { break }
      for prompt in new {
        numbers[prompt] = runs.count
        runs.append(
          Run(
            tokens: figures.prompts[prompt].pieces.map(tokenText),
            weights: try AttentionPatterns.weights(
              of: chosen, prompt: prompt, length: figures.prompts[prompt].tokens.count,
              in: figures.report.cache)))
      }
      pairs.append(
        Pair(
          number: number, clean: numbers[pair.clean] ?? 0, corrupted: numbers[pair.corrupted] ?? 0,
          differs: clean.tokens.indices.filter { clean.tokens[$0] != corrupted.tokens[$0] }))
    }
    heads = chosen
    if pairs.count < selection.count {
      notes.append(
        "Attention patterns of the first \(grouped(pairs.count)) of "
          + "\(counted(selection.count, "pair")) are in this page (\(byteSize(mostBytes)) at the "
          + "most); cachedump export writes them all.")
    }
  }

  /// Every head that has an effect, each once, that with the largest one first.
  ///
  /// Effects of ablations are in their metric's units, and only those of the first metric count.
  private static func ranked(_ figures: PatchFigures) -> [Head] {
    var best: [[Int]: Head] = [:]
    for (number, figure) in figures.figures.enumerated()
    where figure.metric == 0 || figures.report.direction != .ablate {
      for (cell, effect) in zip(figure.result.cells, figure.grid.effects) {
        guard let (layer, head) = head(of: cell, in: figure.result.sweep), let effect,
          effect.isFinite, abs(effect) > abs(best[[layer, head]]?.effect ?? 0)
        else { continue }
        best[[layer, head]] = Head(layer: layer, head: head, effect: effect, figure: number)
      }
    }
    return best.values.sorted {
      (-abs($0.effect), $0.layer, $0.head) < (-abs($1.effect), $1.layer, $1.head)
    }
  }

  /// The one head that a cell is about.
  private static func head(of cell: Cell, in sweep: Sweep) -> (layer: Int, head: Int)? {
    if let layer = cell.layer, let head = cell.head { return (layer, head) }
    guard let number = cell.number, let first = sweep.list[number].patches.first,
      let layer = first.hook.layer, let head = first.head,
      sweep.list[number].patches.allSatisfy({ $0.hook.layer == layer && $0.head == head })
    else { return nil }
    return (layer, head)
  }

  /// The place of a head's pattern in the cache, nil if it is not there in the shape [H, T, T].
  private static func hook(_ head: Head, in cache: CacheReader) -> Int? {
    guard let hook = cache.hookIndex(head.hook), head.head < cache.plan.model.heads,
      cache.plan.hooks[hook].shape == [.fixed(cache.plan.model.heads), .positions, .positions]
    else { return nil }
    return hook
  }

  private static func weights(
    of heads: [Head], prompt: Int, length: Int, in cache: CacheReader
  ) throws(CacheError) -> [AttentionWeights] {
    var weights = [AttentionWeights?](repeating: nil, count: heads.count)
    for layer in Set(heads.map(\.layer)).sorted() {
      let numbers = heads.indices.filter { heads[$0].layer == layer }
      guard let first = numbers.first, let hook = hook(heads[first], in: cache) else { continue }
      let expected = cache.plan.model.heads * length * length
      let found = try cache.withValues(hook: hook, prompt: prompt) { values in
        guard values.count == expected else { return values.count }
        for number in numbers {
          let start = heads[number].head * length * length
          weights[number] = AttentionWeights(
            UnsafeBufferPointer(rebasing: values[start..<start + length * length]),
            positions: length)
        }
        return expected
      }
      guard found == expected else {
        throw .wrongCount(
          hook: heads[first].hook, prompt: prompt, expected: expected, given: found)
      }
    }
    return weights.compactMap { $0 }
  }

  /// What a run takes in the page, but for a few characters a token.
  private static func bytes(of prompt: Prompt, heads: Int) -> Int {
    heads * AttentionWeights.textLength(positions: prompt.tokens.count)
      + prompt.pieces.reduce(0) { $0 + tokenText($1).utf8.count }
  }
}

/// What each position of a prompt attends to with one head: weights from 0 to 1, whose sum over the
/// keys is 1, in units of 1 / 65,534. Keys behind the query are masked and not kept.
struct AttentionWeights: Equatable {
  /// Row by row: of each query the keys up to itself.
  let units: [UInt16]
  let positions: Int

  /// The units of 1.
  static let one: UInt16 = 65_534
  /// What is not a number from 0 to 1.
  static let none = UInt16.max

  /// - Parameter pattern: [T, T], queries down.
  init(_ pattern: some RandomAccessCollection<Float>, positions: Int) {
    self.positions = positions
    var units: [UInt16] = []
    units.reserveCapacity(positions * (positions + 1) / 2)
    for query in 0..<positions {
      let start = pattern.index(pattern.startIndex, offsetBy: query * positions)
      for weight in pattern[start...].prefix(query + 1) {
        let isWeight = (0...1).contains(weight)
        units.append(
          isWeight
            ? UInt16((Double(weight) * Double(AttentionWeights.one)).rounded())
            : AttentionWeights.none)
      }
    }
    self.units = units
  }

  /// The weight to within 1 / 131,068; nil if there is none.
  subscript(query: Int, key: Int) -> Double? {
    let unit = units[query * (query + 1) / 2 + key]
    return unit == AttentionWeights.none ? nil : Double(unit) / Double(AttentionWeights.one)
  }

  /// The keys of a query with the largest weights, the largest first; none that would show as 0.
  func largest(_ count: Int, query: Int) -> [(key: Int, weight: Double)] {
    let weights = (0...query).compactMap { key in self[query, key].map { (key: key, weight: $0) } }
    return Array(
      weights.filter { $0.weight >= 0.0005 }
        .sorted { ($1.weight, $0.key) < ($0.weight, $1.key) }.prefix(count))
  }

  /// What the last position attends to most, as markup.
  func lastRow(tokens: [String]) -> String {
    guard let last = tokens.indices.last else { return "" }
    func name(_ position: Int) -> String {
      "\(position) <bdi>\(escaped(tokens[position]))</bdi>"
    }
    return "Position \(name(last)) attends most to "
      + largest(5, query: last).map { "\(name($0.key)) \(fixed($0.weight, 3))" }
      .joined(separator: ", ") + "."
  }

  /// The units, little-endian, in base64.
  var text: String {
    var bytes = Data(capacity: 2 * units.count)
    for unit in units {
      bytes.append(UInt8(unit & 0xFF))
      bytes.append(UInt8(unit >> 8))
    }
    return bytes.base64EncodedString()
  }

  /// The length of `text`.
  static func textLength(positions: Int) -> Int { (positions * (positions + 1) + 2) / 3 * 4 }
}
