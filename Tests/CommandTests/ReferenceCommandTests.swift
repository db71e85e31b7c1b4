import CacheFormat
import Foundation
import Model
import TestSupport
import Testing

/// The built `analyze` on caches of the random models tiny and odd, held against what TransformerLens
/// makes of them: from the options to the number that is printed.
@Suite struct ReferenceCommandTests {
  private static let models = ["tiny", "odd"]
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  /// A cache of prompts that are given as tokens, and the arrays that TransformerLens has of them.
  private struct Study {
    let arrays: ReferenceArrays
    let model: String
    let cache: String

    /// - Parameter fixture: under Tests, such as `ReadingTests/Fixtures/odd-raw`.
    init(
      _ model: String, _ fixture: String, _ processing: WeightProcessing = .transformerlens,
      in folder: TemporaryDirectory,
      rows: (ReferenceArrays) throws -> (tokens: [[Int32]], pairs: [PromptPair])
    ) throws {
      arrays = try ReferenceArrays(path: repositoryPath("Tests/\(fixture).safetensors"))
      self.model = ReferenceArrays.path(model)
      cache = folder.path("cache")
      let (tokens, pairs) = try rows(arrays)
      let prompts = tokens.map { Prompt(text: "", tokens: $0, pieces: $0.map { "\($0)" }) }
      _ = try writeCache(
        try GPT2(directory: self.model, processing: processing), prompts, pairs: pairs, to: cache)
    }

    /// p0, p1 and p2 of tools/make_reading_reference.py.
    static func reading(
      _ model: String, _ processing: WeightProcessing, in folder: TemporaryDirectory
    ) throws -> Study {
      let fixture = "ReadingTests/Fixtures/\(model)-\(processing.rawValue)"
      return try Study(model, fixture, processing, in: folder) { arrays in
        let tokens = try (0..<3).map { try arrays.tokens("p\($0)/tokens") }
        let pairs = try (0..<3).map { number in
          let answers = try arrays.tokens("p\(number)/answers")
          return PromptPair(clean: number, answer: answers[0], wrongAnswer: answers[1])
        }
        return (tokens, pairs)
      }
    }

    /// pair0, pair1 and pair2 of tools/make_reference.py.
    static func pairs(_ model: String, in folder: TemporaryDirectory) throws -> Study {
      try Study(model, "ModelTests/Fixtures/\(model)/patching", in: folder) { arrays in
        let tokens = try (0..<3).flatMap {
          [
            try arrays.tokens("pair\($0)/clean_tokens"),
            try arrays.tokens("pair\($0)/corrupted_tokens"),
          ]
        }
        let pairs = try (0..<3).map { number in
          let answers = try arrays.tokens("pair\(number)/answers")
          return PromptPair(
            id: "pair\(number)", clean: 2 * number, corrupted: 2 * number + 1, answer: answers[0],
            wrongAnswer: answers[1])
        }
        return (tokens, pairs)
      }
    }

    func run(_ command: String, _ arguments: [String], cache: String? = nil) throws -> Answer {
      let answer = try Program.analyze.run(
        [command, "--cache", cache ?? self.cache, "--model", model, "--quiet"] + arguments)
      try #require(answer.status == 0, "\(answer)")
      return answer
    }

    func json(_ command: String, _ arguments: String..., cache: String? = nil) throws -> File {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      let answer = try run(command, arguments + ["--json"], cache: cache)
      return try decoder.decode(File.self, from: Data(answer.output.utf8))
    }

    /// The patched metric of a pair's cells, in their order, from `cells.csv`.
    func patched(in out: String, hook: String, pair: String) throws -> [Float] {
      let text = try String(contentsOfFile: out + "/cells.csv", encoding: .utf8)
      let lines = text.split(separator: "\n").map {
        $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      }
      func column(_ name: String) throws -> Int { try #require(lines[0].firstIndex(of: name)) }
      let (hooks, pairs) = (try column("hook"), try column("pair"))
      let value = try column("patched")
      return lines.dropFirst().filter { $0[hooks].hasSuffix(hook) && $0[pairs] == pair }
        .compactMap { Float($0[value]) }
    }
  }

  private struct File: Decodable {
    struct Table: Decodable {
      let rows, columns: [String]
      let mean: [Double?]
    }
    let tables: [Table]
  }

  /// The mean over prompts of what TransformerLens has of each at the last of its positions.
  private func meansAtEnd(_ study: Study, _ key: String) throws -> [Double] {
    let all = try (0..<3).map { number in
      let values = try study.arrays.floats("p\(number)/\(key)")
      let columns = try study.arrays.shape("p\(number)/\(key)").last ?? 1
      return stride(from: columns - 1, to: values.count, by: columns).map { Double(values[$0]) }
    }
    return all[0].indices.map { row in all.reduce(0) { $0 + $1[row] } / 3 }
  }

  private func expect(
    _ found: [Double?], _ expected: [Double], _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(found.count == expected.count, "\(what)", sourceLocation: sourceLocation)
    for (a, b) in zip(found, expected) {
      #expect(abs((a ?? .nan) - b) < 1e-4, "\(what)", sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: models, [WeightProcessing.transformerlens, .raw])
  func lensAttributionAndAttention(model: String, processing: WeightProcessing) throws {
    let study = try Study.reading(model, processing, in: folder)
    for metric in ["logit-diff", "prob", "kl", "rank"] {
      let lens = try study.json("lens", "--metric", metric)
      expect(lens.tables[0].mean, try meansAtEnd(study, "lens/\(metric)"), metric)
    }
    for split in ["layer", "accumulated", "head", "neuron", "full", "full-mlp"] {
      let file = try study.json("attribution", "--by", split)
      let key = split == "full-mlp" ? "full_mlp" : split
      expect(file.tables[0].mean, try meansAtEnd(study, key), split)
    }
    for kind in ["previous_token_head", "duplicate_token_head", "induction_head"] {
      let file = try study.json("attention", "--detect", kind, "--measure", "abs")
      let all = try (0..<3).map { try study.arrays.floats("p\($0)/detect/abs/\(kind)") }
      expect(
        file.tables[0].mean,
        all[0].indices.map { head in all.reduce(0) { $0 + Double($1[head]) } / 3 }, kind)
    }
  }

  /// What heads write of the tokens that they look at, and their attention (ARENA's scatter plots).
  @Test(arguments: models, [WeightProcessing.transformerlens, .raw])
  func whatHeadsWriteOfWhatTheyLookAt(model: String, processing: WeightProcessing) throws {
    let study = try Study.reading(model, processing, in: folder)
    let config = try ModelConfig(directory: study.model)
    let heads = (0..<config.layers).flatMap { l in (0..<config.heads).map { "\(l).\($0)" } }
    let file = try study.json(
      "attention", "--heads", heads.joined(separator: ","), "--from", "-1", "--to", "0,1,-1")
    for (table, key) in zip(file.tables, ["attention", "written"]) {
      #expect(table.columns == ["-1→0", "-1→1", "-1→-1"] && table.rows.count == heads.count)
      for (column, position) in [0, 1, nil].enumerated() {
        let all = try (0..<3).map { number in
          let values = try study.arrays.floats("p\(number)/\(key)")
          let length = try study.arrays.shape("p\(number)/\(key)")[1]
          return heads.indices.map { Double(values[$0 * length + (position ?? length - 1)]) }
        }
        expect(
          heads.indices.map { table.mean[$0 * 3 + column] },
          heads.indices.map { head in all.reduce(0) { $0 + $1[head] } / 3 }, "\(key) \(column)")
      }
    }
  }

  /// A head taken away, and the direct effects of all others then: `run_with_cache` under a hook.
  @Test(arguments: models, [WeightProcessing.transformerlens, .raw])
  func attributionOfAnAblatedRun(model: String, processing: WeightProcessing) throws {
    let study = try Study.reading(model, processing, in: folder)
    let head = try ModelConfig(directory: study.model).heads - 1
    let cells = try folder.write("cells.csv", "group,hook,layer,head,pos\na,z,0,\(head),END\n")
    let ablated = folder.path("ablated")
    _ = try study.run(
      "ablate", ["--cells", cells, "--source", "zero", "--capture", ablated, "--verify"])
    for split in ["head", "layer"] {
      let after = try study.json("attribution", "--by", split, cache: ablated)
      let expected = try meansAtEnd(study, "ablated/\(split)", isWhole: true)
      expect(after.tables[0].mean, expected, split)
      let before = try meansAtEnd(study, split)
      let change = try study.json(
        "attribution", "--by", split, "--minus", study.cache, cache: ablated)
      expect(change.tables[0].mean, zip(expected, before).map { $0 - $1 }, "\(split) change")
    }
    let lens = try study.json("lens", cache: ablated)
    let logits = try meansAtEnd(study, "ablated/logit_diff", isWhole: true)
    expect([lens.tables[0].mean.last ?? nil], logits, "logit difference")
    let reader = try CacheReader(directory: ablated)
    let scale = try #require(reader.hookIndex("ln_final.hook_scale"))
    for prompt in 0..<3 {
      let expected = try study.arrays.floats("p\(prompt)/ablated/scale")[0]
      let found = try reader.read(hook: scale, prompt: prompt).last ?? .nan
      #expect(abs(found - expected) < 1e-4)
    }
  }

  private func meansAtEnd(_ study: Study, _ key: String, isWhole: Bool) throws -> [Double] {
    let all = try (0..<3).map { try study.arrays.floats("p\($0)/\(key)") }
    return all[0].indices.map { row in all.reduce(0) { $0 + Double($1[row]) } / 3 }
  }

  @Test(arguments: models, ["denoise", "noise"])
  func sweepsOfHeadsAndPositions(model: String, direction: String) throws {
    let study = try Study.pairs(model, in: folder)
    let out = folder.path("out")
    _ = try study.run(
      "patch",
      ["--hooks", "block_every,head_every", "--direction", direction, "--out", out, "--verify"])
    for (key, hook) in [
      ("resid_pre", "hook_resid_pre"), ("attn_out", "hook_attn_out"), ("mlp_out", "hook_mlp_out"),
      ("z", "hook_z"), ("q", "hook_q"), ("k", "hook_k"), ("v", "hook_v"),
      ("pattern", "hook_pattern"),
    ] {
      for pair in 0..<3 {
        let expected = try study.arrays.floats("pair\(pair)/\(direction)/\(key)")
        let found = try study.patched(in: out, hook: hook, pair: "\(pair)")
        #expect(largestDifference(found, expected) < 1e-4, "\(key) of pair \(pair)")
      }
    }
  }

  @Test(arguments: models, ["through-mlps", "direct"])
  func paths(model: String, definition: String) throws {
    let study = try Study.pairs(model, in: folder)
    let reference = try ReferenceArrays(
      path: repositoryPath("Tests/PatchingTests/Fixtures/circuits-\(model).safetensors"))
    let numbers = try reference.tokens("receivers")
    let receivers = stride(from: 0, to: numbers.count, by: 2).map {
      "\(numbers[$0]).\(numbers[$0 + 1])"
    }.joined(separator: ",")
    for (key, options) in [
      ("logits", ["--to", "logits"]), ("q", ["--receivers", receivers, "--input", "q"]),
      ("qv", ["--receivers", receivers, "--input", "q,v"]),
    ] {
      let out = folder.path("out-\(key)")
      _ = try study.run(
        "path", options + ["--paths", definition, "--direction", "noise", "--out", out])
      for pair in 0..<3 {
        let expected = try reference.floats("pair\(pair)/noise/\(definition)/\(key)")
        let found = try study.patched(in: out, hook: "", pair: "\(pair)")
        #expect(largestDifference(found, expected) < 1e-4, "\(key) of pair \(pair)")
      }
    }
  }

  /// Faithfulness, minimality and completeness, from a circuit's file.
  @Test(arguments: models) func circuits(model: String) throws {
    let fixture = "PatchingTests/Fixtures/circuits-\(model)"
    let study = try Study(model, fixture, in: folder) { arrays in
      let (answers, templates) = (
        try arrays.tokens("circuit/answers"), try arrays.tokens("circuit/template")
      )
      let roles = try arrays.tokens("circuit/roles")
      let tokens = try templates.indices.flatMap {
        [
          try arrays.tokens("circuit/pair\($0)/clean"),
          try arrays.tokens("circuit/pair\($0)/corrupted"),
        ]
      }
      let pairs = templates.indices.map {
        PromptPair(
          clean: 2 * $0, corrupted: 2 * $0 + 1, answer: answers[2 * $0],
          wrongAnswer: answers[2 * $0 + 1],
          roles: ["S2": Int(roles[2 * $0]), "END": Int(roles[2 * $0 + 1])],
          template: "\(templates[$0])")
      }
      return (tokens, pairs)
    }
    let (heads, k) = (
      try study.arrays.tokens("circuit/heads"), try study.arrays.tokens("circuit/k")
    )
    let names = stride(from: 0, to: heads.count, by: 3).map { "\(heads[$0]).\(heads[$0 + 1])" }
    var file = "class,layer,head,pos,k\n"
    for number in names.indices {
      let pos = [0: "S2", 1: "END"][heads[3 * number + 2]] ?? ""
      let companions = names.indices.filter { k[number * names.count + $0] == 1 }.map { names[$0] }
      file += "c,\(heads[3 * number]),\(heads[3 * number + 1]),\(pos),"
      file += "\(companions.joined(separator: " "))\n"
    }
    let answer = try study.run(
      "circuit",
      ["--circuit", try folder.write("circuit.csv", file), "--json"]
        + names.flatMap { ["--without", $0] })
    struct Result: Decodable {
      struct Minimality: Decodable { let head: String, score: Double }
      struct Completeness: Decodable { let k: [String], difference: Double }
      let fModel, fCircuit, unfaithfulness, share: Double
      let minimality: [Minimality]
      let completeness: [Completeness]
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let found = try decoder.decode(Result.self, from: Data(answer.output.utf8))
    func reference(_ name: String) throws -> [Double] {
      try study.arrays.floats("circuit/\(name)").map(Double.init)
    }
    expect([found.unfaithfulness], try reference("faithfulness"), "faithfulness")
    expect([found.share], try reference("share"), "share")
    #expect(found.minimality.map(\.head) == names)
    expect(found.minimality.map(\.score), try reference("minimality"), "minimality")
    expect(
      names.map { name in found.completeness.first { $0.k == [name] }?.difference },
      try reference("completeness"), "completeness")
  }

  @Test(arguments: models, ["transformerlens", "raw"])
  func scoresOfHeads(model: String, weights: String) throws {
    let study = try Study.pairs(model, in: folder)
    let answer = try Program.analyze.run([
      "scores", "--model", study.model, "--weights", weights, "--json", "--quiet",
    ])
    try #require(answer.status == 0, "\(answer)")
    let reference = try ReferenceArrays(
      path: repositoryPath("Tests/PatchingTests/Fixtures/circuits-\(model).safetensors"))
    let object = try JSONSerialization.jsonObject(with: Data(answer.output.utf8))
    let scores = try #require((object as? [String: Any])?["scores"] as? [String: [Any]])
    for name in ["ov", "qk"] {
      let expected = try reference.floats("scores/\(weights)/\(name)")
      let found = try #require(scores[name]).map { $0 as? Double }
      expect(found, expected.map(Double.init), name)
    }
  }
}
