import TestSupport
import Testing

@testable import Model

@Suite struct ForwardPassTests {
  /// The hooks that a reference file holds for a prompt, such as `p1`.
  func hookPoints(of prompt: String, in reference: ReferenceArrays) -> [HookPoint] {
    reference.names.filter { $0.hasPrefix(prompt + "/") }
      .compactMap { HookPoint(name: String($0.dropFirst(prompt.count + 1))) }
  }

  /// The values of some hooks for each sequence of a batch.
  func activations(
    _ pass: ForwardPass, _ tokens: [[Int32]], _ hooks: Set<HookPoint>
  ) throws -> [[HookPoint: [Float]]] {
    var found = tokens.map { _ in [HookPoint: [Float]]() }
    try pass.run(
      tokens: tokens,
      hooks: PassHooks(reading: hooks) { activation in
        for index in tokens.indices {
          found[index][activation.hook] = Array(activation.sequence(index))
        }
      })
    return found
  }

  @Test(
    arguments: ["tiny", "odd"], [WeightProcessing.transformerlens, WeightProcessing.raw])
  func everyHookEqualsTransformerLens(folder: String, processing: WeightProcessing) throws {
    let reference = try ReferenceArrays("\(folder)/reference-\(processing.rawValue).safetensors")
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    let names = ["p0", "p1", "p2"]
    let tokens = try names.map { try reference.tokens("\($0)/tokens") }
    let hooks = Set(names.flatMap { hookPoints(of: $0, in: reference) })
    #expect(hooks.isSuperset(of: model.config.hookPoints.filter(\.kind.isDefault)))
    #expect(hooks.contains(HookPoint(.result, layer: 1)))
    #expect(hooks.contains(HookPoint(.qInput, layer: 1)))

    let pass = ForwardPass(model)
    let ours = try activations(pass, tokens, hooks)
    for (index, name) in names.enumerated() {
      for hook in hookPoints(of: name, in: reference) {
        let expected = try reference.floats("\(name)/\(hook.name)")
        let found = try #require(ours[index][hook])
        let scale = rootMeanSquare(expected)
        #expect(
          largestDifference(found, expected) <= 2e-5 * scale, "\(name) \(hook.name)")
      }
      let logits = pass.allLogits(sequence: index)
      let expected = logSoftmax(
        try reference.floats("\(name)/logits"), vocabulary: model.config.vocabulary)
      for (a, b) in zip(logSoftmax(logits, vocabulary: model.config.vocabulary), expected) {
        #expect(abs(a - b) < 2e-5)
      }
    }
  }

  @Test(
    arguments: [
      "tiny", "odd", "unscaled", "inverse-layer", "half", "bfloat", "sharded", "noprefix",
    ], WeightProcessing.allCases)
  func logitsEqualHuggingFace(folder: String, processing: WeightProcessing) throws {
    let reference = try ReferenceArrays("\(folder)/huggingface.safetensors")
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    let pass = ForwardPass(model)
    try pass.run(tokens: [try reference.tokens("tokens")])
    let ours = logSoftmax(pass.allLogits(sequence: 0), vocabulary: model.config.vocabulary)
    let expected = try reference.floats("log_softmax")
    #expect(ours.count == expected.count)
    for (a, b) in zip(ours, expected) { #expect(abs(a - Double(b)) < 1e-4) }
  }

  /// Centred unembedding and refactored heads: logits themselves, not only their log-softmax.
  @Test func refactoredLogitsEqualTransformerLens() throws {
    let reference = try ReferenceArrays("odd/refactored.safetensors")
    let model = try GPT2(directory: ReferenceArrays.path("odd"), processing: .refactored)
    let pass = ForwardPass(model)
    try pass.run(tokens: [try reference.tokens("tokens")])
    let expected = try reference.floats("logits")
    #expect(largestDifference(Array(pass.allLogits(sequence: 0)), expected) < 1e-4)
  }

  @Test func aBatchEqualsItsSequencesAlone() throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let tokens: [[Int32]] = [[5], [7, 1, 30, 99, 2, 2, 8], Array(0..<37), [112, 0, 3]]
    let hooks = Set(model.config.hookPoints)
    let together = try activations(ForwardPass(model), tokens, hooks)
    for (index, sequence) in tokens.enumerated() {
      let alone = try activations(ForwardPass(model), [sequence], hooks)[0]
      for hook in hooks {
        let expected = try #require(alone[hook])
        let found = try #require(together[index][hook])
        #expect(
          found.count == model.config.valueCount(of: hook.kind, positions: sequence.count))
        #expect(largestDifference(found, expected) <= 1e-5 * rootMeanSquare(expected), "\(hook)")
      }
    }
  }

  @Test func readingOptionalHooksChangesNoBit() throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let tokens: [[Int32]] = [[9, 8, 7, 6, 5, 4], [1, 2, 3]]
    let usual = Set(model.config.hookPoints.filter(\.kind.isDefault))
    let plain = try activations(ForwardPass(model), tokens, usual)
    let all = try activations(ForwardPass(model), tokens, Set(model.config.hookPoints))
    for index in tokens.indices {
      for hook in usual { #expect(plain[index][hook] == all[index][hook], "\(hook)") }
    }
  }

  @Test(arguments: WeightProcessing.allCases)
  func headsAndBiasSumToAttentionOut(processing: WeightProcessing) throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"), processing: processing)
    let (heads, width) = (model.config.heads, model.config.width)
    let layers = 0..<model.config.layers
    let hooks = Set(layers.map { HookPoint(.result, layer: $0) })
      .union(layers.map { HookPoint(.attnOut, layer: $0) })
    let found = try activations(ForwardPass(model), [[4, 8, 15, 16, 23, 42]], hooks)[0]
    for layer in layers {
      let result = try #require(found[HookPoint(.result, layer: layer)])
      let output = try #require(found[HookPoint(.attnOut, layer: layer)])
      var sums = [Float](repeating: 0, count: output.count)
      for index in sums.indices {
        let (row, d) = (index / width, index % width)
        sums[index] = model.blocks[layer].output.bias?.pointer[d] ?? 0
        for head in 0..<heads { sums[index] += result[(row * heads + head) * width + d] }
      }
      #expect(largestDifference(sums, output) <= 1e-5 * rootMeanSquare(output))
    }
  }

  /// Each of these sites, given back what it held, must leave the logits as they were: the edit path
  /// of the pass is then the same function as the plain one.
  @Test(arguments: HookKind.allCases.filter { $0 != .unembed })
  func puttingAHooksOwnValuesBackChangesNothing(kind: HookKind) throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"), processing: .raw)
    let tokens: [[Int32]] = [[3, 1, 4, 1, 5, 9, 2], [6, 5]]
    let hook = HookPoint(kind, layer: kind.isInBlock ? 1 : nil)
    let pass = ForwardPass(model)
    try pass.run(tokens: tokens)
    let expected = tokens.indices.map { Array(pass.allLogits(sequence: $0)) }
    var visits = 0
    try pass.run(tokens: tokens, hooks: PassHooks(editing: [hook]) { _ in visits += 1 })
    #expect(visits == 1)
    for index in tokens.indices {
      let found = Array(pass.allLogits(sequence: index))
      #expect(largestDifference(found, expected[index]) <= 1e-5 * rootMeanSquare(expected[index]))
    }
  }

  @Test(arguments: HookKind.allCases.filter { $0 != .unembed })
  func changingAHookChangesTheLogits(kind: HookKind) throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let hook = HookPoint(kind, layer: kind.isInBlock ? 1 : nil)
    let pass = ForwardPass(model)
    try pass.run(tokens: [[3, 1, 4, 1, 5, 9, 2]])
    let before = Array(pass.allLogits(sequence: 0))
    try pass.run(
      tokens: [[3, 1, 4, 1, 5, 9, 2]],
      hooks: PassHooks(editing: [hook]) { activation in
        let values = activation.sequence(0)
        for index in values.indices where values[index].isFinite {
          values[index] = values[index] * (1.5 + Float(index % 3))
        }
      })
    #expect(largestDifference(Array(pass.allLogits(sequence: 0)), before) > 1e-3)
  }

  /// To the last bit.
  @Test func whatRunsBesideASequenceChangesNothing() throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    var generator = SeededGenerator(seed: 3)
    let tokens: [[Int32]] = (1...30).map { length in
      (0..<length).map { _ in
        Int32.random(in: 0..<Int32(model.config.vocabulary), using: &generator)
      }
    }
    let hooks = Set(model.config.hookPoints)
    let together = try activations(ForwardPass(model), tokens, hooks)
    for (index, sequence) in tokens.enumerated() {
      let alone = try activations(ForwardPass(model), [sequence], hooks)[0]
      for hook in hooks { #expect(alone[hook] == together[index][hook], "\(hook)") }
    }
  }

  /// To the last bit: sequences that begin alike share rows, whether or not their scores are shown.
  @Test(arguments: [true, false])
  func sequencesThatBeginAlikeAreAsAlone(scoresToo: Bool) throws {
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let clean: [Int32] = [112, 5, 17, 30, 2, 9, 44, 7]
    var corrupted = clean
    corrupted[5] = 10
    // Behind a common part of their own; a beginning of another, the same again, and nothing alike.
    let tokens: [[Int32]] = [
      clean, corrupted, [112, 5, 17, 31, 2, 9], [112, 5, 17, 31, 2, 8, 1], Array(clean[..<4]),
      clean,
      [3, 5, 17], [112],
    ]
    let hooks = Set(
      model.config.hookPoints.filter {
        scoresToo || ($0.kind != .attnScores && $0.kind != .pattern)
      })
    let pass = ForwardPass(model)
    let together = try activations(pass, tokens, hooks)
    let logits = tokens.indices.map { Array(pass.allLogits(sequence: $0)) }
    let width = model.config.width
    let last = tokens.indices.map {
      Array(UnsafeBufferPointer(start: pass.lastRow(sequence: $0), count: width))
    }
    for (index, sequence) in tokens.enumerated() {
      let single = ForwardPass(model)
      let alone = try activations(single, [sequence], hooks)[0]
      for hook in hooks { #expect(alone[hook] == together[index][hook], "\(index) \(hook)") }
      #expect(logits[index] == Array(single.allLogits(sequence: 0)))
      let row = UnsafeBufferPointer(start: single.lastRow(sequence: 0), count: width)
      #expect(last[index] == Array(row))
    }
  }

  @Test func badTokensAreRefused() throws {
    let pass = ForwardPass(try GPT2(directory: ReferenceArrays.path("odd")))
    #expect(throws: PassError.empty) { try pass.run(tokens: [[1], []]) }
    #expect(throws: PassError.tooLong(positions: 38, contextLength: 37)) {
      try pass.run(tokens: [[Int32](repeating: 1, count: 38)])
    }
    #expect(throws: PassError.unknownToken(113, vocabulary: 113)) {
      try pass.run(tokens: [[112, 113]])
    }
    #expect(throws: PassError.unknownToken(-1, vocabulary: 113)) { try pass.run(tokens: [[-1]]) }
  }
}

@Suite struct HookPointTests {
  @Test func namesGoBothWays() throws {
    let config = try ModelConfig(directory: ReferenceArrays.path("odd"))
    for point in config.hookPoints { #expect(HookPoint(name: point.name) == point) }
    for name in [
      "", "blocks.0", "blocks.x.hook_z", "blocks.0.hook_z", "blocks.-1.attn.hook_z",
      "blocks.01.attn.hook_z", "hook_resid_pre", "blocks.0.hook_embed", "blocks..attn.hook_z",
    ] {
      #expect(HookPoint(name: name) == nil, "\(name)")
    }
  }

  @Test func gpt2SmallHasTransformerLenssNumberOfHooks() {
    let config = ModelConfig.gpt2Small
    let defaults = config.hookPoints.filter(\.kind.isDefault)
    #expect(defaults.count == 208)
    // 177,433 values a token, and 288 more for each position of the prompt.
    let positions = 15
    let values = defaults.reduce(0) { $0 + config.valueCount(of: $1.kind, positions: positions) }
    #expect(values == positions * (177_433 + 288 * positions))
  }
}
