import Foundation
import TestSupport
import Testing

/// Roles, lists of cells, subspaces and ablations, by the built programs.
@Suite struct SweepCommandTests {
  let shared: SharedCache
  let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func json(_ arguments: String...) throws -> PatchFile {
    let answer = try Program.analyze.run(arguments + ["--json", "--quiet"])
    try #require(answer.status == 0, "\(answer)")
    return try answer.patchFile()
  }

  private func capture(_ lines: [String]) throws -> String {
    let prompts = try folder.write("prompts.jsonl", lines.joined(separator: "\n"))
    let cache = folder.path("cache")
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", prompts, "--out", cache, "--quiet")
    return cache
  }

  static let rows = [
    #"{"clean": "abcd", "corrupted": "abxd", "answer": "A", "wrong_answer": "B", "roles": {"S": 3}, "template": "t"}"#,
    #"{"clean": "abcdefgh", "corrupted": "xbcdefgh", "answer": "A", "wrong_answer": "B", "roles": {"S": 1, "O": 4}, "subject": "cd", "template": "t"}"#,
    #"{"clean": "abcf", "corrupted": "abxf", "answer": "C", "wrong_answer": "B", "roles": {"S": 3}, "template": "t"}"#,
  ]

  @Test func rolesStandWhereEachPairHasThem() throws {
    let cache = try capture(SweepCommandTests.rows)
    let out = folder.path("out")
    let file = try json(
      "patch", "--cache", cache, "--hooks", "resid_pre", "--by", "role", "--out", out, "--verify",
      "all")
    let sweep = file.sweeps[0]
    #expect(sweep.axes == ["layer", "role"] && sweep.shape == [3, 4])
    #expect(sweep.labels == ["role": ["S", "subject", "O", "END"]])
    #expect(Array(sweep.pairs.prefix(4)) == [3, 1, 1, 3])
    let rows = try String(contentsOfFile: out + "/cells.csv", encoding: .utf8).split(
      separator: "\n"
    )
    .dropFirst().map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    #expect(rows.count == 3 * 8)
    // Of layer 0: S of three pairs, subject and O of the second, END of three.
    #expect(rows.prefix(8).map { $0[3] } == ["3", "1", "3", "3", "4", "4", "8", "4"])
    #expect(rows.prefix(8).map { $0[12] } == ["S", "S", "S", "subject", "O", "END", "END", "END"])
    // The same cell by its position.
    let third = try json("patch", "--cache", cache, "--hooks", "resid_pre0", "--pos", "3")
    let byRole = try json("patch", "--cache", cache, "--hooks", "resid_pre0", "--pos", "S")
    #expect(third.sweeps[0].position == 3 && byRole.sweeps[0].role == "S")
    #expect(third.sweeps[0].metric != byRole.sweeps[0].metric, "the second pair's S is elsewhere")
    let page = try String(contentsOfFile: out + "/patch.html", encoding: .utf8)
    #expect(page.contains("L0 subject"))
  }

  /// Each head at each role is what the heads at that role are by themselves.
  @Test func headsAreSweptAtEveryRole() throws {
    let cache = try capture(SweepCommandTests.rows)
    let out = folder.path("out")
    let file = try json(
      "patch", "--cache", cache, "--hooks", "z", "--by", "head-role", "--out", out, "--verify",
      "all")
    let sweep = file.sweeps[0]
    let roles = ["S", "subject", "O", "END"]
    let heads = try #require(sweep.shape.last)
    #expect(sweep.axes == ["layer", "role", "head"] && sweep.shape == [3, 4, heads])
    #expect(sweep.labels == ["role": roles])
    for (number, role) in roles.enumerated() {
      let alone = try json("patch", "--cache", cache, "--hooks", "z", "--pos", role).sweeps[0]
      #expect(alone.shape == [3, heads])
      for layer in 0..<3 {
        for head in 0..<heads {
          let cell = (layer * roles.count + number) * heads + head
          #expect(sweep.effect[cell] == alone.effect[layer * heads + head], "\(role)")
        }
      }
    }
    let page = try String(contentsOfFile: out + "/patch.html", encoding: .utf8)
    #expect(page.contains(">L0 subject<") && page.contains(">L2 END<"))
    #expect(page.contains("layer, role"))
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "resid_pre", "--by", "head-role", status: 64,
      saying: ["resid_pre"])
  }

  @Test func listsOfCellsAreReadAndPatchedTogether() throws {
    let list = try folder.write(
      "cells.csv",
      """
      group,hook,layer,head,pos,src,neuron

      both, z,0,1,,,
      both,blocks.2.attn.hook_z,,2,END,,
      one,pattern,-2,0,5,3,
      n,mlp_post,1,,,,7
      s,resid_pre2,,,4,,
      """)
    let out = folder.path("list")
    let file = try json(
      "patch", "--cache", shared.path, "--cells", list, "--verify", "all", "--out", out)
    let sweep = file.sweeps[0]
    #expect(sweep.hook == "cells" && sweep.axes == ["cell"] && sweep.shape == [4])
    #expect(
      sweep.labels["cell"] == [
        "both: z L0 H1 + z L2 H2 END", "one: pattern L1 H0 pos 5 ← 3", "n: post L1 N7",
        "s: resid_pre L2 pos 4",
      ])
    let whole = try json("patch", "--cache", shared.path, "--hooks", "resid_pre2")
    #expect(sweep.metric[3] == whole.sweeps[0].metric[4])
    let neurons = try json(
      "patch", "--cache", shared.path, "--hooks", "mlp_post1", "--by", "neuron")
    #expect(sweep.metric[2] == neurons.sweeps[0].metric[7])
    let names = try FileManager.default.contentsOfDirectory(atPath: out)
    #expect(names.contains("cells.svg") && names.contains("cells.csv"))
  }

  /// An edge between two roles is another one in each pair.
  @Test func attendedPositionsMayBeRoles() throws {
    let cache = try capture(SweepCommandTests.rows)
    let list = try folder.write(
      "edges.csv", "hook,layer,head,pos,src\npattern,1,0,END,S\nattn_scores,2,1,-1,-2\n")
    let out = folder.path("edges")
    let file = try json("patch", "--cache", cache, "--cells", list, "--verify", "all", "--out", out)
    let sweep = file.sweeps[0]
    #expect(
      sweep.labels["cell"] == ["pattern L1 H0 END ← S", "attn_scores L2 H1 pos -1 ← -2"])
    let edges = try json(
      "patch", "--cache", cache, "--hooks", "pattern1", "--by", "head-dest-src", "--out",
      folder.path("all"))
    #expect(edges.sweeps[0].shape.count == 4)
    // The same runs, pair by pair, in which END and S have their own positions.
    func rows(_ name: String) throws -> [[String]] {
      try String(contentsOfFile: "\(folder.path(name))/cells.csv", encoding: .utf8)
        .split(separator: "\n").dropFirst().map {
          $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
    }
    let own = try rows("edges").filter { $0[0].hasSuffix("pattern") }
    let all = try rows("all")
    #expect(!own.isEmpty && own.allSatisfy { !$0[10].isEmpty })
    for row in own {
      let match = all.first { other in
        [0, 1, 2, 3, 4, 10].allSatisfy { other[$0] == row[$0] }
      }
      #expect(match?[7] == row[7], "\(row)")
    }
    // And they can be listed and patched again.
    let csv = try Program.analyze.succeed("results", out, "--csv", "--top", "0").output
    let again = try json("patch", "--cache", cache, "--cells", try folder.write("again.csv", csv))
    #expect(Set(again.sweeps[0].metric) == Set(sweep.metric))
  }

  /// What `analyze results --csv` lists can be patched again.
  @Test func listedResultsAreListsOfCells() throws {
    let cache = try capture(SweepCommandTests.rows)
    for arguments in [
      ["--hooks", "pattern", "--by", "head-dest-src"], ["--hooks", "z", "--pos", "S"],
    ] {
      let out = folder.path("first")
      let answer = try Program.analyze.run(
        ["patch", "--cache", cache, "--quiet", "--out", out, "--top", "0"] + arguments)
      try #require(answer.status == 0, "\(answer)")
      let csv = try Program.analyze.succeed("results", out, "--csv", "--top", "5").output
      let listed = try json("patch", "--cache", cache, "--cells", try folder.write("top.csv", csv))
      let effects = csv.split(separator: "\n").dropFirst().map { line in
        line.split(separator: ",", omittingEmptySubsequences: false).compactMap { Double($0) }
      }
      #expect(listed.sweeps[0].effect.count == 5 && effects.count == 5)
      for (effect, fields) in zip(listed.sweeps[0].effect, effects) {
        #expect(fields.contains { $0 == effect })
      }
    }
    let out = folder.path("list")
    try Program.analyze.succeed(
      "patch", "--cache", cache, "--quiet", "--out", out, "--hooks", "mlp_out", "--window", "2")
    try Program.analyze.refuse("results", out, "--csv", status: 64, saying: ["--json"])
  }

  static let badLists: [(String, Int, String)] = [
    ("", 65, "there are no cells"), ("hook\n", 65, "there are no cells"),
    ("layer,head\n1,2\n", 65, "hook among them"), ("hook,hook\nz,z\n", 65, "each once"),
    ("hook,heat\nz,1\n", 65, "unknown column \"heat\""), ("hook,head\nz0\n", 65, "1 field where"),
    ("hook,head\nz,1\n", 65, "z is a hook of several layers"),
    ("hook,layer\nz,7\n", 65, "there is no z in layer 7"),
    ("hook,layer\nz0,1\n", 65, "there is no z0 in layer 1"),
    ("hook,head\nz0,x\n", 65, "head \"x\" is not a whole number"),
    ("hook,head\nz0,99999999999999999999\n", 65, "is not a whole number"),
    ("hook\nzz0\n", 65, "line 2"), ("hook,head\nz0,3\n", 65, "head 3 of 3"),
    ("hook,neuron\nmlp_post0,-1\n", 65, "neuron -1"),
    ("hook,src\npattern0,-99\n", 64, "no pair has a position -99"),
    ("hook,src\npattern0,S9\n", 64, "no pair has a role S9"),
    ("hook,head\nresid_pre0,1\n", 65, "bad.csv, line 2: hook_resid_pre has no heads"),
    ("hook,pos\nz0,11\n", 64, "no pair has a position 11"),
    ("hook,pos\nz0,S9\n", 64, "no pair has a role S9"),
  ]

  @Test(arguments: badLists)
  func listsThatCannotBe(text: String, status: Int, words: String) throws {
    let list = try folder.write("bad.csv", text)
    let answer = try Program.analyze.run(["patch", "--cache", shared.path, "--cells", list])
    #expect(answer.status.map(Int.init) == status, "\(answer)")
    #expect(answer.output == "" && answer.sentence.contains(words), "\(answer)")
  }

  /// Version 1.0 of numpy's format.
  private func npy(_ values: [Float], shape: String, descr: String = "<f4") -> Data {
    var header = "{'descr': '\(descr)', 'fortran_order': False, 'shape': (\(shape)), }"
    while (11 + header.count) % 64 != 0 { header += " " }
    header += "\n"
    var data = Data([0x93] + Array("NUMPY".utf8) + [1, 0])
    data += [UInt8(header.count & 255), UInt8(header.count >> 8)] + Array(header.utf8)
    for value in values {
      if descr == "<f8" {
        withUnsafeBytes(of: Double(value).bitPattern.littleEndian) { data += $0 }
      } else {
        withUnsafeBytes(of: value.bitPattern.littleEndian) { data += $0 }
      }
    }
    return data
  }

  private func write(_ data: Data) throws -> String {
    let path = folder.path("directions.npy")
    try data.write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test func directionsAndSubspacesFromFiles() throws {
    let width = TinyModel.width
    let values = (0..<2 * width).map { Float(($0 * 7) % 11) - 5 }
    let path = try write(npy(values, shape: "2, \(width)"))
    let single = try json(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--by", "direction", "--subspace",
      path, "--verify", "all")
    #expect(single.sweeps[0].axes == ["layer", "direction"] && single.sweeps[0].shape == [3, 2])
    #expect(single.sweeps[0].effect.contains { abs($0 ?? 0) > 1e-3 })
    let both = try json(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--subspace", path, "--by", "all",
      "--verify", "all")
    #expect(both.sweeps[0].shape == [3])
    // The same in float64, and a single row as a vector.
    let wide = try write(npy(values, shape: "2, \(width)", descr: "<f8"))
    let again = try json(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--subspace", wide, "--by", "all")
    #expect(again.sweeps[0].metric == both.sweeps[0].metric)
    let first = try write(npy(Array(values.prefix(width)), shape: "\(width),"))
    let one = try json(
      "patch", "--cache", shared.path, "--hooks", "resid_pre", "--subspace", first, "--by", "all")
    #expect(one.sweeps[0].metric == [0, 2, 4].map { single.sweeps[0].metric[$0] })
  }

  @Test func filesOfDirectionsThatCannotBe() throws {
    let width = TinyModel.width
    let good = npy(Array(repeating: 1, count: width), shape: "\(width),")
    var files: [(Data, String)] = [
      (Data("no".utf8), "not an .npy file"),
      (npy([1, 2], shape: "2,"), "rows of 2 values where a row has \(width)"),
      (npy([1], shape: ""), "not of shape"), (npy([1], shape: "1, 1, 1"), "not of shape"),
      (npy([], shape: "0, \(width)"), "not of shape"),
      (npy([1], shape: "9223372036854775807, 9223372036854775807"), "not as many values"),
      (npy([1], shape: "99999999999999999999"), "not of shape"),
      (npy([1, 2], shape: "2,", descr: "<i8"), "float32 or float64"),
      (npy(Array(repeating: 0, count: width), shape: "\(width),"), "zero or not finite"),
      (good + Data([0]), "not as many values"),
    ]
    for length in stride(from: 0, to: good.count, by: 7) {
      files.append((Data(good.prefix(length)), ""))
    }
    for (data, words) in files {
      let path = try write(data)
      let answer = try Program.analyze.run([
        "patch", "--cache", shared.path, "--hooks", "resid_pre", "--subspace", path,
      ])
      #expect(answer.status == 65, "\(data.count) bytes: \(answer)")
      #expect(words.isEmpty || answer.sentence.contains(words), "\(answer)")
    }
  }

  @Test func groupsOfHooksAreTheirSweeps() throws {
    let blocks = try json("patch", "--cache", shared.path, "--hooks", "block_every")
    #expect(blocks.sweeps.map(\.hook) == ["resid_pre", "attn_out", "mlp_out"])
    let heads = try json("patch", "--cache", shared.path, "--hooks", "head_every", "--by", "head")
    #expect(heads.sweeps.map(\.hook) == ["z", "q", "k", "v", "pattern"])
    #expect(heads.sweeps.allSatisfy { $0.axes == ["layer", "head"] && $0.gflop > 0 })
    #expect(abs(heads.sweeps.reduce(0) { $0 + $1.gflop } - heads.timing.gflop) < 1e-9)
    #expect(heads.timing.kernel == heads.kernel && heads.timing.loadS >= 0)
  }

  @Test(arguments: ["zero", "mean", "mean-pos", "mean-template", "noise"])
  func everyAblationIsTheSameByBruteForce(source: String) throws {
    let cache = try capture(SweepCommandTests.rows)
    let file = try json(
      "ablate", "--cache", cache, "--hooks", "z,mlp_out", "--source", source, "--verify", "all",
      "--metric", "logit-diff,kl", "--out", folder.path("out"))
    #expect(file.direction == "ablate" && file.normalisation == "ablated - clean, mean difference")
    #expect(file.baselines.corrupted == nil && file.pairs.allSatisfy { $0.corrupted == nil })
    let clean = try #require(file.baselines.clean)
    for (effect, metric) in zip(file.sweeps[0].effect, file.sweeps[0].metric) {
      #expect(abs((effect ?? .nan) - ((metric ?? .nan) - clean)) < 1e-6)
    }
    #expect(file.sweeps[0].effect.contains { abs($0 ?? 0) > 1e-4 })
    let page = try String(contentsOfFile: folder.path("out/patch.html"), encoding: .utf8)
    #expect(!page.contains("<dt>corrupted</dt>") && page.contains("ablated - clean"))
    #expect(
      page.contains("<h1>Ablation: logit-diff, kl</h1>") && !page.contains("Activation patching"))
  }

  /// What a metric does not read need not be there.
  @Test func ablationTakesPromptsAlone() throws {
    let cache = try capture([#"{"clean": "abcd"}"#, #"{"clean": "abcdef", "answer": "A"}"#])
    let kl = try json("ablate", "--cache", cache, "--hooks", "z", "--metric", "kl")
    #expect(kl.pairs.count == 2 && kl.warnings.isEmpty)
    let loss = try json("ablate", "--cache", cache, "--hooks", "z", "--metric", "kl,loss")
    #expect(loss.pairs.count == 1 && loss.warnings == ["left out: 1 row without an answer"])
    try Program.analyze.refuse(
      "ablate", "--cache", cache, "--hooks", "z", status: 65,
      saying: ["none of the 2 rows", "an answer and a wrong answer"])
    try Program.analyze.refuse(
      "ablate", "--cache", cache, "--hooks", "z", "--metric", "kl", "--mean-over", "corrupted",
      status: 65, saying: ["none of the 2 rows", "a corrupted prompt"])
    try Program.analyze.refuse(
      "ablate", "--cache", cache, "--hooks", "z", "--metric", "kl", "--source", "mean-template",
      status: 65, saying: ["template"])
  }

  @Test func noiseHasASeed() throws {
    func effects(_ seed: String, _ scale: String) throws -> [Double?] {
      try json(
        "ablate", "--cache", shared.path, "--hooks", "embed", "--source", "noise", "--seed", seed,
        "--noise-scale", scale
      ).sweeps[0].effect
    }
    let first = try effects("1", "3")
    #expect(try effects("1", "3") == first)
    #expect(try effects("2", "3") != first)
    #expect(try effects("1", "1") != first)
    #expect(try effects("1", "0").allSatisfy { $0 == 0 })
  }
}
