import CacheFormat
import Foundation
import Glibc
import TestSupport
import Testing

/// Caches of format 1 that were written once and must be read by every later version.
///
/// `PATCHBAY_WRITE_GOLDEN=1 swift test -c release --filter GoldenTests` writes them anew; that is
/// for a new format, never for a change of this one.
@Suite struct GoldenTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Golden").path

  /// Values of a few bits, exact in every element type, such that all encodings occur, and
  /// an array of two chunks.
  private static func capture(_ elementType: ElementType) -> Capture {
    var capture = Capture(
      lengths: [4, 1, 6],
      hooks: [
        HookSpec(name: "hook_embed", shape: [.positions, .fixed(300)]),
        HookSpec(name: "blocks.0.attn.hook_pattern", shape: [.fixed(4), .positions, .positions]),
        HookSpec(name: "blocks.0.mlp.hook_post", shape: [.positions, .fixed(6000)]),
        HookSpec(name: "ln_final.hook_scale", shape: [.positions, .fixed(1)]),
      ],
      elementType: elementType, segmentBytes: elementType == .f32 ? 140_000 : 70_000)
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

  @Test(
    .enabled(if: getenv("PATCHBAY_WRITE_GOLDEN") != nil), arguments: ElementType.allCases)
  func write(elementType: ElementType) throws {
    let path = "\(GoldenTests.directory)/format-1-\(elementType.rawValue)"
    try? FileManager.default.removeItem(atPath: path)
    try GoldenTests.capture(elementType).write(to: path)
  }

  @Test(.disabled(if: getenv("PATCHBAY_WRITE_GOLDEN") != nil), arguments: ElementType.allCases)
  func read(elementType: ElementType) throws {
    let capture = GoldenTests.capture(elementType)
    let reader = try CacheReader(
      directory: "\(GoldenTests.directory)/format-1-\(elementType.rawValue)")
    #expect(reader.isComplete && reader.verify().isHealthy)
    #expect(reader.summary().segments == 2)
    #expect(reader.plan.elementType == elementType && reader.plan.hooks == capture.plan.hooks)
    #expect(try reader.prompts() == capture.prompts)
    #expect(try reader.pairs() == capture.pairs)
    #expect(try capture.agrees(with: reader, prompts: 3))
  }

  /// The samples are of use only as long as they have everything that the format has.
  @Test(.disabled(if: getenv("PATCHBAY_WRITE_GOLDEN") != nil))
  func samplesHaveEveryEncoding() throws {
    var encodings: Set<String> = []
    for elementType in ElementType.allCases {
      let reader = try CacheReader(
        directory: "\(GoldenTests.directory)/format-1-\(elementType.rawValue)")
      for hook in reader.summary().hooks { encodings.formUnion(hook.encodings.keys) }
    }
    #expect(encodings == ["raw", "lz4", "lz4+shuffle", "lz4+bitshuffle"])
  }
}
