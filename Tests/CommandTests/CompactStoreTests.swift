import CacheFormat
import Foundation
import TestSupport
import Testing

/// `capture --store compact` beside `--store full`: half the bytes, the same values.
@Suite struct CompactStoreTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
    try folder.write("prompts.txt", "abc\na\nthe cat and the dog\nxyz\n")
  }

  private func capture(_ store: String, _ options: [String]) throws -> CacheReader {
    let out = folder.path("\(store)\(options.hashValue)")
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", folder.path("prompts.txt"), "--out", out, "--quiet"]
        + ["--store", store] + options)
    try #require(answer.status == 0, "\(answer)")
    return try CacheReader(directory: out)
  }

  @Test(arguments: [
    ["--weights", "transformerlens"], ["--weights", "raw"], ["--refactor"],
    ["--prove", "all"], ["--hooks", "*"], ["--hooks", "*", "--weights", "raw"],
    ["--hooks", "resid_pre,attn_out,mlp_out,z,pattern"],
  ])
  func everyArrayHasTheSameBits(options: [String]) throws {
    let full = try capture("full", options)
    let compact = try capture("compact", options)
    #expect(full.plan.hooks.map(\.name) == compact.plan.hooks.map(\.name))
    #expect(full.plan.hooks.allSatisfy { $0.recipe == nil })
    for hook in full.plan.hooks.indices {
      for prompt in 0..<full.committedPrompts {
        let expected = try full.read(hook: hook, prompt: prompt).map(\.bitPattern)
        let found = try compact.read(hook: hook, prompt: prompt).map(\.bitPattern)
        #expect(found == expected, "\(full.plan.hooks[hook].name) of prompt \(prompt)")
      }
    }
    #expect(try compact.verify().isHealthy)
    // No recipe fails on a sound model.
    for hook in compact.summary().hooks {
      let isDerived = compact.isDerived(hook: compact.hookIndex(hook.name) ?? 0)
      #expect((hook.encodings == ["derived": 4]) == isDerived, "\(hook.name)")
    }
  }

  @Test func whatNeedsNoMatrixIsDerived() throws {
    let compact = try capture("compact", [])
    let stored = compact.plan.hooks.filter { $0.recipe == nil }.map(\.name)
    let inBlock = [
      "attn.hook_q", "attn.hook_k", "attn.hook_v", "hook_attn_out", "mlp.hook_pre", "hook_mlp_out",
    ]
    let layers = compact.plan.model.layers
    #expect(
      stored == ["hook_embed", "hook_pos_embed"]
        + (0..<layers).flatMap { layer in inBlock.map { "blocks.\(layer).\($0)" } })
    // Normalised values of raw weights have the LayerNorm's own weights in them.
    let raw = try capture("compact", ["--weights", "raw"])
    let more = raw.plan.hooks.filter { $0.recipe == nil }.map(\.name)
    #expect(Set(more).subtracting(stored).allSatisfy { $0.hasSuffix("hook_normalized") })
    #expect(more.count == stored.count + 2 * layers + 1)
  }

  @Test func aHookWithoutItsSourcesIsStored() throws {
    let some = try capture("compact", ["--hooks", "z,resid_post"])
    #expect(some.plan.hooks.allSatisfy { $0.recipe == nil })
  }
}
