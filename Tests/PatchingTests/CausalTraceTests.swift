import CacheFormat
import Foundation
import Model
import TestSupport
import Testing

@testable import Patching

/// Facts of tools/make_trace_reference.py.
private struct TracedFacts {
  static let samples = 4
  static let deviation = 0.7
  /// By the name of their scores in the file.
  static func sweeps(_ config: ModelConfig) throws -> [(name: String, sweep: Sweep)] {
    let layers = Array(0..<config.layers)
    return try [(HookKind.residPost, 1), (.mlpOut, 2), (.attnOut, 2)].map { kind, window in
      (kind.shortName, try Sweep(kind, layers: layers, window: window))
    }
      + [HookKind.mlpOut, .attnOut].map { kind in
        ("severed_\(kind.shortName)", try Sweep(.residPost, layers: layers, severing: [kind]))
      }
  }

  let arrays: ReferenceArrays
  let tokens: [[Int32]]
  let subjects: [Range<Int>]

  init(_ folder: String) throws {
    let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let arrays = try ReferenceArrays(
      path: fixtures.appendingPathComponent("Fixtures/trace-\(folder).safetensors").path)
    self.arrays = arrays
    tokens = try (0..<3).map { try arrays.tokens("f\($0)/tokens") }
    subjects = try (0..<3).map {
      let ends = try arrays.tokens("f\($0)/subject")
      return Int(ends[0])..<Int(ends[1])
    }
  }

  /// A pair a fact and sample.
  func task(width: Int) throws -> AnswerTask {
    let pairs = try subjects.indices.flatMap { fact in
      let noise = NoiseSamples(
        count: TracedFacts.samples, positions: subjects[fact].count, width: width,
        deviation: TracedFacts.deviation, seed: 1)
      let answer = try arrays.tokens("f\(fact)/answer")[0]
      return (0..<TracedFacts.samples).map {
        PatchingPair(
          clean: fact, corrupted: fact, answer: answer, wrongAnswer: nil,
          noise: EmbeddingNoise(at: subjects[fact], sample: $0, of: noise))
      }
    }
    return AnswerTask(pairs: pairs, metrics: [AnswerMetric.probability])
  }
}

@Suite struct CausalTraceTests {
  @Test(arguments: ["tiny", "odd"]) func noiseIsThatOfNumPy(folder: String) throws {
    let facts = try TracedFacts(folder)
    for (number, subject) in facts.subjects.enumerated() {
      let expected = try facts.arrays.doubles("f\(number)/noise")
      let width = expected.count / TracedFacts.samples / subject.count
      let noise = NoiseSamples(
        count: TracedFacts.samples, positions: subject.count, width: width, deviation: 1, seed: 1)
      #expect(noise.values.count == expected.count)
      for (ours, numpy) in zip(noise.values, expected) { #expect(abs(ours - numpy) < 1e-13) }
    }
  }

  /// What noise does to a processed model is the same: all that reads the stream takes its mean away.
  @Test(arguments: ["tiny", "odd"], [WeightProcessing.raw, .transformerlens])
  func scoresEqualWholePassesInPyTorch(folder: String, processing: WeightProcessing) throws {
    let facts = try TracedFacts(folder)
    let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
    let runs = try CachedRuns(model, facts.tokens)
    let task = try facts.task(width: model.config.width)
    let engine = runs.engine()
    let answers = try engine.predictions(of: [0, 1, 2], prompts: runs.prompts)
    #expect(answers == task.pairs.filter { $0.noise?.sample == 0 }.map(\.answer))
    let layers = model.config.layers
    for (name, sweep) in try TracedFacts.sweeps(model.config) {
      let result = try runs.run(sweep, task, .denoise)
      let longest = result.shape[1]
      for fact in 0..<3 {
        let pairs = fact * TracedFacts.samples..<(fact + 1) * TracedFacts.samples
        func mean(_ values: [Float]) -> Float { values.reduce(0, +) / Float(values.count) }
        let high = try facts.arrays.floats("f\(fact)/high")[0]
        let low = try facts.arrays.floats("f\(fact)/low")[0]
        #expect(abs(result.baselines[pairs.lowerBound].clean - high) < 1e-5)
        #expect(abs(mean(pairs.map { result.baselines[$0].corrupted }) - low) < 1e-5)
        let expected = try facts.arrays.floats("f\(fact)/\(name)")
        for position in facts.tokens[fact].indices {
          for layer in 0..<layers {
            let ours = try mean(
              pairs.map { try #require(result.patched[layer * longest + position][$0]) })
            let theirs = expected[position * layers + layer]
            #expect(abs(ours - theirs) < 1e-5, "\(name) fact \(fact) L\(layer) \(position)")
          }
        }
      }
    }
  }

  /// Other hooks and both directions, as whole passes have them, whatever runs side by side.
  @Test(arguments: [Direction.denoise, .noise])
  func everyCellIsReproduced(direction: Direction) throws {
    let facts = try TracedFacts("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, facts.tokens)
    let task = try facts.task(width: model.config.width)
    let layers = Array(0..<model.config.layers)
    let kinds: [HookKind] = [
      .residPre, .residMid, .residPost, .z, .v, .pattern, .mlpPost, .attnOut,
    ]
    var sweeps = try kinds.map { try Sweep($0, layers: layers) }
    for severed in [[HookKind.mlpOut], [.attnOut], [.attnOut, .mlpOut]] {
      sweeps.append(try Sweep(.residPost, layers: layers, severing: severed))
    }
    for sweep in sweeps {
      let result = try runs.run(sweep, task, direction)
      let other = try runs.run(sweep, task, direction, threads: 1, rowsPerPass: 3)
      #expect(result.patched == other.patched)
      let check = try runs.engine().check(
        [result], task, prompts: runs.prompts, count: .max, seed: 0)
      #expect(check.runs == result.cellCount && check.largestDifference == [0], "\(sweep.name)")
    }
  }

  /// Runs with noise are computed once or again and again, as far as they fit.
  @Test(arguments: [0, 100_000, 1 << 30])
  func keptRunsGiveTheSame(byteLimit: Int) throws {
    let facts = try TracedFacts("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, facts.tokens)
    let (engine, task) = (runs.engine(), try facts.task(width: model.config.width))
    let sweeps = try TracedFacts.sweeps(model.config).map(\.sweep)
    let kept = NoisedArrays(for: sweeps, config: model.config, byteLimit: byteLimit)
    let baselines = try engine.baselines(task, prompts: runs.prompts, noised: kept)
    #expect(baselines == (try engine.baselines(task, prompts: runs.prompts)))
    let count = task.pairs.indices.count { kept.arrays(of: $0, task.pairs[$0]) != nil }
    switch byteLimit {
    case 0: #expect(count == 0)
    case 1 << 30: #expect(count == task.pairs.count)
    default: #expect(0 < count && count < task.pairs.count, "\(count) fit")
    }
    for (sweep, direction) in sweeps.flatMap({ [($0, Direction.denoise), ($0, .noise)] }) {
      let result = try engine.run(
        sweep, task, direction: direction, prompts: runs.prompts, baselines: baselines, noised: kept
      )
      #expect(result[0].patched == (try runs.run(sweep, task, direction)).patched, "\(sweep.name)")
    }
    // What is kept is of one prompt and one noise.
    for change in [{ $0.corrupted += 1 }, { $0.noise = nil }] as [(inout PatchingPair) -> Void] {
      var other = task.pairs[0]
      change(&other)
      #expect(kept.arrays(of: 0, other) == nil)
    }
    #expect(kept.arrays(of: 1, task.pairs[0]) == nil, "another sample")
  }

  /// A sweep that asks for hooks which were not kept computes them.
  @Test func hooksThatWereNotKeptAreComputed() throws {
    let facts = try TracedFacts("odd")
    let model = try GPT2(directory: ReferenceArrays.path("odd"))
    let runs = try CachedRuns(model, facts.tokens)
    let (engine, task) = (runs.engine(), try facts.task(width: model.config.width))
    let kept = NoisedArrays(for: [try Sweep(.residPost, layers: [0])], config: model.config)
    let baselines = try engine.baselines(task, prompts: runs.prompts, noised: kept)
    let sweep = try Sweep(.pattern, layers: [1])
    let result = try engine.run(
      sweep, task, direction: .denoise, prompts: runs.prompts, baselines: baselines, noised: kept)
    #expect(result[0].patched == (try runs.run(sweep, task, .denoise)).patched)
  }

  @Test func deviationIsThatOfAllValues() throws {
    let model = try GPT2(directory: ReferenceArrays.path("tiny"), processing: .raw)
    let tokens: [Int32] = [3, 50, 3]
    let values = tokens.flatMap { token in
      (0..<model.config.width).map { Double(model.tokenEmbedding.row(Int(token))[$0]) }
    }
    let mean = values.reduce(0, +) / Double(values.count)
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let expected = (squares / Double(values.count - 1)).squareRoot()
    #expect(abs(model.embeddingDeviation(of: tokens) - expected) < 1e-12)
    #expect(model.embeddingDeviation(of: []) == 0)
  }
}
