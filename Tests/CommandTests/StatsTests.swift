import CacheFormat
import Foundation
import TestSupport
import Testing

/// `cachedump stats`
@Suite struct StatsTests {
  private let shared: SharedCache
  private let reader: CacheReader

  init() throws {
    shared = try SharedCache.made()
    reader = try CacheReader(directory: shared.path)
  }

  private struct Statistics: Decodable {
    struct Hook: Decodable {
      let name: String
      let hooks, arrays, values, zeros, masked, nan, positiveInfinity, negativeInfinity: Int
      let mean, standardDeviation, rms, norm, minimum, maximum: Double?
      let rawBytes, storedBytes, readBytes: Int
      let readSeconds: Double
      let encodings: [String: Int]
    }
    let planDigest, elementType: String
    let firstPrompt, prompts, tokens: Int
    let hooks, kinds: [Hook]
  }

  private func statistics(_ arguments: String...) throws -> Statistics {
    let answer = try Program.cachedump.run(["stats", shared.path, "--json"] + arguments)
    try #require(answer.status == 0 && answer.errors == "", "\(answer)")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Statistics.self, from: Data(answer.output.utf8))
  }

  @Test func theNumbersAreThoseOfTheValues() throws {
    let found = try statistics()
    #expect(found.planDigest == reader.planDigest && found.elementType == "f32")
    #expect(found.firstPrompt == 0 && found.prompts == 7 && found.tokens == 77)
    #expect(found.hooks.map(\.name) == reader.plan.hooks.map(\.name))
    for (hook, report) in found.hooks.enumerated() {
      let values = try (0..<7).flatMap { try reader.read(hook: hook, prompt: $0) }
      let finite = values.filter(\.isFinite).map(Double.init)
      #expect(report.hooks == 1 && report.arrays == 7 && report.values == values.count)
      #expect(report.zeros == finite.count { $0 == 0 })
      #expect(report.minimum.map(Float.init) == finite.min().map(Float.init))
      #expect(report.maximum.map(Float.init) == finite.max().map(Float.init))
      let rms = rootMeanSquare(values)
      #expect(report.rms.map { abs($0 - rms) <= 1e-12 * rms } == true)
      #expect(report.nan == 0 && report.positiveInfinity == 0 && report.negativeInfinity == 0)
      let isScores = report.name.hasSuffix("attn_scores")
      #expect(report.masked == (isScores ? 7 * 3 * 11 * 10 / 2 : 0))
      #expect(report.readBytes == 4 * values.count && report.readSeconds > 0)
      #expect(report.encodings.values.reduce(0, +) == 7)
    }
    // A LayerNorm's rows have the norm √D by definition.
    let norm = try #require(found.hooks.first { $0.name == "blocks.1.ln1.hook_normalized" }?.norm)
    #expect(abs(norm - 24.0.squareRoot()) < 1e-3)
    #expect(found.kinds.count == 21 && found.kinds.map(\.hooks).reduce(0, +) == 55)
  }

  @Test func hooksAndPromptsCanBeChosen() throws {
    let some = try statistics("--hooks", "z1,resid_pre0", "--prompts", "2-3", "--threads", "1")
    #expect(some.hooks.map(\.name) == ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z"])
    #expect(some.firstPrompt == 2 && some.prompts == 2 && some.tokens == 22)
    #expect(some.hooks.map(\.values) == [2 * 11 * 24, 2 * 11 * 24])
    #expect(try statistics("--prompts", "6").prompts == 1)
    try Program.cachedump.refuse(
      "stats", shared.path, "--prompts", "5-7", status: 66,
      saying: ["no prompt 7", "0 to 6 of 7"])
    try Program.cachedump.refuse(
      "stats", shared.path, "--hooks", "resid_prr", status: 64, saying: ["nearest: resid_pre"])
  }

  @Test func theTableIsReadable() throws {
    let kinds = try Program.cachedump.succeed("stats", shared.path)
    #expect(kinds.lines[0] == "\(shared.path)  prompts 0 to 6, 77 tokens")
    #expect(kinds.lines[1].hasSuffix("a core in this run"))
    #expect(kinds.errors.contains("reading 7/7 prompts"))
    #expect(kinds.lines.count { $0.hasPrefix("blocks.*.attn.hook_z ") } == 2)
    #expect(kinds.lines.count == 2 + 2 * (1 + 21))
    #expect(!kinds.output.contains("\u{1B}") && !kinds.output.contains("masked\n\n"))
    let scores = try #require(kinds.lines.first { $0.contains("attn_scores") })
    #expect(scores.hasSuffix(" 3,465           0"), "\(scores)")
    let all = try Program.cachedump.succeed("stats", shared.path, "--all", "--quiet")
    #expect(all.lines.count == 2 + 2 * (1 + TinyModel.hookCount) && all.errors == "")
    let single = try Program.cachedump.succeed("stats", shared.path, "--hooks", "q", "--quiet")
    #expect(single.lines.count { $0.hasPrefix("blocks.2.attn.hook_q ") } == 2)
  }

  @Test func valuesAreTheSameForAnyNumberOfThreads() throws {
    let tables = try ["1", "2", "5"].map { threads in
      try Program.cachedump.succeed("stats", shared.path, "--all", "--threads", threads)
        .lines.dropFirst(2).prefix { !$0.hasPrefix("storage") }
    }
    #expect(tables[0].count == 1 + TinyModel.hookCount)
    #expect(tables[1] == tables[0] && tables[2] == tables[0])
  }
}
