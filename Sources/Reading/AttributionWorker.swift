import CKernels
import CacheFormat
import Model
import Patching

/// What one thread needs to split prompts.
final class AttributionWorker {
  private let attribution: LogitAttribution
  private let tokenColumns: TokenColumns
  private let heads: UnitProjections
  private let neurons: UnitProjections
  private let directions = PassBuffer()  // [different directions, D]

  init(_ attribution: LogitAttribution) {
    self.attribution = attribution
    let model = attribution.model
    tokenColumns = TokenColumns(model.unembedding)
    heads = UnitProjections(attribution.heads, of: model, columns: tokenColumns)
    neurons = UnitProjections(attribution.neurons, of: model, columns: tokenColumns)
  }

  private var config: ModelConfig { attribution.model.config }

  /// A prompt of a batch.
  private struct Item {
    let prompt: ReadPrompt
    let tokens: LogitTokens
    /// The number of their direction.
    let direction: Int
    /// By column.
    let places: [Range<Int>?]
    /// The positions of all columns, and those between them; empty if there are none.
    let rows: Range<Int>
    /// Whether arrays are read as a whole (`ReadHooks.read`).
    let isWhole: Bool
    /// ln_final.hook_scale, by row.
    var scale: [Float] = []
  }

  /// Rows: the parts, their sum, the constant, the target.
  func read(_ prompts: ArraySlice<ReadPrompt>) throws -> ReadBatch {
    let labels = attribution.labels.count
    var batch = ReadBatch(
      quantities: 1, prompts: prompts.count, rows: labels + 3, columns: attribution.places.count)
    let (all, items) = makeItems(prompts)
    var known = items
    for number in known.indices {
      try readStreams(number, &known[number], all, &batch)
    }
    try readUnits(known, &batch)
    for (number, item) in known.enumerated() {
      addSums(number, item, all[item.direction], &batch)
    }
    return batch
  }

  private func makeItems(_ prompts: ArraySlice<ReadPrompt>) -> ([LogitDirection], [Item]) {
    var all: [LogitDirection] = []
    var numbers: [LogitTokens: Int] = [:]
    let items = prompts.enumerated().map { order, prompt in
      guard let tokens = attribution.target.tokens(of: prompt.pair) else {
        preconditionFailure("a logit of a pair without its answer")
      }
      let number = numbers[tokens] ?? all.count
      if number == all.count {
        numbers[tokens] = number
        all.append(LogitDirection(tokens, of: attribution.model, columns: tokenColumns))
      }
      let places = attribution.places.map { prompt.positions(of: $0) }
      return Item(
        prompt: prompt, tokens: tokens, direction: number, places: places,
        rows: places.compactMap { $0 }.hull, isWhole: ReadHooks.isWhole(prompts.startIndex + order))
    }
    let memory = directions.need(max(1, all.count) * config.width)
    for (number, direction) in all.enumerated() {
      (memory + number * config.width).update(from: direction.values, count: config.width)
    }
    return (all, items)
  }

  // Row numbers.

  private var parts: Int { attribution.labels.count }
  /// Of the first part that is a row of the stream.
  private var firstStream: Int {
    let layers = config.layers
    return (attribution.split.hasHeads && attribution.split != .head ? layers * config.heads : 0)
      + (attribution.split == .full ? layers * config.mlpWidth : 0)
  }
  private var firstNeuron: Int {
    attribution.split == .full ? config.layers * config.heads : 0
  }

  /// Parts that are rows of the stream, the scale, the bias and the target itself.
  private func readStreams(
    _ number: Int, _ item: inout Item, _ all: [LogitDirection], _ batch: inout ReadBatch
  ) throws {
    let rows = item.rows
    guard !rows.isEmpty else { return }
    let width = config.width
    let direction = directions.pointer + item.direction * width
    let last = ResidualStreams.last(layers: config.layers)
    // Streams are read in the order in which they are added up: each then takes one more term.
    let streams = attribution.split.streams(layers: config.layers)
    let places = item.places
    let (products, final, scale) = try attribution.hooks.withArrays(of: item.prompt) {
      (arrays) throws(CacheError) in
      func project(_ hook: HookPoint) throws(CacheError) -> [Double] {
        try arrays.read(hook, rows: rows, width: width, isWhole: item.isWhole) { values in
          places.map { place in
            (place ?? 0..<0).map {
              pb_dot(values + ($0 - rows.lowerBound) * width, direction, width)
            }
          }.flatMap { $0 }
        }
      }
      var products: [[Double]] = []
      for stream in streams { products.append(try project(stream.hook)) }
      let final = try streams.last?.hook == last ? products[streams.count - 1] : project(last)
      let scale = try arrays.read(
        HookPoint(.finalScale), rows: rows, width: 1, isWhole: item.isWhole
      ) { Array(UnsafeBufferPointer(start: $0, count: rows.count)) }
      return (products, final, scale)
    }
    item.scale = scale

    func set(_ row: Int, _ products: [Double]) {
      var first = 0
      for (column, place) in item.places.enumerated() {
        guard let place else { continue }
        let sum = zip(place, products[first..<first + place.count]).reduce(0.0) {
          $0 + $1.1 / Double(item.scale[$1.0 - rows.lowerBound])
        }
        first += place.count
        batch.set(prompt: number, row: row, column: column, to: Float(sum / Double(place.count)))
      }
    }
    for (stream, values) in products.enumerated() { set(firstStream + stream, values) }
    set(parts + 2, final)
    guard attribution.split == .full || attribution.split == .fullMLP else { return }
    let bias = attribution.model.blocks.reduce(0.0) { sum, block in
      let biases = [block.output.bias, attribution.split == .full ? block.mlpOut.bias : nil]
      return biases.reduce(sum) { $0 + ($1.map { pb_dot($0.pointer, direction, width) } ?? 0) }
    }
    set(parts - 1, item.places.flatMap { ($0 ?? 0..<0).map { _ in bias } })
  }

  /// Heads and neurons.
  private func readUnits(_ items: [Item], _ batch: inout ReadBatch) throws {
    let tokens = Set(items.flatMap { [$0.tokens.answer, $0.tokens.wrong ?? $0.tokens.answer] })
    heads.prepare(tokens)
    neurons.prepare(tokens)
    for layer in attribution.heads.indices {
      let rows = layer * config.heads..<(layer + 1) * config.heads
      try readUnits(
        HookPoint(.z, layer: layer), heads, layer, rows: rows, width: config.headWidth, items,
        &batch)
    }
    for layer in attribution.neurons.indices {
      let first = firstNeuron + layer * config.mlpWidth
      try readUnits(
        HookPoint(.mlpPost, layer: layer), neurons, layer, rows: first..<first + config.mlpWidth,
        width: 1, items, &batch)
    }
  }

  /// Units of a hook, such as the heads of z: `width` values each, times their projections on the
  /// direction.
  private func readUnits(
    _ hook: HookPoint, _ projections: UnitProjections, _ layer: Int, rows: Range<Int>, width: Int,
    _ items: [Item], _ batch: inout ReadBatch
  ) throws {
    let unit = rows.count * width
    let columns = batch.columns
    for (number, item) in items.enumerated() where !item.scale.isEmpty {
      let projection = projections.values(layer: layer, item.tokens)
      let start = (number * batch.rows + rows.lowerBound) * columns
      try attribution.hooks.withArrays(of: item.prompt) { (arrays) throws(CacheError) in
        try arrays.read(hook, rows: item.rows, width: unit, isWhole: item.isWhole) { values in
          batch.values[0].withUnsafeMutableBufferPointer { cells in
            guard let cells = cells.baseAddress.map({ $0 + start }) else { return }
            project(
              values, of: item, on: projection, units: rows.count, width: width, into: cells,
              columns: columns)
          }
        }
      }
    }
  }

  /// The products of units with their projections, each divided by its position's scale; means over the
  /// positions of a place.
  ///
  /// - Parameters:
  ///   - values: [item.rows, units, width].
  ///   - projection: [units, width].
  ///   - cells: [units, columns].
  private func project(
    _ values: UnsafePointer<Float>, of item: Item, on projection: UnsafePointer<Float>, units: Int,
    width: Int, into cells: UnsafeMutablePointer<Float>, columns: Int
  ) {
    for (column, place) in item.places.enumerated() {
      guard let place else { continue }
      for unit in 0..<units { cells[unit * columns + column] = 0 }
      for position in place {
        let row = position - item.rows.lowerBound
        let scale = Double(item.scale[row])
        let factor = Float(1 / (scale * Double(place.count)))
        let activations = values + row * units * width
        if width == 1, columns == 1 {
          // The same as below, in a form that the compiler makes vectors of.
          for unit in 0..<units { cells[unit] += activations[unit] * projection[unit] * factor }
        } else {
          for unit in 0..<units {
            let product = pb_dot(activations + unit * width, projection + unit * width, width)
            cells[unit * columns + column] += Float(product) * factor
          }
        }
      }
    }
  }

  /// The sum of the parts, the constant and the target, once the parts are there; and the remainder.
  private func addSums(
    _ number: Int, _ item: Item, _ direction: LogitDirection, _ batch: inout ReadBatch
  ) {
    for column in 0..<batch.columns where item.places[column] != nil {
      func cell(_ row: Int) -> Int { (number * batch.rows + row) * batch.columns + column }
      let last = Double(batch.values[0][cell(parts + 2)])
      let hasRemainder = attribution.split.hasRemainder
      var sum = batch.values[0].withUnsafeBufferPointer { values in
        (0..<parts - (hasRemainder ? 1 : 0)).reduce(0.0) { $0 + Double(values[cell($1)]) }
      }
      if hasRemainder {
        batch.set(prompt: number, row: parts - 1, column: column, to: Float(last - sum))
        sum = last
      }
      if attribution.split == .accumulated { sum = last }
      batch.set(prompt: number, row: parts, column: column, to: Float(sum))
      batch.set(prompt: number, row: parts + 1, column: column, to: Float(direction.constant))
      batch.set(
        prompt: number, row: parts + 2, column: column, to: Float(last + direction.constant))
    }
  }
}
