import CKernels
import CacheFormat
import Glibc
import Model
import Patching

/// The logit lens (nostalgebraist 2020): the residual stream after every half block, read as if the
/// model ended there. ln_final is taken anew of each stream, mean and scale included, with its weight
/// and bias where they are not folded, and then the unembedding with its bias: TransformerLens's
/// `unembed(ln_final(accumulated_resid(incl_mid=True)))`, `accumulated_resid(apply_ln=True)` since 2.17.
///
/// The row final_post has the metric of the run itself.
public struct LogitLens: Sendable {
  let model: GPT2
  let hooks: ReadHooks
  /// The hooks of `labels`.
  let streams: [HookPoint]
  /// Columns.
  public let places: [Place]

  /// - Throws: `ReadingError.hooksNotCached`.
  public init(_ cache: CacheReader, model: GPT2, places: [Place]) throws(ReadingError) {
    self.model = model
    self.places = places
    streams = ResidualStreams.hooks(layers: model.config.layers)
    hooks = try ReadHooks(streams, in: cache)
  }

  /// 0_pre, 0_mid, 1_pre, … final_post.
  public var labels: [String] { ResidualStreams.labels(layers: model.config.layers) }

  /// Metrics of every stream at every place, and their means over prompts. At a place of several
  /// positions a prompt's value is the mean over them. KL is from the run's own distribution at the same
  /// position.
  ///
  /// - Parameter keepsValues: whether the tables have the values of each prompt.
  /// - Returns: a table a metric.
  /// - Throws: `CacheError`, `PassError.tooLong`.
  /// - Precondition: the pairs have the answers that the metrics read, of tokens in the vocabulary.
  public func tables(
    of prompts: [ReadPrompt], metrics: [any PatchMetric], keepsValues: Bool = false, threads: Int,
    progress: (Int) -> Void = { _ in }
  ) throws -> [ReadingTable] {
    try model.checkLengths(of: prompts)
    return try readTables(
      metrics.map(\.name), rows: labels, columns: places.map(\.description),
      prompts: prompts.count, keepsValues: keepsValues, threads: threads,
      with: { LensWorker(self, metrics) }, progress: progress
    ) { range, worker in
      try worker.read(prompts[range])
    }
  }

  /// A token that a stream speaks for.
  public struct TokenScore: Sendable, Equatable {
    public let token: Int32
    public let logit: Float
    /// The softmax of the logits.
    public let probability: Double
  }

  /// The tokens with the largest logits of every stream at some positions of a prompt: by position and
  /// stream.
  ///
  /// - Throws: `CacheError`.
  public func top(_ count: Int, of prompt: ReadPrompt, positions: [Int]) throws -> [[[TokenScore]]]
  {
    try model.checkLengths(of: [prompt])
    let worker = LensWorker(self, [])
    guard !positions.isEmpty else { return [] }
    let rows = try worker.normalizedRows(of: prompt, positions: positions, isWhole: true)
    let streams = labels.count
    var scores: [[[TokenScore]]] = []
    for place in positions.indices {
      var some: [[TokenScore]] = []
      worker.forEachLogits(
        of: rows + place * streams * model.config.width, rows: streams
      ) { _, logits in some.append(LogitLens.top(count, of: logits)) }
      scores.append(some)
    }
    return scores
  }

  private static func top(_ count: Int, of logits: Span<Float>) -> [TokenScore] {
    let total = logSumExp(logits)
    // Of equal ones the lower token comes first; NaN is the least of all.
    var best: [(token: Int, key: Float)] = []
    for token in logits.indices {
      let key = logits[token].isNaN ? -.infinity : logits[token]
      if best.count == count, let last = best.last, key <= last.key { continue }
      let place = best.firstIndex { $0.key < key } ?? best.count
      best.insert((token, key), at: place)
      if best.count > count { best.removeLast() }
    }
    var scores: [TokenScore] = []
    for (token, _) in best {
      scores.append(
        TokenScore(
          token: Int32(token), logit: logits[token],
          probability: exp(Double(logits[token]) - total)))
    }
    return scores
  }
}

/// What one thread needs to read streams.
final class LensWorker {
  private let lens: LogitLens
  private let metrics: [any PatchMetric]
  private let tokenColumns: TokenColumns
  private let scratch = MultiplyScratch()
  private let rows = PassBuffer()  // by position and stream [D]
  private let scale = PassBuffer()
  private let logits = PassBuffer()  // [rows, V]
  private var queue: [Float] = []  // [queued, D]
  private var queued: [(prompt: Int, position: Int, stream: Int)] = []

  /// Rows of logits that are held at a time.
  private static let rowsAtATime = 96

  init(_ lens: LogitLens, _ metrics: [any PatchMetric]) {
    self.lens = lens
    self.metrics = metrics
    tokenColumns = TokenColumns(lens.model.unembedding)
  }

  private var config: ModelConfig { lens.model.config }
  private var streams: Int { lens.streams.count }

  func read(_ prompts: ArraySlice<ReadPrompt>) throws -> ReadBatch {
    var batch = ReadBatch(
      quantities: metrics.count, prompts: prompts.count, rows: streams, columns: lens.places.count)
    let first = prompts.startIndex
    let prompts = Array(prompts)
    // By prompt: its positions, and of each and of each metric the values of all streams.
    let places = prompts.map { prompt in lens.places.map { prompt.positions(of: $0) } }
    let positions = places.map { Set($0.flatMap { $0.map(Array.init) ?? [] }).sorted() }
    var values = positions.map { positions in
      positions.map { _ in
        metrics.map { _ in [Float](repeating: .nan, count: streams) }
      }
    }
    let needsAll = zip(metrics, 0...).filter { metric, _ in
      prompts.first.map { metric.tokensRead(of: $0.pair) == nil } ?? false
    }.map(\.1)
    for (number, prompt) in prompts.enumerated() where !positions[number].isEmpty {
      let rows = try normalizedRows(
        of: prompt, positions: positions[number], isWhole: ReadHooks.isWhole(first + number))
      for metric in metrics.indices where !needsAll.contains(metric) {
        readTokens(metrics[metric], prompt.pair, rows, count: positions[number].count) {
          values[number][$0][metric][$1] = $2
        }
      }
      guard !needsAll.isEmpty else { continue }
      enqueue(rows, prompt: number, positions: positions[number].count)
      if queued.count >= LensWorker.rowsAtATime {
        flush(needsAll, prompts) { values[$0][$1][$2][$3] = $4 }
      }
    }
    flush(needsAll, prompts) { values[$0][$1][$2][$3] = $4 }

    for number in prompts.indices {
      for (column, place) in places[number].enumerated() {
        guard let place else { continue }
        let those = positions[number].indices.filter { place.contains(positions[number][$0]) }
        for metric in metrics.indices {
          for stream in 0..<streams {
            let sum = those.reduce(0.0) { $0 + Double(values[number][$1][metric][stream]) }
            batch.set(
              quantity: metric, prompt: number, row: stream, column: column,
              to: Float(sum / Double(those.count)))
          }
        }
      }
    }
    return batch
  }

  /// ln_final of every stream at some positions, by position and stream [D]. Valid until the next call.
  ///
  /// - Parameters:
  ///   - positions: ascending, at least one.
  ///   - isWhole: as `ReadHooks.read` has it.
  func normalizedRows(
    of prompt: ReadPrompt, positions: [Int], isWhole: Bool
  ) throws -> UnsafePointer<Float> {
    let width = config.width
    let rows = rows.need(max(1, positions.count * streams) * width)
    let first = positions[0]
    try lens.hooks.withArrays(of: prompt) { (arrays) throws(CacheError) in
      for (stream, hook) in lens.streams.enumerated() {
        try arrays.read(
          hook, rows: first..<positions[positions.count - 1] + 1, width: width, isWhole: isWhole
        ) { values in
          for (place, position) in positions.enumerated() {
            (rows + (place * streams + stream) * width).update(
              from: values + (position - first) * width, count: width)
          }
        }
      }
    }
    let count = positions.count * streams
    // The kernel reads each row before it writes it.
    pb_layernorm(rows, count, width, config.layerNormEpsilon, scale.need(max(1, count)), rows)
    if let ln = lens.model.lnFinal {
      pb_scale_shift(rows, ln.weight.pointer, ln.bias.pointer, count, width, rows)
    }
    return UnsafePointer(rows)
  }

  /// A metric that reads the logits of a few tokens.
  private func readTokens(
    _ metric: any PatchMetric, _ pair: PatchingPair, _ rows: UnsafePointer<Float>, count: Int,
    _ take: (Int, Int, Float) -> Void
  ) {
    let bias = lens.model.unembedding.bias
    let tokens = metric.tokensRead(of: pair) ?? []
    let columns = tokens.map(tokenColumns.column)
    let biases = tokens.map { Double(bias?.pointer[Int($0)] ?? 0) }
    for place in 0..<count {
      func logits(_ stream: Int) -> [Float] {
        let row = rows + (place * streams + stream) * config.width
        return zip(columns, biases).map { Float($1 + pb_dot(row, $0, config.width)) }
      }
      let clean = logits(streams - 1)
      for stream in 0..<streams {
        let logits = logits(stream)
        take(
          place, stream, metric.value(of: pair, logits: logits.span, clean: clean.span))
      }
    }
  }

  /// Puts rows into the queue, of each position that of the run itself first.
  private func enqueue(_ rows: UnsafePointer<Float>, prompt: Int, positions: Int) {
    for position in 0..<positions {
      for stream in (0..<streams).reversed() {
        queue.append(
          contentsOf: UnsafeBufferPointer(
            start: rows + (position * streams + stream) * config.width, count: config.width))
        queued.append((prompt, position, stream))
      }
    }
  }

  /// Reads the metrics of all logits from the rows of the queue.
  private func flush(
    _ numbers: [Int], _ prompts: [ReadPrompt], _ take: (Int, Int, Int, Int, Float) -> Void
  ) {
    var clean: [Float] = []
    let needsClean = numbers.contains { metrics[$0].readsCleanRun }
    forEachLogits(of: queue, rows: queued.count) { row, logits in
      let (prompt, position, stream) = queued[row]
      if needsClean, stream == streams - 1 {
        clean = logits.withUnsafeBufferPointer { Array($0) }
      }
      for metric in numbers {
        let value = metrics[metric].value(
          of: prompts[prompt].pair, logits: logits, clean: clean.span)
        take(prompt, position, metric, stream, value)
      }
    }
    queued.removeAll(keepingCapacity: true)
    queue.removeAll(keepingCapacity: true)
  }

  /// The logits [V] of each of some rows [count, D] of ln_final.hook_normalized.
  func forEachLogits(
    of rows: UnsafePointer<Float>, rows count: Int, _ body: (Int, Span<Float>) -> Void
  ) {
    let (width, vocabulary) = (config.width, config.vocabulary)
    for first in stride(from: 0, to: count, by: LensWorker.rowsAtATime) {
      let some = min(LensWorker.rowsAtATime, count - first)
      let memory = logits.need(some * vocabulary)
      lens.model.unembedding.linear.apply(
        rows + first * width, rows: some, into: memory, scratch: scratch)
      for row in 0..<some {
        body(
          first + row,
          UnsafeBufferPointer(start: memory + row * vocabulary, count: vocabulary).span)
      }
    }
  }
}
