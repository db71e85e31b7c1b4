import CacheFormat
import TestSupport

extension Capture {
  /// One of every kind of rows, and arrays that have none.
  private static let causalHooks = [
    HookSpec(name: "noise", shape: [.positions, .fixed(9)]),
    HookSpec(name: "a_pattern", shape: [.fixed(2), .positions, .positions]),
    HookSpec(name: "z", shape: [.positions, .fixed(2), .fixed(3)]),
    HookSpec(name: "twice", shape: [.positions, .fixed(9)], recipe: .sum(["noise", "noise"])),
    HookSpec(name: "b_pattern", shape: [.positions, .fixed(2), .positions]),
    HookSpec(name: "wide_post", shape: [.positions, .fixed(700)]),
  ]

  /// Prompts of few different tokens, in whose arrays a row is given by the tokens up to its own.
  static func causal(_ elementType: ElementType, seed: UInt64) -> Capture {
    var generator = SeededGenerator(seed: seed)
    let lengths = (0..<24).map { _ in Int.random(in: 1...12, using: &generator) }
    var capture = Capture(
      lengths: lengths, hooks: causalHooks, elementType: elementType,
      segmentBytes: 1 << 22, seed: seed)
    var rows: [[Int32]: SeededGenerator] = [:]
    for prompt in lengths.indices {
      capture.prompts[prompt].tokens = (0..<lengths[prompt]).map { _ in
        Int32.random(in: 0..<2, using: &generator)
      }
      let tokens = capture.prompts[prompt].tokens
      for hook in [0, 2, 5] {
        let width = capture.arrays[hook][prompt].count / tokens.count
        capture.arrays[hook][prompt] = tokens.indices.flatMap { position -> [Float] in
          let key = [Int32(hook)] + tokens[...position]
          var row = rows[key] ?? SeededGenerator(seed: generator.next())
          rows[key] = row
          // Whole numbers are exact in every element type.
          return (0..<width).map { _ in Float(Int(row.next() >> 61)) }
        }
      }
      for hook in [1, 4] {
        capture.arrays[hook][prompt] = capture.arrays[hook][prompt].map { $0.rounded() }
      }
    }
    capture.deriveArrays()
    return capture
  }
}
