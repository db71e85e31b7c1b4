import Model

/// What a unit of every layer, such as a value of z or a neuron, adds to a direction per unit of its
/// activation: W_O d and W_out d. Used by one thread.
///
/// They are linear in d, and a direction is that of an answer less that of a wrong one
/// (`LogitDirection`), so that they are kept by token: a task has few answers, and many pairs of them.
final class UnitProjections {
  private let model: GPT2
  private let mostBytes: Int
  private let columns: TokenColumns
  private let weights: [Linear]
  /// Where the units of each layer begin among those of all.
  private let offsets: [Int]
  /// Units of all layers.
  private let count: Int
  private var places: [Int32: Int] = [:]
  /// How many tokens there is memory for.
  private var room = 0
  private let values = PassBuffer()  // [kept tokens, count]
  private let directions = PassBuffer()  // [tokens, D]
  private let difference = PassBuffer()  // units of one layer
  private let scratch = MultiplyScratch()

  /// - Parameters:
  ///   - weights: of each layer, transposed: [D, units].
  ///   - mostBytes: what may be kept, unless the tokens that are read together need more.
  init(
    _ weights: [Linear], of model: GPT2, columns: TokenColumns, mostBytes: Int = 64 << 20
  ) {
    self.model = model
    self.mostBytes = mostBytes
    self.columns = columns
    self.weights = weights
    var end = 0
    offsets = weights.map { weight in
      defer { end += weight.columns }
      return end
    }
    count = end
  }

  /// Makes the projections of some tokens ready, and forgets others where they would be too many.
  func prepare(_ tokens: Set<Int32>) {
    var missing = tokens.filter { places[$0] == nil }
    guard !missing.isEmpty, count > 0 else { return }
    let more = max(tokens.count, mostBytes / 4 / count)
    if more > room || places.count + missing.count > room {
      places = [:]
      missing = tokens
      room = max(room, more)
    }
    // Memory for all is taken at once, because growing would forget; pages are not used before their
    // time.
    let memory = values.need(room * count) + places.count * count
    let width = model.config.width
    let input = directions.need(missing.count * width)
    for (row, token) in missing.sorted().enumerated() {
      places[token] = places.count
      let tokens = LogitTokens(answer: token, wrong: nil)
      (input + row * width).update(
        from: LogitDirection(tokens, of: model, columns: columns).values, count: width)
    }
    for (weight, offset) in zip(weights, offsets) {
      weight.multiply(
        input, rows: missing.count, stride: width, inner: 0..<width, columns: 0..<weight.columns,
        bias: nil, into: memory + offset, stride: count, scratch: scratch)
    }
  }

  /// The projections of a layer's units on the direction of tokens. Valid until the next call.
  ///
  /// - Precondition: the tokens were prepared.
  func values(layer: Int, _ tokens: LogitTokens) -> UnsafePointer<Float> {
    let answer = projections(tokens.answer) + offsets[layer]
    guard let wrong = tokens.wrong.map({ projections($0) + offsets[layer] }) else {
      return UnsafePointer(answer)
    }
    let units = weights[layer].columns
    let result = difference.need(units)
    for unit in 0..<units { result[unit] = answer[unit] - wrong[unit] }
    return UnsafePointer(result)
  }

  private func projections(_ token: Int32) -> UnsafeMutablePointer<Float> {
    guard let place = places[token] else {
      preconditionFailure("the projections of token \(token) were not asked for")
    }
    return values.pointer + place * count
  }
}
