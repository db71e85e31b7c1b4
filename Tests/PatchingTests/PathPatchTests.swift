import CacheFormat
import Foundation
import Model
import TestSupport
import Testing

@testable import Patching

/// The arrays of tools/make_circuit_reference.py.
func circuitReference(_ folder: String) throws -> ReferenceArrays {
  let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  return try ReferenceArrays(
    path: fixtures.appendingPathComponent("Fixtures/circuits-\(folder).safetensors").path)
}

/// Rows of two numbers as heads.
func heads(_ numbers: [Int32]) -> [AttentionHead] {
  stride(from: 0, to: numbers.count, by: 2).map {
    AttentionHead(layer: Int(numbers[$0]), head: Int(numbers[$0 + 1]))
  }
}

@Suite struct PathPatchTests {
  @Test func longNamesStayDifferentAndShort() throws {
    let senders = (0..<3).flatMap { layer in
      (0..<12).map { AttentionHead(layer: layer, head: $0) }
    }
    let names = try [9, 6].map { head in
      try PathPatch(
        .direct, from: senders, to: [AttentionHead(layer: 9, head: head)], inputs: [.q]
      ).name
    }
    #expect(names[0] != names[1] && names.allSatisfy { $0.utf8.count <= 120 }, "\(names)")
  }

  @Test(
    arguments: ["tiny", "odd"], [WeightProcessing.transformerlens, .raw])
  func pathsEqualTransformerLens(folder: String, processing: WeightProcessing) throws {
    let pairs = try ReferencePairs(folder)
    let reference = try circuitReference(folder)
    let receivers = heads(try reference.tokens("receivers"))
    let senders = heads(try reference.tokens("sender"))
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    let runs = try CachedRuns(model, pairs.tokens)
    for definition in PathPatch.Definition.allCases {
      let paths = [
        "logits": try PathPatch(definition, toLogitsFrom: nil),
        "q": try PathPatch(definition, from: nil, to: receivers, inputs: [.q]),
        "k": try PathPatch(definition, from: nil, to: receivers, inputs: [.k]),
        "v": try PathPatch(definition, from: nil, to: receivers, inputs: [.v]),
        "qv": try PathPatch(definition, from: nil, to: receivers, inputs: [.q, .v]),
        "from": try PathPatch(definition, from: senders, to: nil, inputs: [.q]),
      ]
      for (name, path) in paths {
        let sweep = try Sweep(path, config: model.config)
        for direction in PatchEngineTests.directions {
          let result = try runs.run(sweep, pairs.task, direction)
          for pair in 0..<3 {
            let key = "pair\(pair)/\(direction.rawValue)/\(definition.rawValue)/\(name)"
            let expected = try reference.floats(key)
            let found = result.cells.indices.compactMap { result.patched[$0][pair] }
            #expect(largestDifference(found, expected) < 1e-4, "\(key)")
          }
        }
      }
    }
  }

  /// Random paths of the odd model against whole forward passes, to the last bit.
  @Test(arguments: PathPatch.Definition.allCases, PatchEngineTests.directions)
  func pathsEqualBruteForce(definition: PathPatch.Definition, direction: Direction) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    var pairs = reference.task.pairs
    for number in pairs.indices { pairs[number].template = "odd" }
    let task = AnswerTask(pairs: pairs)
    func some(_ layers: Range<Int>) -> [AttentionHead] {
      layers.flatMap { layer in (0..<5).map { AttentionHead(layer: layer, head: $0) } }
        .shuffled(using: &generator).prefix(3).map { $0 }
    }
    let inputs = [HookKind.q, .k, .v].shuffled(using: &generator).prefix(2)
    let all = Array(inputs)
    let paths = [
      try PathPatch(definition, toLogitsFrom: nil),
      try PathPatch(definition, toLogitsFrom: some(0..<3)),
      try PathPatch(definition, from: nil, to: some(1..<3), inputs: all),
      try PathPatch(definition, from: some(0..<2), to: nil, inputs: all),
      try PathPatch(definition, from: some(0..<1), to: some(1..<3), inputs: all),
    ]
    let sources: [PatchSource] = [
      .otherRun, .zero, .mean(.byTemplate, over: .clean), .noise(scale: 1, seed: seed),
    ]
    for path in paths {
      for source in sources {
        let sweep = try Sweep(path, config: runs.model.config)
        let engine = runs.engine(rowsPerPass: Int.random(in: 1...60, using: &generator))
        try engine.require([sweep])
        let results = try engine.run(
          sweep, task, direction: direction, source: source, prompts: runs.prompts,
          baselines: try engine.baselines(task, prompts: runs.prompts))
        let check = try engine.check(
          results, task, prompts: runs.prompts, count: 12, seed: seed)
        #expect(
          check.largestDifference == [0], "\(path.description), \(source), seed \(seed)")
        #expect(results[0].cells.count == results[0].shape.reduce(1, *))
      }
    }
  }

  @Test func onlyReceiversBehindASenderHearIt() throws {
    let (reference, runs) = try PatchEngineTests.everyHook.get()
    let receivers = [AttentionHead(layer: 2, head: 1), AttentionHead(layer: 1, head: 0)]
    for definition in PathPatch.Definition.allCases {
      let both = try runs.run(
        try Sweep(
          try PathPatch(definition, from: nil, to: receivers, inputs: [.v]),
          config: runs.model.config), reference.task, .denoise)
      let last = try runs.run(
        try Sweep(
          try PathPatch(definition, from: nil, to: [receivers[0]], inputs: [.v]),
          config: runs.model.config), reference.task, .denoise)
      #expect(both.sweep.layers == [0, 1] && both.shape == [2, 5])
      // Senders of layer 1 are not heard by 1.0.
      #expect(Array(both.patched[5...]) == Array(last.patched[5...]))
      #expect(Array(both.patched[..<5]) != Array(last.patched[..<5]))
    }
    let late = try PathPatch(
      .direct, from: [AttentionHead(layer: 1, head: 3)], to: nil, inputs: [.k])
    #expect(try Sweep(late, config: runs.model.config).layers == [2])
  }

  @Test func aRunPatchedWithItselfStays() throws {
    let (_, runs) = try PatchEngineTests.everyHook.get()
    let task = AnswerTask(
      pairs: [PatchingPair(clean: 0, corrupted: 0, answer: 3, wrongAnswer: 4)])
    for definition in PathPatch.Definition.allCases {
      let result = try runs.run(
        try Sweep(try PathPatch(definition, toLogitsFrom: nil), config: runs.model.config), task,
        .denoise)
      #expect(result.unchanged == result.cells.count)
    }
  }

  @Test func impossiblePathsAreRefused() throws {
    let config = try ModelConfig(directory: ReferenceArrays.path("odd"))
    func head(_ layer: Int, _ head: Int) -> AttentionHead {
      AttentionHead(layer: layer, head: head)
    }
    #expect(throws: PatchingError.self) {
      try PathPatch(.direct, from: nil, to: nil, inputs: [.q])
    }
    #expect(throws: PatchingError.self) {
      try PathPatch(.direct, from: nil, to: [head(1, 0)], inputs: [.z])
    }
    #expect(throws: PatchingError.self) { try PathPatch(.direct, from: [], to: nil, inputs: [.q]) }
    #expect(throws: PatchingError.self) { try PathPatch(.direct, toLogitsFrom: []) }
    #expect(throws: PatchingError.noSuchHead(head(1, 5), layers: 3, heads: 5)) {
      try Sweep(try PathPatch(.direct, from: nil, to: [head(1, 5)], inputs: [.q]), config: config)
    }
    for path in [
      try PathPatch(.direct, from: nil, to: [head(0, 0)], inputs: [.q]),
      try PathPatch(.direct, from: [head(2, 0)], to: nil, inputs: [.q]),
      try PathPatch(.direct, from: [head(1, 0)], to: [head(1, 1)], inputs: [.q]),
    ] {
      #expect(throws: PatchingError.noPath("no receiver is in a layer behind a sender's")) {
        try Sweep(path, config: config)
      }
    }
  }

  @Test func arraysThatTheCacheLacksAreNamed() throws {
    let pairs = try ReferencePairs("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let sparse = try CachedRuns(
      model, pairs.tokens,
      hooks: { [.residPre, .residPost, .z, .finalNormalized].contains($0.kind) })
    let paths = [
      try PathPatch(.throughMLPs, toLogitsFrom: nil), try PathPatch(.direct, toLogitsFrom: nil),
    ]
    let sweeps = try paths.map { try Sweep($0, config: model.config) }
    #expect(throws: PatchingError.self) { try sparse.engine().require([sweeps[0]]) }
    // Direct edges to the logits need no more than these.
    try sparse.engine().require([sweeps[1]])
    _ = try sparse.run(sweeps[1], pairs.task, .noise)
  }

  @Test(arguments: ["", "1", "1.", ".1", "1.2.3", "+1.2", "1.-2", " 1.2", "a.b", "1.2 "])
  func whatIsNoHeadIsNotRead(text: String) {
    #expect(AttentionHead(text) == nil)
    #expect(AttentionHead("11.10") == AttentionHead(layer: 11, head: 10))
  }
}
