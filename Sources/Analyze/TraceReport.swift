import CacheFormat
import Model
import Patching
import Terminal

/// The result of `analyze trace` in words and as JSON.
struct TraceReport {
  let command: [String]
  let cache: CacheReader
  let metric: AnswerMetric
  let samples: Int
  let noise: TraceNoise
  let selection: FactSelection
  let prompts: [Prompt]
  /// By hook, with the samples of all facts as pairs.
  let results: [SweepResult]
  /// By hook, where cells were run again by brute force.
  let checks: [BruteForceCheck]?
  let timing: PatchFile.Timing
  /// By hook.
  let scores: [TraceScores]

  var facts: [Fact] { selection.facts }

  init(
    command: [String], cache: CacheReader, metric: AnswerMetric, samples: Int, noise: TraceNoise,
    selection: FactSelection, prompts: [Prompt], results: [SweepResult],
    checks: [BruteForceCheck]?, timing: PatchFile.Timing
  ) {
    self.command = command
    self.cache = cache
    self.metric = metric
    self.samples = samples
    self.noise = noise
    self.selection = selection
    self.prompts = prompts
    self.results = results
    self.checks = checks
    self.timing = timing
    let lengths = selection.facts.map { prompts[$0.prompt].tokens.count }
    scores = results.map { TraceScores($0, samples: samples, lengths: lengths) }
  }

  // In words.

  func lines(style: Style) -> [String] {
    var lines = heading(style)
    for (number, scores) in scores.enumerated() {
      let grid = facts.count == 1 ? grid(of: scores, fact: 0) : averageGrid(of: scores)
      lines += ["", style.bold(title(of: scores))]
      lines += Heatmap(grid).lines(style: style)
      lines += ["", "largest " + top(grid)]
      if let check = checks?[number] {
        lines.append(
          "verified \(counted(check.runs, "run")) by whole forward passes: largest difference "
            + "\(check.largestDifference[0])")
      }
    }
    return lines
      + [
        "",
        style.faint(
          "Restoring shows what is sufficient to recall the answer, not where the fact is stored."),
      ]
  }

  private func heading(_ style: Style) -> [String] {
    let plan = cache.plan
    let first = results.isEmpty ? [] : scores[0].facts
    func mean(_ value: (TraceScores.FactScores) -> Double) -> Double {
      first.reduce(0) { $0 + value($1) } / Double(max(1, first.count))
    }
    let (high, low) = (mean(\.high), mean(\.low))
    var lines = [
      style.bold(
        "\(metric.rawValue) of \(counted(facts.count, "fact")), \(counted(samples, "sample")) of noise"
      )
        + "  (\(plan.model.name), weights \(plan.weights), \(Linear.arithmetic) kernels)",
      "noise on the subject's embeddings: standard deviation \(significant(noise.deviation, 4))"
        + (noise.scale.map {
          ", \(significant($0, 4)) × that of \(counted(selection.subjectTokens.count, "subject token"))"
        } ?? "") + ", seed \(noise.seed)",
      "clean \(fixed(high, 4))   with noise \(fixed(low, 4))   total effect \(signed(high - low, 4))   "
        + "effect = restored - with noise",
    ]
    if facts.count == 1, let fact = facts.first {
      lines.append("answer \(tokenText(fact.answerText))")
    }
    let weak = facts.indices.filter { first[$0].high - first[$0].low < 0.1 * abs(first[$0].high) }
    if !weak.isEmpty, metric == .probability {
      let names = weak.prefix(5).map { facts[$0].name }.joined(separator: ", ")
      lines.append(
        "warning: the noise takes less than a tenth of the answer's probability from "
          + "\(counted(weak.count, "fact")) (\(names)\(weak.count > 5 ? ", …" : ""))")
    }
    return lines + selection.leftOut
  }

  /// What is restored, and the axes of its picture.
  func title(of scores: TraceScores) -> String {
    var text = "\(restored(scores.sweep))  layer × \(facts.count == 1 ? "position" : "token")"
    if scores.sweep.window > 1 { text += ", windows of \(scores.sweep.window) layers" }
    return text
  }

  /// What is restored, in words.
  func restored(_ sweep: Sweep) -> String {
    (sweep.kind?.shortName ?? sweep.name)
      + sweep.severed.map { ", \($0.shortName) severed" }.joined()
  }

  private func top(_ grid: EffectGrid) -> String {
    rankedCells(grid.effects, count: 3).map { cell in
      "\(grid.names[cell]) \(signed(grid.effects[cell] ?? 0, 4))"
    }.joined(separator: ",  ")
  }

  // As grids.

  /// The indirect effects of one fact, layers × positions.
  func grid(of scores: TraceScores, fact number: Int) -> EffectGrid {
    let (fact, own) = (facts[number], scores.facts[number])
    let pair = PatchingPair(
      clean: fact.prompt, corrupted: fact.prompt, answer: nil, wrongAnswer: nil)
    var tokens = TokenLabels(pair, prompts: prompts)
    tokens.differs = tokens.texts.indices.map { fact.subject.contains($0) }
    let layers = scores.sweep.layers
    let places = layers.flatMap { layer in (0..<own.length).map { (layer: layer, position: $0) } }
    return EffectGrid(
      rows: layers.map { "L\($0)" }, columns: (0..<own.length).map(String.init), tokens: tokens,
      rowAxis: "layer", columnAxis: "position",
      effects: places.map { own.score(position: $0.position, layer: $0.layer) - own.low },
      names: places.map { "L\($0.layer) pos \($0.position) \(tokens.texts[$0.position])" },
      quantity: "indirect effect")
  }

  /// The average indirect effects, layers × classes of tokens.
  func averageGrid(of scores: TraceScores) -> EffectGrid {
    let averages = averages(of: scores)
    let layers = scores.sweep.layers
    return EffectGrid(
      rows: layers.map { "L\($0)" }, columns: TokenClass.allCases.map(\.rawValue), tokens: nil,
      rowAxis: "layer", columnAxis: "token",
      effects: layers.indices.flatMap { layer in averages.map { $0.mean[layer] } },
      names: layers.flatMap { layer in
        TokenClass.allCases.map { "L\(layer) \($0.rawValue)" }
      }, quantity: "average indirect effect")
  }

  /// By class of tokens.
  func averages(of scores: TraceScores) -> [TraceScores.Average] {
    TokenClass.allCases.map { scores.average($0, subjects: facts.map(\.subject)) }
  }

  // As JSON.

  func json() throws -> String {
    try encodedJSON(
      TraceFile(
        tool: toolVersion, command: command, cache: cacheIdentity(cache), metric: metric.rawValue,
        samples: samples,
        noise: .init(
          deviation: noise.deviation, scale: noise.scale, subjectDeviation: noise.ofSubjects,
          subjectTokens: selection.subjectTokens.count, seed: noise.seed),
        facts: facts.enumerated().map { number, fact in
          let prompt = prompts[fact.prompt]
          let scores = self.scores.first?.facts[number]
          return .init(
            row: fact.row, id: fact.id, prompt: fact.prompt, text: prompt.text,
            tokens: prompt.pieces,
            subjectRange: [fact.subject.lowerBound, fact.subject.upperBound],
            answer: fact.answerText, answerToken: Int(fact.answer),
            isPredicted: fact.answer == fact.predicted, highScore: scores?.high ?? .nan,
            lowScore: scores?.low ?? .nan)
        },
        unknown: selection.unknown, withoutSubject: selection.withoutSubject,
        notCaptured: selection.notCaptured,
        hooks: scores.enumerated().map { number, scores in
          let averages = averages(of: scores)
          return .init(
            hook: scores.sweep.name, severed: scores.sweep.severed.map(\.shortName),
            window: scores.sweep.window, layers: scores.sweep.layers,
            scores: scores.facts.map { fact in
              let layers = scores.sweep.layers.count
              return (0..<fact.length).map { position in
                Array(fact.scores[position * layers..<(position + 1) * layers])
              }
            },
            averages: zip(TokenClass.allCases, averages).map { kind, average in
              .init(
                tokens: kind.rawValue, facts: average.facts, mean: average.mean,
                standardError: average.standardError)
            },
            verified: checks.map {
              .init(
                runs: $0[number].runs,
                largestDifference: Double($0[number].largestDifference[0]))
            })
        }, timing: timing))
  }
}

/// `trace.json`.
private struct TraceFile: Encodable {
  struct Noise: Encodable {
    let deviation: Double
    let scale: Double?
    let subjectDeviation: Double
    let subjectTokens: Int
    let seed: UInt32
  }

  struct Fact: Encodable {
    let row: Int
    let id: String?
    let prompt: Int
    let text: String
    let tokens: [String]
    let subjectRange: [Int]
    let answer: String
    let answerToken: Int
    let isPredicted: Bool
    let highScore, lowScore: Double
  }

  struct Average: Encodable {
    let tokens: String
    let facts: Int
    let mean, standardError: [Double?]
  }

  struct Hook: Encodable {
    let hook: String
    let severed: [String]
    let window: Int
    let layers: [Int]
    /// By fact, position and layer.
    let scores: [[[Double]]]
    let averages: [Average]
    let verified: PatchFile.Verified?
  }

  let tool: String
  let command: [String]
  let cache: PatchFile.Identity
  let metric: String
  let samples: Int
  let noise: Noise
  let facts: [Fact]
  let unknown, withoutSubject, notCaptured: Int
  let hooks: [Hook]
  let timing: PatchFile.Timing
}
