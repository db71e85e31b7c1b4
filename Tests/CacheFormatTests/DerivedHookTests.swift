import CacheFormat
import FileIO
import TestSupport
import Testing

/// Arrays that a cache does not hold but gives all the same.
@Suite struct DerivedHookTests {
  private func cache(_ capture: Capture, in directory: TemporaryDirectory) throws -> CacheReader {
    let path = directory.path("cache")
    try capture.write(to: path)
    return try CacheReader(directory: path)
  }

  private func encodings(_ reader: CacheReader, _ hook: String) -> [String: Int] {
    reader.summary().hooks.first { $0.name == hook }?.encodings ?? [:]
  }

  @Test(arguments: [FileAccess.mapped, .pread])
  func everyRecipeGivesTheBitsThatNaiveCodeGives(access: FileAccess) throws {
    let directory = try TemporaryDirectory()
    for seed in UInt64(1)...4 {
      let path = directory.path("cache-\(seed)")
      let capture = Capture.derived(seed: seed)
      try capture.write(to: path)
      let reader = try CacheReader(directory: path, access: access)
      #expect(try capture.agrees(with: reader, prompts: 4), "seed \(seed)")
      #expect(try reader.verify().isHealthy)
      for hook in Capture.derivedHooks where hook.recipe != nil {
        #expect(encodings(reader, hook.name) == ["derived": 4], "\(hook.name), seed \(seed)")
      }
    }
  }

  @Test func theOrderOfReadingDoesNotMatter() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture.derived()
    let reader = try cache(capture, in: directory)
    var generator = SeededGenerator(seed: 7)
    for _ in 0..<400 {
      let hook = Int.random(in: capture.plan.hooks.indices, using: &generator)
      let prompt = Int.random(in: capture.prompts.indices, using: &generator)
      let expected = bits(capture.arrays[hook][prompt])
      #expect(bits(try reader.read(hook: hook, prompt: prompt)) == expected)
      #expect(try reader.withValues(hook: hook, prompt: prompt) { bits(Array($0)) } == expected)
    }
  }

  /// One wrong bit in an array that is to be derived: it is stored, and given back as it was.
  @Test func anArrayWhoseRecipeFailsIsStored() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture.derived(lengths: [3, 2, 4, 3, 3], segmentBytes: 30_000)
    let hook = try #require(capture.plan.hooks.firstIndex { $0.name == "pattern" })
    capture.arrays[hook][1][0].negate()
    let reader = try cache(capture, in: directory)
    #expect(try capture.agrees(with: reader, prompts: 5))
    #expect(try reader.verify().isHealthy)
    let stored = encodings(reader, "pattern")
    #expect(stored["derived"] == 1, "the prompts of the segment after it are stored too: \(stored)")
    // z is derived from the pattern; that of the wrong one is not what its recipe gives.
    #expect(encodings(reader, "z")["derived"] == 1)
    #expect(encodings(reader, "q_input") == ["derived": 5])
  }

  /// A recipe that fails where nothing was proved must be found when the array is read.
  @Test func aWrongArrayWithoutProofIsAnError() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture.derived(lengths: [3, 3, 3, 3], segmentBytes: 1)
    let hook = try #require(capture.plan.hooks.firstIndex { $0.name == "mlp.post" })
    capture.arrays[hook][2][5] += 1
    let reader = try cache(capture, in: directory)
    #expect(encodings(reader, "mlp.post") == ["derived": 4])
    let error = #expect(throws: CacheError.self) { try reader.read(hook: hook, prompt: 2) }
    guard case .badBlock(_, 2, "mlp.post", .derivedChecksum) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(try reader.read(hook: hook, prompt: 1) == capture.arrays[hook][1])
    #expect(try reader.verify().damaged == 1)

    // Proving everything finds it in time.
    capture.plan.proofs = .all
    try capture.write(to: directory.path("proved"))
    let proved = try CacheReader(directory: directory.path("proved"))
    #expect(try capture.agrees(with: proved, prompts: 4) && proved.verify().isHealthy)
  }

  /// Of a large first segment, the first 32 prompts are proved.
  @Test func theFirstPromptsAreProved() throws {
    for (wrong, isProved) in [(31, true), (32, false)] {
      let directory = try TemporaryDirectory()
      var capture = Capture.derived(
        lengths: Array(repeating: 2, count: 34), segmentBytes: 1 << 30)
      let hook = try #require(capture.plan.hooks.firstIndex { $0.name == "mlp.post" })
      capture.arrays[hook][wrong][1] += 1
      let reader = try cache(capture, in: directory)
      #expect(encodings(reader, "mlp.post")["derived"] == (isProved ? wrong : 34))
      if isProved {
        #expect(try reader.read(hook: hook, prompt: wrong) == capture.arrays[hook][wrong])
      } else {
        #expect(throws: CacheError.self) { try reader.read(hook: hook, prompt: wrong) }
      }
    }
  }

  /// What cannot be a number comes back with its very bits, derived or stored.
  @Test func infinitiesAndNaNsComeBack() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture.derived(lengths: [3, 2, 4])
    for (hook, spec) in capture.plan.hooks.enumerated() where spec.recipe == nil {
      for prompt in capture.prompts.indices {
        capture.arrays[hook][prompt][prompt] = [.infinity, .nan, -.infinity][prompt]
      }
    }
    capture.deriveArrays()
    let reader = try cache(capture, in: directory)
    #expect(try capture.agrees(with: reader, prompts: 3))
    #expect(try reader.verify().isHealthy)
  }

  @Test(arguments: [ElementType.f16, .bf16])
  func roundedCachesDeriveFromRoundedArrays(elementType: ElementType) throws {
    let directory = try TemporaryDirectory()
    let exact = Capture.derived(elementType: elementType)
    let reader = try cache(exact, in: directory)
    #expect(try reader.verify().isHealthy)

    var rounded = exact
    for (hook, spec) in exact.plan.hooks.enumerated() where spec.recipe == nil {
      for prompt in exact.prompts.indices {
        rounded.arrays[hook][prompt] = exact.arrays[hook][prompt].map {
          elementType == .f16
            ? Float(Float16($0))
            : Float(
              bitPattern: ($0.bitPattern &+ 0x7FFF &+ ($0.bitPattern >> 16 & 1)) & 0xFFFF_0000)
        }
      }
    }
    rounded.deriveArrays()
    #expect(try rounded.agrees(with: reader, prompts: 4))

    for (hook, summary) in reader.summary().hooks.enumerated() {
      var worst: Float = 0
      var squares = 0.0
      for prompt in exact.prompts.indices {
        for (a, b) in zip(rounded.arrays[hook][prompt], exact.arrays[hook][prompt])
        where (a - b).isFinite {
          worst = max(worst, abs(a - b))
          squares += Double(a - b) * Double(a - b)
        }
      }
      #expect(summary.worstError == worst, "\(summary.name)")
      let count = Double(summary.rawBytes / elementType.size)
      let rms = try #require(summary.rmsError)
      #expect(abs(rms - (squares / count).squareRoot()) <= 1e-12 + 1e-9 * rms, "\(summary.name)")
    }
  }

  @Test func impossibleRecipesAreRefused() throws {
    let directory = try TemporaryDirectory()
    let x: [Dimension] = [.positions, .fixed(4)]
    func refused(_ hooks: [HookSpec]) throws -> String {
      let capture = Capture(lengths: [2], hooks: hooks)
      let error = #expect(throws: CacheError.self) {
        try capture.write(to: directory.path("cache"))
      }
      guard case .unwritablePlan(let what) = error else { return "\(String(describing: error))" }
      return what
    }
    #expect(
      try refused([
        HookSpec(name: "a", shape: x, recipe: .sum(["b"])), HookSpec(name: "b", shape: x),
      ])
        == "a is derived from b, which does not come before it")
    #expect(
      try refused([HookSpec(name: "a", shape: x, recipe: .sum(["a"]))])
        == "a is derived from a, which does not come before it")
    let a = HookSpec(name: "a", shape: x)
    let h = HookSpec(name: "h", shape: [.positions, .fixed(2), .fixed(3)])
    for (hook, sources) in [
      (HookSpec(name: "b", shape: [.positions, .fixed(5)], recipe: .sum(["a"])), [a]),
      (HookSpec(name: "b", shape: x, recipe: .sum([])), [a]),
      (HookSpec(name: "b", shape: x, recipe: .layerNormScale("a", epsilon: 1)), [a]),
      (HookSpec(name: "b", shape: h.shape, recipe: .layerNorm("h", epsilon: 1)), [h]),
      (
        HookSpec(name: "b", shape: h.shape, recipe: .attentionScores(q: "h", k: "h", divisor: 1)),
        [h]
      ),
      (HookSpec(name: "b", shape: x, recipe: .causalSoftmax("a")), [a]),
      (HookSpec(name: "b", shape: h.shape, recipe: .attentionMix(pattern: "h", values: "h")), [h]),
      (HookSpec(name: "b", shape: x, recipe: .repeatHeads("a", heads: 2)), [a]),
    ] {
      #expect(try refused(sources + [hook]) == "the recipe of b does not fit the shapes", "\(hook)")
    }
    // Each doubles the work of the one before.
    var bomb = [a]
    for number in 0..<40 {
      bomb.append(
        HookSpec(
          name: "b\(number)", shape: x, recipe: .sum([bomb[number].name, bomb[number].name])))
    }
    #expect(try refused(bomb).hasSuffix("takes too many steps"))
  }
}
