import Foundation
import TestSupport
import Testing

/// `analyze lens`, `attribution`, `attention` and `stats`, by the built programs.
@Suite struct ReadingCommandTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// What `--json` prints.
  private struct File: Decodable {
    struct Table: Decodable {
      let name, quantity: String
      let rows, columns: [String]
      let mean, standardError: [Double?]
      let prompts: [Int]

      func mean(_ row: String, _ column: Int = 0) -> Double? {
        rows.firstIndex(of: row).flatMap { mean[$0 * columns.count + column] }
      }
    }
    struct Prompt: Decodable {
      let prompt, tokens: Int
    }
    let analysis, run: String
    let warnings, notes: [String]
    let prompts: [Prompt]
    let tables: [Table]
  }

  private func read(_ arguments: String...) throws -> File {
    let answer = try Program.analyze.run(arguments + ["--json"])
    try #require(answer.status == 0, "\(answer)")
    #expect(answer.errors == "")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(File.self, from: Data(answer.output.utf8))
  }

  /// The last row of the lens is the metric of the run, as `analyze patch` has it.
  @Test func theLensEndsWithTheRunItself() throws {
    let patched = try patch(shared.path, "--hooks", "z", "--metric", "logit-diff,prob,rank")
    let out = folder.path("out")
    let lens = try read(
      "lens", "--cache", shared.path, "--metric", "logit-diff,prob,kl", "--out", out)
    #expect(lens.tables.map(\.quantity) == ["logit-diff", "prob", "kl"] && lens.run == "clean")
    #expect(lens.tables[0].rows.count == 2 * TinyModel.layers + 1)
    let clean = try #require(patched.baselines.clean)
    #expect(abs((lens.tables[0].mean("final_post") ?? .nan) - clean) < 1e-5)
    #expect(abs(lens.tables[2].mean("final_post") ?? .nan) < 1e-9)
    let corrupted = try read("lens", "--cache", shared.path, "--run", "corrupted")
    let other = try #require(patched.baselines.corrupted)
    #expect(abs((corrupted.tables[0].mean("final_post") ?? .nan) - other) < 1e-5)
    #expect(
      try names(in: out) == [
        "lens-kl-prompts.npy", "lens-kl.npy", "lens-kl.svg", "lens-logit-diff-prompts.npy",
        "lens-logit-diff.npy", "lens-logit-diff.svg", "lens-prob-prompts.npy", "lens-prob.npy",
        "lens-prob.svg", "lens.csv", "lens.json",
      ])
    let csv = try String(contentsOfFile: out + "/lens.csv", encoding: .utf8).split(separator: "\n")
    #expect(csv[0] == "table,row,column,mean,standard_error,prompts" && csv.count == 1 + 3 * 7)
    let svg = try Element(
      xml: try String(contentsOfFile: out + "/lens-kl.svg", encoding: .utf8))
    #expect(svg.all("rect").count > 7)
  }

  /// The first token of the last row is the one with rank 0.
  @Test func theLargestLogitsOfAPrompt() throws {
    let answer = try Program.analyze.succeed(
      "lens", "--cache", shared.path, "--prompt", "0", "--top", "3", "--pos", "0,-1", "--json")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any])
    let positions = try #require(object["positions"] as? [[String: Any]])
    #expect(positions.compactMap { $0["position"] as? Int } == [0, SharedCache.positions - 1])
    let rows = try #require(positions[1]["rows"] as? [[String: Any]])
    #expect(rows.compactMap { $0["row"] as? String }.last == "final_post")
    let top = try #require(rows[rows.count - 1]["top"] as? [[String: Any]])
    #expect(top.count == 3 && top.allSatisfy { $0["text"] is String })
    let text = try Program.analyze.succeed("lens", "--cache", shared.path, "--prompt", "0").output
    #expect(text.contains("layer × rank") && text.contains("final_post"))
  }

  /// Every split sums to the same logit difference, that of the lens.
  @Test func everySplitIsTheLogitDifference() throws {
    let lens = try read("lens", "--cache", shared.path)
    let clean = try #require(lens.tables[0].mean("final_post"))
    for split in ["layer", "accumulated", "head", "neuron", "full", "full-mlp"] {
      let out = folder.path(split)
      let file = try read("attribution", "--cache", shared.path, "--by", split, "--out", out)
      let sums = file.tables[1]
      #expect(sums.rows == ["parts", "constant", "logit-diff"])
      #expect(abs((sums.mean("logit-diff") ?? .nan) - clean) < 1e-4)
      let whole = (sums.mean("parts") ?? .nan) + (sums.mean("constant") ?? .nan)
      #expect(abs(whole - clean) < 1e-4)
      if split != "accumulated" {
        let parts = file.tables[0].mean.reduce(0) { $0 + ($1 ?? .nan) }
        #expect(abs(parts - (sums.mean("parts") ?? .nan)) < 1e-4)
      }
      #expect(try names(in: out).contains("attribution-\(split).json"))
    }
    let text = try Program.analyze.succeed(
      "attribution", "--cache", shared.path, "--by", "neuron", "--top", "2", "--quiet"
    ).output
    #expect(text.contains("remainder") && text.contains("parts + constant = logit-diff"))
  }

  /// Prompts of several lengths: each counts where it has the place, and rows that lack an answer are
  /// named.
  @Test func raggedPromptsAndRoles() throws {
    let file = try read("lens", "--cache", shared.mixed, "--pos", "all")
    let lengths = file.prompts.map(\.tokens)
    #expect(
      lengths.count == 3
        && file.warnings == ["left out: 2 rows without an answer and a wrong answer"])
    #expect(
      file.tables[0].prompts == (0..<(lengths.max() ?? 0)).map { p in lengths.count { $0 > p } })
    let roles = try read("attribution", "--cache", shared.mixed, "--pos", "roles")
    #expect(
      roles.tables[0].columns == ["S", "subject", "END"] && roles.tables[0].prompts == [1, 1, 3])
    let attention = try read("attention", "--cache", shared.mixed, "--from", "END", "--to", "S,0")
    #expect(attention.tables[0].columns == ["END→S", "END→0"])
    #expect(attention.tables[0].prompts == [1, 5])
  }

  @Test func kindsOfHeads() throws {
    let out = folder.path("out")
    let file = try read("attention", "--cache", shared.path, "--out", out)
    #expect(
      file.tables[0].columns == ["previous_token_head", "duplicate_token_head", "induction_head"])
    #expect(file.tables[0].rows.count == TinyModel.layers * TinyModel.heads)
    #expect(file.tables[0].mean.allSatisfy { (0...1).contains($0 ?? .nan) })
    let T = SharedCache.positions
    var values = [Float](repeating: 0, count: T * T)
    for query in 1..<T { values[query * T + query - 1] = 1 }
    try folder.write("own.npy", npy(values, "\(T), \(T)"))
    let own = try read("attention", "--cache", shared.path, "--detect", folder.path("own.npy"))
    for row in file.tables[0].rows {
      #expect(own.tables[0].mean(row) == file.tables[0].mean(row))
    }
    values[1] = 1
    try folder.write("bad.npy", npy(values, "\(T), \(T)"))
    try Program.analyze.refuse(
      "attention", "--cache", shared.path, "--detect", folder.path("bad.npy"), status: 65,
      saying: ["above the diagonal"])
    try folder.write("short.npy", npy([1, 0, 0, 1], "2, 2"))
    try Program.analyze.refuse(
      "attention", "--cache", shared.path, "--detect", folder.path("short.npy"), status: 65,
      saying: ["no prompt has 2 tokens"])
    try Program.analyze.refuse(
      "attention", "--cache", shared.path, "--detect", "repeated", status: 65,
      saying: ["the same sequence again"])
  }

  /// Of two tokens nothing is left that counts: such a prompt would make every mean a NaN.
  @Test func promptsTooShortForWhatIsLeftOut() throws {
    func captured(_ name: String, _ text: String) throws -> String {
      let cache = folder.path(name)
      try Program.capture.succeed(
        "--model", shared.model, "--prompts", try folder.write("\(name).txt", text), "--out", cache,
        "--quiet")
      return cache
    }
    let options = ["--detect", "all", "--exclude-bos", "--exclude-current-token", "--quiet"]
    let (both, long) = (try captured("both", "a\nabcd\n"), try captured("long", "abcd\n"))
    let answers = try [both, long].map {
      try Program.analyze.run(["attention", "--cache", $0] + options)
    }
    #expect(answers.allSatisfy { $0.status == 0 })
    #expect(
      answers[0].output.contains("left out: 1 prompt of fewer than 3 tokens"), "\(answers[0])")
    #expect(answers[0].lines.contains { $0.hasPrefix("L") })
    #expect(
      answers[0].lines.filter { $0.hasPrefix("L") } == answers[1].lines.filter { $0.hasPrefix("L") }
    )
    let short = try Program.analyze.run(
      ["attention", "--cache", try captured("short", "a\n")] + options)
    #expect(short.status == 65 && short.sentence.contains("no prompt has 3 tokens or more"))
  }

  private func npy(_ values: [Float], _ shape: String) -> [UInt8] {
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(shape)), }"
    while (11 + header.count) % 64 != 0 { header += " " }
    header += "\n"
    let start: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    return start + [UInt8(header.count & 255), UInt8(header.count >> 8)] + Array(header.utf8)
      + values.withUnsafeBytes { Array($0) }
  }

  @Test func picturesOfPatterns() throws {
    let out = folder.path("out")
    let text = try Program.analyze.succeed(
      "attention", "--cache", shared.path, "--heads", "0.1,2.2", "--prompt", "1", "--out", out)
    #expect(text.output.contains("L2 H2  query × key") && text.output.contains("attends most to"))
    let svg = try Element(
      xml: try String(contentsOfFile: out + "/attention-1-L0H1.svg", encoding: .utf8))
    #expect(svg.all("text").contains { $0.text == "query" })
    #expect(exists(out + "/attention-1-L2H2.npy") && exists(out + "/attention-1.json"))
    try Program.analyze.refuse(
      "attention", "--cache", shared.path, "--heads", "3.0", "--prompt", "1", status: 64,
      saying: ["no head 3.0"])
  }

  private struct Statistics: Decodable {
    struct Hook: Decodable { let directionVariances: [Double] }
    struct Timing: Decodable { let readS: Double }

    let hooks: [Hook]
    let timing: Timing
  }

  /// The arrays are subspaces that a patch takes.
  @Test func principalDirectionsCanBePatched() throws {
    let out = folder.path("out")
    try Program.analyze.succeed(
      "stats", "--cache", shared.path, "--hooks", "resid_pre1", "--pca", "2", "--out", out,
      "--quiet")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let written = try decoder.decode(
      Statistics.self, from: Data(contentsOf: URL(fileURLWithPath: out + "/stats.json")))
    #expect(written.timing.readS > 0 && written.hooks.map(\.directionVariances.count) == [2])
    for (file, count) in [("pca", 2), ("mean", 1)] {
      let patched = try patch(
        shared.path, "--hooks", "resid_pre1", "--by", "direction", "--subspace",
        "\(out)/blocks.1.hook_resid_pre-\(file).npy")
      #expect(patched.sweeps[0].shape == [1, count])
    }
    let text = try Program.analyze.succeed(
      "stats", "--cache", shared.path, "--hooks", "z", "--head", "1", "--rows", "difference",
      "--quiet"
    ).output
    #expect(text.contains("blocks.2.attn.hook_z-head1"))
  }

  static let refused: [([String], Int32, String)] = [
    (["lens", "--pos", "99"], 64, "no pair has a position 99"),
    (["lens", "--pos", "S9"], 64, "no pair has a role S9"),
    (["lens", "--pos", "roles"], 64, "no pair names a role"),
    (["lens", "--prompt", "99"], 66, "no prompt 99"),
    (["attribution", "--by", "neuron", "--pos", "all"], 64, "one position or role"),
    (["stats", "--hooks", "pattern"], 64, "no rows of a fixed width"),
    (["stats", "--hooks", "resid_pre", "--head", "0"], 64, "no rows of a fixed width"),
    (["stats", "--hooks", "z", "--pca", "5"], 64, "5 principal directions"),
    (["attention", "--detect", "heads"], 64, "--detect takes"),
  ]

  @Test(arguments: refused)
  func whatCannotBeReadIsRefused(arguments: [String], status: Int32, words: String) throws {
    let answer = try Program.analyze.run(
      [arguments[0], "--cache", shared.path, "--quiet"] + arguments.dropFirst())
    #expect(answer.status == status && answer.output == "", "\(answer)")
    #expect(answer.sentence.contains(words), "\(answer)")
  }

  @Test func hooksThatAreNotThereAreNamed() throws {
    let cache = folder.path("cache")
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--quiet", "--hooks",
      "z")
    for command in ["lens", "attribution", "attention"] {
      try Program.analyze.refuse(
        command, "--cache", cache, "--quiet", status: 78, saying: ["does not hold", "blocks.0"])
    }
  }
}
