import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump show`
struct Show: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the values and statistics of an array.",
    discussion: """
      Statistics are of the finite values; norm is the mean, over positions, of the square root of \
      the sum of squares. With a pattern for several hooks, such as resid_pre, their statistics are \
      shown one below the other.
      """)

  @OptionGroup var cache: CacheArgument

  @Option(
    name: .shortAndLong, parsing: .unconditional, help: "The prompt's number, as ls has it.")
  var prompt: Int

  @Option(
    name: [.customLong("hook"), .customLong("hooks")],
    help: "Full names, globs or short names such as z5, separated by commas.")
  var hook: String

  @Option(
    parsing: .unconditional,
    help: "Only this position, from 0 on; negative from the end. Of patterns: the destination.")
  var pos: Int?

  @Option(parsing: .unconditional, help: "Only this head, from 0 on.")
  var head: Int?

  @Flag(help: "Print the same facts as JSON, with all values in row-major order.")
  var json = false

  struct Shown: Encodable {
    var prompt: Int
    var hook: String
    var position: Int?
    var head: Int?
    var shape: [Int]
    var statistics: ValueStatistics
    var values: [Float]
  }

  func run() throws {
    let reader = try cache.open()
    let hooks = try reader.hooks(matching: [hook])
    let T = try reader.positions(prompt: prompt)
    let position = try pos.map { try resolved($0, positions: T) }
    if json {
      return try printJSON(
        try hooks.map { hook in
          let array = try array(hook, position: position, of: reader)
          return Shown(
            prompt: prompt, hook: reader.plan.hooks[hook].name, position: position, head: head,
            shape: array.shape, statistics: array.statistics, values: array.values)
        }, onOneLine: true)
    }
    var table = Table([.left, .left, .right, .right, .right, .right, .right, .right])
    table.add(["hook", "shape", "mean", "std", "norm", "min", "max", "non-finite"])
    for hook in hooks {
      let array = try array(hook, position: position, of: reader)
      table.add(row(reader.plan.hooks[hook].name, array))
    }
    for line in table.lines() { print(line) }
    if hooks.count == 1 {
      let array = try array(hooks[0], position: position, of: reader)
      print("")
      for line in array.lines(pieces: try reader.prompt(prompt).pieces) { print(line) }
    }
  }

  private func resolved(_ pos: Int, positions T: Int) throws -> Int {
    guard pos >= -T, pos < T else {
      throw UsageError("prompt \(prompt) has positions 0 to \(T - 1), no position \(pos)")
    }
    return pos < 0 ? pos + T : pos
  }

  private func array(_ hook: Int, position: Int?, of reader: CacheReader) throws -> HookArray {
    var array = try reader.array(hook: hook, prompt: prompt)
    let name = reader.plan.hooks[hook].name
    if let position {
      guard let selected = array.selecting(position: position) else {
        throw UsageError("\(name) has no positions; leave --pos out")
      }
      array = selected
    }
    if let head {
      let heads = reader.plan.model.heads
      guard (0..<heads).contains(head) else {
        throw UsageError("the model has heads 0 to \(heads - 1), no head \(head)")
      }
      guard let selected = array.selecting(head: head, of: heads) else {
        throw UsageError("\(name) has no heads; leave --head out")
      }
      array = selected
    }
    return array
  }

  private func row(_ name: String, _ array: HookArray) -> [String] {
    let statistics = array.statistics
    let numbers = [
      statistics.mean, statistics.standardDeviation, statistics.norm,
      statistics.minimum.map(Double.init), statistics.maximum.map(Double.init),
    ].map { $0.map { significant($0, 5) } ?? "-" }
    let shape = "[\(array.shape.map(String.init).joined(separator: ", "))]"
    return [name, shape] + numbers + [grouped(statistics.nonFinite)]
  }
}

extension HookArray {
  var statistics: ValueStatistics { ValueStatistics(of: values, rowLength: rowLength) }

  /// A line for each row along the last axis: its place, and its first and last values.
  ///
  /// Longer arrays are cut in the middle, like numpy's.
  func lines(pieces: [String]) -> [String] {
    guard let columns = axes.last?.size, columns > 0, !values.isEmpty else { return ["(empty)"] }
    let rows = values.count / columns
    let shown = cut(rows, to: 48)
    let ends = columns > 7 ? Array(0..<3) + Array(columns - 3..<columns) : Array(0..<columns)
    let isCut = columns > ends.count
    var table = Table([.left] + Array(repeating: .right, count: ends.count + (isCut ? 1 : 0)))
    var previous = -1
    for row in shown {
      if row != previous + 1 { table.add(["…"]) }
      previous = row
      var cells = ends.map { significant(Double(values[row * columns + $0]), 5) }
      if isCut { cells.insert("…", at: 3) }
      table.add([label(row: row, pieces: pieces)] + cells)
    }
    return table.lines()
  }

  /// The first and last numbers below `count`, at most `most`.
  private func cut(_ count: Int, to most: Int) -> [Int] {
    count <= most ? Array(0..<count) : Array(0..<most / 2) + Array(count - most / 2..<count)
  }

  /// The indices of a row along the leading axes; positions with their token.
  private func label(row: Int, pieces: [String]) -> String {
    var rest = row
    var parts: [String] = []
    for axis in axes.dropLast().reversed() {
      let index = axis.first + rest % axis.size
      rest /= axis.size
      let piece = axis.isPositions && pieces.indices.contains(index) ? pieces[index] : nil
      parts.append(piece.map { "\(index) \(visible($0))" } ?? "\(index)")
    }
    return parts.reversed().joined(separator: " · ")
  }
}
