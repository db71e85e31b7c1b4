import CacheFormat
import Foundation
import Model
import TestSupport
import Testing

@testable import Patching

/// Caches of patched runs, held against whole forward passes with the same values put in.
@Suite struct PatchedCaptureTests {
  private let folder: TemporaryDirectory
  private let pairs: ReferencePairs
  private let runs: CachedRuns

  init() throws {
    folder = try TemporaryDirectory()
    pairs = try ReferencePairs("odd")
    runs = try CachedRuns(
      try GPT2(directory: ReferenceArrays.path("odd"), processing: .transformerlens), pairs.tokens)
  }

  private var entries: [PatchedCapture.Entry] {
    pairs.task.pairs.map { pair in
      (
        pair,
        PromptPair(
          id: "x", clean: pair.clean, corrupted: pair.corrupted, answer: pair.answer,
          wrongAnswer: pair.wrongAnswer)
      )
    }
  }

  private func capture(
    _ cells: [Patch], _ direction: Direction, _ source: PatchSource, engine: PatchEngine? = nil
  ) throws -> CacheReader {
    let engine = engine ?? runs.engine()
    let sweep = try Sweep(name: "cells", list: [ListedCell(name: "cell", patches: cells)])
    try engine.require([sweep])
    let capture = try PatchedCapture(
      [sweep], engine: engine, direction: direction, source: source, prompts: runs.prompts)
    let path = folder.path + "/patched"
    let said = PatchedRuns(what: "test", plan: engine.cache.planDigest, command: ["test"])
    var done: [Int] = []
    let count = try capture.write(entries, to: path, patched: said, tool: "test") {
      done.append($0)
    }
    #expect(count == 3 && done.last == 3)
    let reader = try CacheReader(directory: path)
    #expect(reader.isComplete && reader.plan.patched == said)
    return reader
  }

  /// Everything that a hooked pass shows, by prompt.
  private func hookedRun(
    _ prompt: Int, _ edit: @escaping (Activation) -> Void
  ) throws -> [HookPoint: [Float]] {
    var arrays: [HookPoint: [Float]] = [:]
    let points = Set(runs.model.config.hookPoints.filter(\.kind.isDefault))
    try ForwardPass(runs.model).run(
      tokens: [runs.prompts[prompt].tokens],
      hooks: PassHooks(editing: points) { activation in
        edit(activation)
        arrays[activation.hook] = Array(activation.sequence(0))
      })
    return arrays
  }

  private func expectEqual(
    _ reader: CacheReader, _ prompt: Int, _ expected: [HookPoint: [Float]]
  ) throws {
    for (point, values) in expected {
      let hook = try #require(reader.hookIndex(point.name))
      let found = try reader.read(hook: hook, prompt: prompt)
      #expect(found.map(\.bitPattern) == values.map(\.bitPattern), "\(point.name)")
    }
  }

  /// Two heads' outputs and a row of the stream replaced by zero: every hook, to the last bit.
  @Test func zerosAreSeenByEveryHook() throws {
    let reader = try capture(
      [
        Patch(HookPoint(.z, layer: 0), head: 2, place: .index(-1)),
        Patch(HookPoint(.residMid, layer: 1), place: .index(1)),
      ], .ablate, .zero)
    let config = runs.model.config
    for (number, pair) in pairs.task.pairs.enumerated() {
      let length = runs.prompts[pair.clean].tokens.count
      let expected = try hookedRun(pair.clean) { activation in
        let values = activation.sequence(0)
        if activation.hook == HookPoint(.z, layer: 0) {
          let first = ((length - 1) * config.heads + 2) * config.headWidth
          for i in first..<first + config.headWidth { values[i] = 0 }
        }
        if activation.hook == HookPoint(.residMid, layer: 1) {
          for i in config.width..<2 * config.width { values[i] = 0 }
        }
      }
      try expectEqual(reader, number, expected)
      #expect(try reader.prompt(number) == runs.prompts[pair.clean])
    }
    let rows = try reader.pairs()
    #expect(rows.map(\.clean) == [0, 1, 2] && rows.allSatisfy { $0.corrupted == nil })
    #expect(rows.map(\.answer) == pairs.task.pairs.map(\.answer))
  }

  /// A clean pattern and clean values in the corrupted run, whatever the number of threads.
  @Test func theOtherRunIsPutIn() throws {
    let patches = [
      Patch(HookPoint(.pattern, layer: 1), head: 0),
      Patch(HookPoint(.v, layer: 0), head: 1, place: .index(2)),
    ]
    let reader = try capture(
      patches, .denoise, .otherRun, engine: runs.engine(threads: 3))
    let config = runs.model.config
    for (number, pair) in pairs.task.pairs.enumerated() {
      let clean = try hookedRun(pair.clean) { _ in }
      let square = runs.prompts[pair.clean].tokens.count * runs.prompts[pair.clean].tokens.count
      let expected = try hookedRun(pair.corrupted) { activation in
        let values = activation.sequence(0)
        guard let source = clean[activation.hook] else { return }
        if activation.hook == HookPoint(.pattern, layer: 1) {
          for i in 0..<square { values[i] = source[i] }
        }
        if activation.hook == HookPoint(.v, layer: 0) {
          let first = (2 * config.heads + 1) * config.headWidth
          for i in first..<first + config.headWidth { values[i] = source[i] }
        }
      }
      try expectEqual(reader, number, expected)
    }
  }

  /// The engine's patched metric is that of the captured run.
  @Test func theCapturedRunHasTheMetricOfTheSweep() throws {
    let patches = [Patch(HookPoint(.mlpOut, layer: 0), place: .index(-1))]
    let source = PatchSource.mean(.everywhere, over: .clean)
    let reader = try capture(patches, .ablate, source)
    let engine = runs.engine()
    let sweep = try Sweep(name: "cells", list: [ListedCell(name: "cell", patches: patches)])
    let result = try engine.run(
      sweep, pairs.task, direction: .ablate, source: source, prompts: runs.prompts,
      baselines: try engine.baselines(pairs.task, prompts: runs.prompts))[0]
    let after = PatchEngine(cache: reader, model: runs.model, threads: 1)
    let task = AnswerTask(
      pairs: try reader.pairs().map {
        PatchingPair(
          clean: $0.clean, corrupted: $0.clean, answer: $0.answer, wrongAnswer: $0.wrongAnswer)
      })
    let captured = try after.baselines(task, prompts: try reader.prompts())[0].map(\.clean)
    for (pair, value) in captured.enumerated() {
      #expect(abs((result.patched[0][pair] ?? .nan) - value) < 1e-5)
    }
    // But sweeps do not start from it.
    #expect(throws: PatchingError.runsArePatched("test", directory: reader.directory)) {
      try after.require([sweep])
    }
  }

  /// Recipes that do not hold of patched arrays: in a compact cache they are stored, and in one of
  /// half floats all of them.
  @Test(arguments: [ElementType.f32, .f16])
  func recipesThatFailAreNotUsed(type: ElementType) throws {
    let compact = try compactCache(type)
    let engine = PatchEngine(cache: compact, model: runs.model, threads: 2)
    let z = HookPoint(.z, layer: 0)
    let reader = try capture([Patch(z, head: 0)], .ablate, .zero, engine: engine)
    let hook = try #require(reader.hookIndex(z.name))
    let config = runs.model.config
    for number in 0..<3 {
      let values = try reader.read(hook: hook, prompt: number)
      for (index, value) in values.enumerated() {
        #expect((index / config.headWidth % config.heads == 0) == (value == 0))
      }
    }
    #expect(reader.plan.hooks.contains { $0.recipe != nil } == (type == .f32))
    #expect(try reader.verify().damaged == 0)
  }

  /// The runs with z derived from pattern and values.
  private func compactCache(_ type: ElementType) throws -> CacheReader {
    var plan = runs.cache.plan
    plan.elementType = type
    plan.store = "compact"
    for layer in 0..<runs.model.config.layers {
      let place = try #require(runs.cache.hookIndex(HookPoint(.z, layer: layer).name))
      plan.hooks[place].recipe = .attentionMix(
        pattern: HookPoint(.pattern, layer: layer).name, values: HookPoint(.v, layer: layer).name)
    }
    let path = folder.path + "/compact"
    let writer = try CacheWriter(
      directory: path, plan: plan, prompts: runs.prompts, pairs: [])
    for (number, range) in writer.segmentRanges.enumerated() {
      let segment = try writer.openSegment(number)
      for hook in plan.hooks.indices {
        for prompt in range {
          let values = try runs.cache.read(hook: hook, prompt: prompt)
          try values.withUnsafeBufferPointer {
            try segment.append(hook: hook, prompt: prompt, values: [$0])
          }
        }
      }
      try writer.commit(try segment.seal())
    }
    try writer.finish()
    return try CacheReader(directory: path)
  }

  @Test func severalCellsAreRefused() throws {
    let engine = runs.engine()
    let byHead = try Sweep(.z, layers: [0])
    for sweeps in [[byHead], [], [byHead, byHead]] {
      #expect(throws: PatchingError.notOneCell) {
        try PatchedCapture(
          sweeps, engine: engine, direction: .noise, source: .zero, prompts: runs.prompts)
      }
    }
  }
}
