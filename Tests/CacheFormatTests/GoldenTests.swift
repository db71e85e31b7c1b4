import CacheFormat
import Foundation
import Glibc
import TestSupport
import Testing

/// Caches that were written once and must be read by every later version.
///
/// `PATCHBAY_WRITE_GOLDEN=1 swift test -c release --filter GoldenTests` writes those of the current
/// format anew; that is for a new format, never for a change of one.
@Suite struct GoldenTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Golden").path
  private static let isWriting = getenv("PATCHBAY_WRITE_GOLDEN") != nil

  private static func path(_ format: Int, _ elementType: ElementType) -> String {
    "\(directory)/format-\(format)-\(elementType.rawValue)"
  }

  /// Values of a few bits, exact in every element type, such that all encodings occur, and
  /// an array of two chunks.
  private static func storedHooks(
    _ elementType: ElementType, lengths: [Int] = [4, 1, 6], segmentBytes: Int = 140_000,
    scales: Int = 1
  ) -> Capture {
    var capture = Capture(
      lengths: lengths,
      hooks: [
        HookSpec(name: "hook_embed", shape: [.positions, .fixed(300)]),
        HookSpec(name: "blocks.0.attn.hook_pattern", shape: [.fixed(4), .positions, .positions]),
        HookSpec(name: "blocks.0.mlp.hook_post", shape: [.positions, .fixed(6000)]),
        HookSpec(name: "ln_final.hook_scale", shape: [.positions, .fixed(scales)]),
      ],
      elementType: elementType,
      segmentBytes: elementType == .f32 ? segmentBytes : segmentBytes / 2)
    for (hook, spec) in capture.plan.hooks.enumerated() {
      for prompt in capture.prompts.indices {
        let count = capture.arrays[hook][prompt].count
        var generator = SeededGenerator(seed: UInt64(10 * hook + prompt))
        capture.arrays[hook][prompt] = (0..<count).map { index in
          let mixed = Int(generator.next() >> 40)
          switch spec.name {
          case "hook_embed":
            return (mixed & 64 == 0 ? 1 : -1) * (mixed & 128 == 0 ? 1 : 2)
              * (1 + Float(mixed & 63) / 64)
          case "blocks.0.attn.hook_pattern": return index % 4 > prompt ? 0 : 0.25
          case "blocks.0.mlp.hook_post": return index % 500 == 0 ? Float(mixed % 32) : 0.5
          default: return [1, -0.0, .infinity, -.infinity][index % 4]
          }
        }
      }
    }
    return capture
  }

  /// The same with every recipe, and causal squares that are stored.
  private static func derivedHooks(
    _ elementType: ElementType, lengths: [Int] = [4, 1, 6], segmentBytes: Int = 140_000,
    scales: Int = 1
  ) -> Capture {
    var capture = storedHooks(
      elementType, lengths: lengths, segmentBytes: segmentBytes, scales: scales)
    let derived = Capture.derived(lengths: lengths)
    let squares = [40, 1].map { count in
      HookSpec(name: "causal.\(count)", shape: [.fixed(count), .positions, .positions])
    }
    capture.plan.store = "compact"
    capture.plan.hooks += derived.plan.hooks + squares
    capture.arrays += derived.arrays.map { prompts in
      prompts.map { values in values.map { ($0 * 16).rounded() / 16 } }
    }
    capture.arrays.append(lengths.map { causalSquares(40, side: $0) })
    capture.arrays.append(lengths.map { causalSquares(1, side: $0) })
    capture.deriveArrays()
    return capture
  }

  /// The same with prompts that begin alike: some with rows of their own, of more than a chunk, and
  /// some that are the beginning of another one.
  private static func sharedRows(_ elementType: ElementType, scales: Int = 1) -> Capture {
    var capture = derivedHooks(
      elementType, lengths: [4, 9, 3, 1, 6, 6, 2], segmentBytes: 500_000, scales: scales)
    capture.share(3, of: 0, with: 1)
    capture.share(3, of: 0, with: 2)
    capture.share(5, of: 4, with: 5)
    capture.share(2, of: 4, with: 6)
    capture.deriveArrays()
    return capture
  }

  private static func capture(_ format: Int, _ elementType: ElementType) -> Capture {
    switch format {
    case 1: storedHooks(elementType)
    case 2: derivedHooks(elementType)
    case 3: sharedRows(elementType)
    // The entry of a chunk has become longer: more scales, so that compressing them still gains.
    default: sharedRows(elementType, scales: 50)
    }
  }

  private static func causalSquares(_ count: Int, side T: Int) -> [Float] {
    (0..<count * T * T).map { (index: Int) -> Float in
      let (row, column) = (index / T % T, index % T)
      return column > row ? -.infinity : Float(1 << (index * 7 % 5)) / 8
    }
  }

  @Test(.enabled(if: isWriting), arguments: ElementType.allCases)
  func write(elementType: ElementType) throws {
    let path = GoldenTests.path(CachePlan.currentFormat, elementType)
    try? FileManager.default.removeItem(atPath: path)
    try GoldenTests.capture(CachePlan.currentFormat, elementType).write(to: path)
  }

  @Test(.disabled(if: isWriting), arguments: [1, 2, 3, 4, 5], ElementType.allCases)
  func read(format: Int, elementType: ElementType) throws {
    let capture = GoldenTests.capture(format, elementType)
    let reader = try CacheReader(directory: GoldenTests.path(format, elementType))
    #expect(reader.plan.formatVersion == format)
    #expect(try reader.isComplete && reader.verify().isHealthy)
    #expect(reader.summary().segments == 2)
    #expect(reader.plan.elementType == elementType && reader.plan.hooks == capture.plan.hooks)
    #expect(try reader.prompts() == capture.prompts)
    #expect(try reader.pairs() == capture.pairs)
    #expect(try capture.agrees(with: reader, prompts: capture.prompts.count))
  }

  /// The samples are of use only as long as they have everything that the format has.
  @Test(.disabled(if: isWriting), arguments: [1, 2, 3, 4, 5])
  func samplesHaveEveryEncoding(format: Int) throws {
    var encodings: Set<String> = []
    for elementType in ElementType.allCases {
      let reader = try CacheReader(directory: GoldenTests.path(format, elementType))
      for hook in reader.summary().hooks { encodings.formUnion(hook.encodings.keys) }
    }
    let first = ["raw", "lz4", "lz4+shuffle", "lz4+bitshuffle"]
    let second = ["derived", "triangle", "triangle+lz4", "triangle+lz4+bitshuffle"]
    let third = ["shared", "shared+lz4", "shared+lz4+shuffle", "shared+lz4+bitshuffle"]
    let all = [first, second, third].prefix(format).joined()
    #expect(encodings.isSuperset(of: all), "\(encodings)")
  }
}
