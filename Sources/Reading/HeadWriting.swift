import CKernels
import CacheFormat
import Model
import Patching

/// How much heads attend to a token and how much they write of it: Wang et al. 2022, section 3.1 and
/// figure 3 (c), ARENA's scatter plots of name movers.
///
/// A head h at a position q, and a token t at a position k: the attention A[q, k], and its output along
/// the token's unembedding, z[q, h] W_O[h] · d(t) with `LogitDirection`'s d, which is W_U[:, t] where
/// LayerNorm is folded and the writing weights are centred. A head that copies writes more of a token
/// the more it attends to it. No scale of LayerNorm divides the output.
public struct HeadWriting: Sendable {
  public struct Result: Sendable {
    /// Rows heads, columns `FROM→TO`.
    public let attention, written: ReadingTable
    /// Pearson's correlation of the two over the prompts; no value where one of them is the same in
    /// all, or there are fewer than three.
    public let correlation: ReadingTable
  }

  public let heads: [AttentionHead]
  private let model: GPT2
  private let hooks: ReadHooks
  /// The layers of the heads, and their W_O transposed.
  private let layers: [Int]
  private let outputs: [Linear]

  /// - Throws: `ReadingError.hooksNotCached`, `.noSuchHead`.
  public init(
    of heads: [AttentionHead], in cache: CacheReader, model: GPT2
  ) throws(ReadingError) {
    let config = model.config
    for head in heads
    where !(0..<config.layers ~= head.layer) || !(0..<config.heads ~= head.head) {
      throw .noSuchHead(
        layer: head.layer, head: head.head, layers: config.layers, heads: config.heads)
    }
    (self.heads, self.model) = (heads, model)
    layers = Set(heads.map(\.layer)).sorted()
    outputs = layers.map { model.blocks[$0].output.transposed() }
    hooks = try ReadHooks(
      layers.flatMap { [HookPoint(.pattern, layer: $0), HookPoint(.z, layer: $0)] }, in: cache)
  }

  /// Reads prompts and takes the means. From a place of several positions a prompt's value is the mean
  /// over them; of one that is attended to, the attention is the sum and the token the first.
  ///
  /// - Parameter tokens: those of the cache's prompts.
  /// - Throws: `CacheError`, `PassError.tooLong`, `.unknownToken`, `ReadingError.tooManyPlaces`.
  public func run(
    from queries: [Place], to keys: [Place], in prompts: [ReadPrompt], tokens: [Prompt],
    threads: Int, progress: (Int) -> Void = { _ in }
  ) throws -> Result {
    let count = saturatingProduct(queries.count, keys.count)
    guard count <= AttentionReading.pairLimit else {
      throw ReadingError.tooManyPlaces(count, limit: AttentionReading.pairLimit)
    }
    try model.checkLengths(of: prompts)
    let vocabulary = model.config.vocabulary
    for prompt in prompts {
      for token in tokens[prompt.number].tokens
      where token < 0 || token >= Int32(clamping: vocabulary) {
        throw PassError.unknownToken(token, vocabulary: vocabulary)
      }
    }
    let rows = heads.map { "L\($0.layer)H\($0.head)" }
    let columns = queries.flatMap { query in keys.map { "\(query)→\($0)" } }
    let tables = try readTables(
      ["attention", "written"], rows: rows, columns: columns, prompts: prompts.count,
      keepsValues: true, threads: threads, with: { projections() }, progress: progress
    ) { range, projections in
      var batch = ReadBatch(
        quantities: 2, prompts: range.count, rows: rows.count, columns: columns.count)
      let sites = prompts[range].map { prompt in
        queries.flatMap { query in
          keys.map { Site(prompt, from: query, to: $0, tokens: tokens[prompt.number].tokens) }
        }
      }
      projections.prepare(Set(sites.flatMap { $0.compactMap { $0?.token } }))
      for (number, prompt) in prompts[range].enumerated() {
        let isWhole = ReadHooks.isWhole(range.lowerBound + number)
        try read(prompt, sites[number], projections, isWhole: isWhole) {
          batch.set(quantity: $0, prompt: number, row: $1, column: $2, to: $3)
        }
      }
      return batch
    }
    return Result(
      attention: tables[0], written: tables[1],
      correlation: tables[0].correlation(with: tables[1]))
  }

  /// Where a column is in a prompt.
  private struct Site {
    let queries, keys: Range<Int>
    let token: Int32

    /// nil if the prompt lacks one of the places.
    init?(_ prompt: ReadPrompt, from query: Place, to key: Place, tokens: [Int32]) {
      guard let queries = prompt.positions(of: query), let keys = prompt.positions(of: key) else {
        return nil
      }
      (self.queries, self.keys, token) = (queries, keys, tokens[keys.lowerBound])
    }
  }

  private func projections() -> UnitProjections {
    UnitProjections(outputs, of: model, columns: TokenColumns(model.unembedding))
  }

  /// - Parameter set: gets the quantity, the head's number, the column and the value.
  private func read(
    _ prompt: ReadPrompt, _ sites: [Site?], _ projections: UnitProjections, isWhole: Bool,
    _ set: (Int, Int, Int, Float) -> Void
  ) throws {
    let rows = sites.compactMap { $0?.queries }.hull
    guard !rows.isEmpty else { return }
    let (config, length) = (model.config, prompt.length)
    let (width, square) = (config.headWidth, saturatingProduct(length, length))
    try hooks.withArrays(of: prompt) { (arrays) throws(CacheError) in
      for (place, layer) in layers.enumerated() {
        let own = heads.indices.filter { heads[$0].layer == layer }
        try arrays.read(
          HookPoint(.pattern, layer: layer), count: saturatingProduct(config.heads, square)
        ) { pattern in
          for number in own {
            let attention = pattern + heads[number].head * square
            for (column, site) in sites.enumerated() {
              guard let site else { continue }
              let sum = site.queries.reduce(0.0) { sum, query in
                site.keys.reduce(sum) { $0 + Double(attention[query * length + $1]) }
              }
              set(0, number, column, Float(sum / Double(site.queries.count)))
            }
          }
        }
        try arrays.read(
          HookPoint(.z, layer: layer), rows: rows, width: config.heads * width,
          isWhole: isWhole
        ) { z in
          for (column, site) in sites.enumerated() {
            guard let site else { continue }
            let projection = projections.values(
              layer: place, LogitTokens(answer: site.token, wrong: nil))
            for number in own {
              let first = heads[number].head * width
              let sum = site.queries.reduce(0.0) { sum, query in
                let row = z + (query - rows.lowerBound) * config.heads * width
                return sum + pb_dot(row + first, projection + first, width)
              }
              set(1, number, column, Float(sum / Double(site.queries.count)))
            }
          }
        }
      }
    }
  }
}
