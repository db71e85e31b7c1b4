import CacheFormat
import Foundation
import TestSupport
import Testing

/// `analyze audit`
@Suite struct AuditTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// Writes the arrays of a cache into another one, whose checksums then vouch for what `change`
  /// made of them.
  private func rewrite(
    _ original: String, as name: String, plan edit: ((inout CachePlan) -> Void)? = nil,
    change: (_ hook: String, _ prompt: Int, inout [Float]) -> Void = { _, _, _ in }
  ) throws -> String {
    let reader = try CacheReader(directory: original)
    var plan = reader.plan
    edit?(&plan)
    let writer = try CacheWriter(
      directory: folder.path(name), plan: plan, prompts: try reader.prompts(),
      pairs: try reader.pairs())
    for (number, prompts) in writer.segmentRanges.enumerated() {
      let segment = try writer.openSegment(number)
      for (hook, spec) in plan.hooks.enumerated() {
        for prompt in prompts {
          var values = try reader.read(hook: hook, prompt: prompt)
          change(spec.name, prompt, &values)
          try values.withUnsafeBufferPointer {
            try segment.append(hook: hook, prompt: prompt, values: [$0])
          }
        }
      }
      try writer.commit(try segment.seal())
    }
    try writer.finish()
    #expect(try CacheReader(directory: folder.path(name)).verify().isHealthy)
    return folder.path(name)
  }

  private struct Audit: Decodable {
    struct Hook: Decodable {
      let name: String
      let arrays, unequalArrays: Int
      let largest, largestOfRms: Double?
    }
    struct Failure: Decodable, Equatable {
      let hook: String
      let prompt: Int
    }
    let tool, cache, model, kernel, capturedKernel, comparison: String
    let tolerance: Double?
    let segments, allSegments, prompts, arrays, unequalArrays, failedArrays, unjudgedArrays: Int
    let seed: UInt64
    let firstFailure: Failure?
    let hooks: [Hook]
  }

  private func audit(
    _ cache: String, _ arguments: String..., status: Int32 = 0,
    environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Audit {
    let answer = try Program.analyze.run(
      ["audit", "--cache", cache, "--json"] + arguments, environment: environment)
    try #require(answer.status == status, "\(answer)", sourceLocation: sourceLocation)
    #expect(answer.errors.isEmpty == (status == 0), sourceLocation: sourceLocation)
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Audit.self, from: Data(answer.output.utf8))
  }

  @Test func aCacheHoldsTheBitsOfItsModel() throws {
    for cache in [shared.path, shared.mixed] {
      let plan = try CacheReader(directory: cache).plan
      let found = try audit(cache, "--sample", "all")
      #expect(found.comparison == "bits" && found.tolerance == nil)
      #expect(found.kernel == plan.kernel && found.capturedKernel == plan.kernel)
      #expect(found.segments == found.allSegments && found.prompts == plan.promptCount)
      #expect(found.arrays == plan.promptCount * TinyModel.hookCount)
      #expect(found.unequalArrays == 0 && found.failedArrays == 0 && found.firstFailure == nil)
      #expect(found.hooks.map(\.name) == plan.hooks.map(\.name))
    }
    let answer = try Program.analyze.succeed("audit", "--cache", shared.path)
    #expect(answer.lines[0].contains("1 of 1 segment run again: 7 prompts, seed "))
    #expect(answer.lines[1].hasSuffix("kernels as at capture: compared bit for bit"))
    #expect(answer.lines.last == "all 385 arrays have the bits that the model computes")
    #expect(answer.errors.contains("auditing 7/7 prompts"))
  }

  /// Checksums cannot know that a value was never the model's.
  @Test func oneWrongBitIsFound() throws {
    let lie = try rewrite(
      shared.path, as: "lie",
      change: { hook, prompt, values in
        guard hook == "blocks.1.attn.hook_q", prompt == 2 else { return }
        values[30] = Float(bitPattern: values[30].bitPattern ^ 1)
      })
    let found = try audit(lie, status: 65)
    #expect(found.failedArrays == 1 && found.unequalArrays == 1)
    #expect(found.firstFailure == .init(hook: "blocks.1.attn.hook_q", prompt: 2))
    let answer = try Program.analyze.run(["audit", "--cache", lie, "--quiet"])
    #expect(answer.status == 65)
    #expect(answer.output.contains("blocks.1.attn.hook_q, prompt 2 [1, 0, 6]: "), "\(answer)")
    #expect(answer.lines.last == "1 of 385 arrays are not what the model computes")
    for words in [
      "\(lie) does not hold what the model computes: 1 array of 385, the first "
        + "blocks.1.attn.hook_q of prompt 2", "as small as those of another version",
    ] {
      #expect(answer.sentence.contains(words), "\(answer)")
    }
    let gross = try rewrite(
      shared.path, as: "gross",
      change: { hook, _, values in
        if hook == "hook_embed" { values[0] = .nan }
      })
    let refused = try Program.analyze.run(["audit", "--cache", gross, "--quiet"])
    #expect(refused.status == 65 && refused.sentence.hasSuffix("; capture again"), "\(refused)")
  }

  @Test(arguments: ["f16", "bf16"])
  func roundedCachesAreHeldToTheirRounding(dtype: String) throws {
    let cache = folder.path("rounded")
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--dtype", dtype,
      "--quiet")
    let found = try audit(cache)
    #expect(found.comparison == "bits" && found.failedArrays == 0 && found.unjudgedArrays == 0)
    // Stored arrays are the rounded ones to the bit, derived ones differ by what was recorded.
    let recorded = try CacheReader(directory: cache).summary().hooks
    for (hook, summary) in zip(found.hooks, recorded) {
      if summary.encodings["derived"] == nil {
        #expect(hook.unequalArrays == 0)
      } else {
        #expect(hook.largest.map(Float.init) == summary.worstError)
      }
    }
  }

  @Test func otherKernelsAreComparedWithinATolerance() throws {
    let nudged = try rewrite(shared.path, as: "nudged", plan: { $0.kernel = "Another" }) {
      hook, prompt, values in
      if hook == "blocks.0.hook_attn_out", prompt == 3 { values[5] += 1e-5 }
    }
    let found = try audit(nudged)
    #expect(found.comparison == "tolerance" && found.tolerance == 1e-3)
    #expect(found.capturedKernel == "Another" && found.failedArrays == 0)
    #expect(found.unequalArrays == 1)
    let text = try Program.analyze.succeed("audit", "--cache", nudged, "--quiet")
    #expect(text.lines[1].contains("kernels here, Another at capture: compared within 0.001"))
    #expect(text.lines.last == "all 385 arrays are what the model computes, 384 to the bit")

    let wrong = try rewrite(shared.path, as: "wrong", plan: { $0.kernel = "Another" }) {
      hook, prompt, values in
      if hook == "blocks.0.hook_attn_out", prompt == 3 { values[5] += 0.05 }
    }
    let refused = try audit(wrong, status: 65)
    #expect(refused.failedArrays == 1 && refused.firstFailure?.hook == "blocks.0.hook_attn_out")
  }

  /// The kernels that OpenBLAS chooses have no part in an activation.
  @Test func theBitsDoNotDependOnOpenBLAS() throws {
    let found = try audit(shared.path, environment: ["OPENBLAS_CORETYPE": "Nehalem"])
    #expect(found.comparison == "bits")
    #expect(found.failedArrays == 0 && found.unequalArrays == 0)
  }

  @Test func segmentsAreChosenByTheSeed() throws {
    let cache = folder.path("segments")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--hooks", "resid_pre,mlp_pre,mlp_post",
      "--quiet")
    let one = try audit(cache, "--sample", "2", "--seed", "7", "--threads", "1")
    let again = try audit(cache, "--sample", "2", "--seed", "7", "--threads", "3")
    #expect(one.seed == 7 && one.segments == 2 && one.allSegments > 3)
    #expect(one.prompts == again.prompts && one.arrays == again.arrays)
    #expect(one.arrays == one.prompts * 12 && one.unequalArrays == 0)
    #expect(try audit(cache, "--sample", "1000").segments == one.allSegments)
  }

  @Test func whatDoesNotFitTheModelIsRefused() throws {
    try Program.analyze.refuse(
      "audit", "--cache", shared.path, "--model", shared.otherModel, status: 78,
      saying: [shared.path, "sha256"])
    let model = folder.path("model")
    try FileManager.default.copyItem(atPath: shared.model, toPath: model)
    try folder.write("model/added_tokens.json", #"{"<new>": 257}"#)
    try Program.analyze.refuse(
      "audit", "--cache", shared.path, "--model", model, status: 78, saying: ["tokenizer", model])
    let strange = try rewrite(
      shared.path, as: "strange",
      plan: { plan in
        plan.hooks = plan.hooks.map { HookSpec(name: $0.name, shape: $0.shape) }
        plan.hooks[0].name = "hook_other"
      })
    try Program.analyze.refuse(
      "audit", "--cache", strange, status: 78, saying: ["hook_other", "does not have"])
    let plan = try CacheReader(directory: shared.path)
    _ = try CacheWriter(
      directory: folder.path("empty"), plan: plan.plan, prompts: try plan.prompts(),
      pairs: try plan.pairs())
    try Program.analyze.refuse(
      "audit", "--cache", folder.path("empty"), status: 66, saying: ["none of 7 are there"])
  }
}
