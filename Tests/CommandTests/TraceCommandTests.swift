import Foundation
import TestSupport
import Testing

/// Causal tracing by the built program.
@Suite struct TraceCommandTests {
  let shared: SharedCache
  let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private struct File: Decodable {
    struct Noise: Decodable {
      let deviation, subjectDeviation: Double
      let scale: Double?
      let subjectTokens: Int
    }
    struct Fact: Decodable {
      let row: Int
      let id: String?
      let tokens: [String]
      let subjectRange: [Int]
      let answer: String
      let isPredicted: Bool
      let highScore, lowScore: Double
    }
    struct Average: Decodable {
      let tokens: String
      let facts: Int
      let mean, standardError: [Double?]
    }
    struct Hook: Decodable {
      let hook: String
      let severed: [String]
      let window: Int
      let scores: [[[Double]]]
      let averages: [Average]
    }
    let noise: Noise
    let facts: [Fact]
    let unknown, withoutSubject: Int
    let hooks: [Hook]
  }

  private func file(_ json: String) throws -> File {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(File.self, from: Data(json.utf8))
  }

  private func demoCache(_ rows: [String]) throws -> String {
    try folder.write("facts.jsonl", rows.joined(separator: "\n"))
    let cache = folder.path("cache")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts", folder.path("facts.jsonl"),
      "--out", cache, "--quiet")
    return cache
  }

  private static let rows = [
    #"{"id": "known", "clean": "Quillon Quist lives in the city of", "answer": " Brimley", "subject": "Quillon Quist"}"#,
    #"{"id": "open", "clean": "Melwin Sorrel lives in the city of", "subject": "Melwin Sorrel"}"#,
    #"{"id": "wrong", "clean": "Ferra Voss lives in the city of", "answer": " gave", "subject": "Ferra Voss"}"#,
    #"{"id": "nobody", "clean": "Ferra Voss lives in the city of", "answer": " Mirelle"}"#,
    #"{"id": "one", "clean": "Quillon lives in the city of", "subject": "Quillon"}"#,
  ]

  @Test func factsAreTracedAndWritten() throws {
    let cache = try demoCache(TraceCommandTests.rows)
    let out = folder.path("out")
    let answer = try Program.analyze.succeed(
      "trace", "--cache", cache, "--samples", "3", "--window", "2", "--verify", "40", "--out", out,
      "--quiet")
    #expect(answer.output.contains("prob of 3 facts, 3 samples of noise"))
    #expect(answer.output.contains("left out: 1 fact whose answer is not what the model says"))
    #expect(answer.output.contains("left out: 1 row without a subject"))
    #expect(answer.lines.filter { $0.hasSuffix("largest difference 0.0") }.count == 3)
    let file = try file(text(out + "/trace.json"))
    #expect(file.facts.map(\.id) == ["known", "open", "one"])
    #expect(file.facts.map(\.isPredicted) == [true, true, true] && file.unknown == 1)
    #expect(file.facts[0].answer == " Brimley" && file.withoutSubject == 1)
    // Three names of two tokens, one of one.
    #expect(file.noise.subjectTokens == 7 && file.noise.scale == 3)
    #expect(abs(file.noise.deviation - 3 * file.noise.subjectDeviation) < 1e-12)
    #expect(file.hooks.map(\.hook) == ["resid_post", "mlp_out", "attn_out"])
    #expect(file.hooks.map(\.window) == [1, 2, 2])
    for (number, fact) in file.facts.enumerated() {
      let scores = file.hooks[0].scores[number]
      #expect(scores.count == fact.tokens.count && scores.allSatisfy { $0.count == 4 })
      // Nothing before the subject can matter, and the last row of the last layer is the answer.
      #expect(scores[0].allSatisfy { $0 == fact.lowScore } && fact.subjectRange[0] == 1)
      #expect(abs(scores[fact.tokens.count - 1][3] - fact.highScore) < 1e-6)
    }
    // The class of the last tokens is the mean over the facts.
    let end = try #require(file.hooks[0].averages.first { $0.tokens == "END" })
    let expected = file.facts.indices.map {
      (file.hooks[0].scores[$0].last?[1] ?? .nan) - file.facts[$0].lowScore
    }
    #expect(end.facts == 3)
    #expect(abs(try #require(end.mean[1]) - expected.reduce(0, +) / 3) < 1e-9)
    // Names of two tokens have no middle.
    #expect(file.hooks[0].averages.first { $0.tokens == "middle" }?.facts == 0)
    let rows = try text(out + "/trace.csv").split(separator: "\n")
    let tokens = file.facts.reduce(0) { $0 + $1.tokens.count }
    #expect(rows.count == 1 + 3 * 4 * tokens)
    #expect(rows.contains { $0.hasPrefix("4,one,mlp_out,2,0,1,Quillon,first+last,") })
    for name in ["fact-000000-resid_post", "fact-000001-mlp_out", "fact-000004-attn_out"] {
      #expect(exists("\(out)/facts/\(name).npz") && exists("\(out)/facts/\(name).svg"))
    }
    let picture = try Element(xml: text(out + "/trace-resid_post.svg"))
    #expect(picture.all("rect").count { $0["fill-opacity"] != nil } > 12)
    #expect(!exists(out + "/unfinished"))
    try checkArchive("\(out)/facts/fact-000000-attn_out.npz", fact: file.facts[0], file.hooks[2])
  }

  /// Severed runs are reproduced by whole passes, and held MLPs let less through.
  @Test func modulesAreSevered() throws {
    let cache = try demoCache(TraceCommandTests.rows)
    let out = folder.path("out")
    let answer = try Program.analyze.succeed(
      "trace", "--cache", cache, "--samples", "2", "--hooks", "resid_post", "--sever",
      "attn_out,mlp_out", "--verify", "all", "--out", out, "--quiet")
    #expect(answer.lines.filter { $0.hasSuffix("largest difference 0.0") }.count == 3)
    #expect(answer.output.contains("resid_post, mlp_out severed  layer × token"))
    let hooks = try file(text(out + "/trace.json")).hooks
    #expect(
      hooks.map(\.hook)
        == ["resid_post", "resid_post-severed-attn_out", "resid_post-severed-mlp_out"])
    #expect(hooks.map(\.severed) == [[], ["attn_out"], ["mlp_out"]])
    // Nothing is severed behind the last layer, and something before it.
    for hook in hooks.dropFirst() {
      for (scores, plain) in zip(hook.scores, hooks[0].scores) {
        #expect(scores.map(\.last) == plain.map(\.last))
        #expect(scores.map(\.first) != plain.map(\.first))
      }
      #expect(exists("\(out)/trace-\(hook.hook).svg"))
      #expect(exists("\(out)/facts/fact-000000-\(hook.hook).npz"))
    }
  }

  /// NumPy reads the archive, and finds ROME's fields.
  private func checkArchive(_ path: String, fact: File.Fact, _ hook: File.Hook) throws {
    let script = """
      import json, sys, numpy
      data = numpy.load(sys.argv[1])
      shown = {name: data[name].tolist() for name in data.files}
      shown["types"] = [str(data[name].dtype) for name in sorted(data.files)]
      print(json.dumps(shown))
      """
    let answer = try pythonWithNumPy(["-c", script, path])
    let read = try JSONSerialization.jsonObject(with: Data(answer.output.utf8))
    let fields = try #require(read as? [String: Any])
    #expect(
      fields.keys.sorted() == [
        "answer", "correct_prediction", "high_score", "input_ids", "input_tokens", "kind",
        "low_score", "scores", "subject_range", "types", "window",
      ])
    #expect(fields["input_tokens"] as? [String] == fact.tokens)
    #expect(fields["subject_range"] as? [Int] == fact.subjectRange)
    #expect(fields["answer"] as? String == fact.answer && fields["kind"] as? String == "attn")
    #expect(fields["window"] as? Int == 2 && fields["correct_prediction"] as? Bool == true)
    let scores = try #require(fields["scores"] as? [[Double]])
    for (row, expected) in zip(scores, hook.scores[0]) {
      for (value, other) in zip(row, expected) { #expect(abs(value - other) < 1e-6) }
    }
  }

  @Test func scoresDependOnTheNoiseAlone() throws {
    let cache = try demoCache(TraceCommandTests.rows)
    func run(_ out: String, _ more: String...) throws -> String {
      let answer = try Program.analyze.run(
        ["trace", "--cache", cache, "--samples", "2", "--out", out, "--json", "--quiet"] + more)
      try #require(answer.status == 0, "\(answer)")
      return answer.output
    }
    let whole = try file(try run(folder.path("whole")))
    let again = try file(try run(folder.path("whole"), "--threads", "1"))
    #expect(whole.hooks.map(\.scores) == again.hooks.map(\.scores))
    let other = try file(try run(folder.path("other"), "--seed", "2"))
    #expect(whole.hooks.map(\.scores) != other.hooks.map(\.scores))
    let kept = try file(try run(folder.path("kept"), "--keep-unknown", "--limit", "3"))
    #expect(kept.facts.map(\.isPredicted) == [true, true, false])
  }

  @Test func whatCannotBeTracedIsRefused() throws {
    for (arguments, status, words) in [
      (["--cache", shared.path], 65, ["none of the 4 rows", "subject"]),
      (["--cache", shared.mixed, "--hooks", "z"], 64, ["attn_out or mlp_out"]),
      (["--cache", shared.mixed, "--metric", "logit-diff"], 64, ["logit-diff", "logprob"]),
      (["--cache", shared.mixed, "--samples", "0"], 64, ["--samples"]),
      (["--cache", shared.mixed, "--noise-scale", "nan"], 64, ["Noise"]),
      (
        ["--cache", shared.mixed, "--noise-scale", "1", "--noise-deviation", "1"], 64, ["not both"]
      ),
      (["--cache", shared.mixed, "--window", "0"], 64, ["window"]),
      (["--cache", shared.mixed, "--sever", "z"], 64, ["--sever", "not z"]),
    ] as [([String], Int32, [String])] {
      let answer = try Program.analyze.run(["trace"] + arguments)
      #expect(answer.status == status && answer.output.isEmpty, "\(answer)")
      for word in words { #expect(answer.errors.contains(word), "\(answer)") }
    }
  }

  private func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }
}
