import ArgumentParser
import CacheFormat
import Foundation
import Terminal

/// The arrays that `patchbay-bench store` keeps, as plain files for other stores to keep.
struct ArraysCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "arrays",
    abstract: "Write the arrays of `store` to files.",
    discussion: """
      DIR/NAME.f32 of each hook: float32, little-endian, prompt after prompt. Shapes of a prompt: \
      blocks.0.hook_resid_pre [16, 768], blocks.0.mlp.hook_post [16, 3072], \
      blocks.0.attn.hook_pattern [12, 16, 16].
      """)

  @Option(name: .long, help: "Prompts of 258 kB.")
  var prompts = 2000
  @Option(name: .long, help: "Of the random values.")
  var seed: UInt64 = 1
  @Option(name: .shortAndLong, help: "A directory; it is made if it is not there.")
  var out: String

  func run() throws {
    let set = ArraySet(prompts: prompts, seed: seed)
    let folder = URL(fileURLWithPath: out, isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (hook, values) in zip(ArraySet.hooks, set.values) {
      let file = folder.appendingPathComponent(hook.name + ".f32")
      try values.withUnsafeBytes { try Data($0).write(to: file) }
    }
  }
}
