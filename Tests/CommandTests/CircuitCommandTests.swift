import Foundation
import TestSupport
import Testing

/// Path patching, circuits and scores, by the built programs.
@Suite struct CircuitCommandTests {
  let shared: SharedCache
  let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func json(_ arguments: String...) throws -> [String: Any] {
    let answer = try Program.analyze.run(arguments + ["--json", "--quiet"])
    try #require(answer.status == 0, "\(answer)")
    let value = try JSONSerialization.jsonObject(with: Data(answer.output.utf8))
    return try #require(value as? [String: Any])
  }

  private func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }

  @Test(arguments: ["through-mlps", "direct"])
  func pathsAreSweptVerifiedAndWritten(paths: String) throws {
    let out = folder.path("out")
    let answer = try Program.analyze.succeed(
      "path", "--cache", shared.path, "--receivers", "2.1,1.0", "--receivers", "2.2", "--input",
      "q,v", "--paths", paths, "--direction", "noise", "--verify", "20", "--out", out, "--quiet")
    let name = paths == "direct" ? "path-direct-q-v" : "path-q-v"
    #expect(answer.output.contains("\(name)-2.1-1.0  layer × head, to q, v of 2.1, 1.0"))
    #expect(answer.lines.filter { $0.hasSuffix("largest difference 0.0") }.count == 2)
    #expect(exists("\(out)/\(name)-2.1-1.0.svg") && exists("\(out)/\(name)-2.2-patched.npy"))
    // Rows of the two sweeps can be told apart.
    let cells = String(decoding: try contents(out + "/cells.csv"), as: UTF8.self)
    let hooks = cells.split(separator: "\n").dropFirst().map { String($0.prefix { $0 != "," }) }
    #expect(Set(hooks) == ["\(name)-2.1-1.0", "\(name)-2.2"])
    let file = try JSONSerialization.jsonObject(with: contents(out + "/patch.json"))
    let sweeps = try #require((file as? [String: Any])?["sweeps"] as? [[String: Any]])
    let path = try #require(sweeps[0]["path"] as? [String: Any])
    #expect(path["definition"] as? String == paths)
    #expect(path["receivers"] as? [String] == ["2.1", "1.0"] && path["senders"] == nil)
    #expect(path["inputs"] as? [String] == ["q", "v"])
    #expect(sweeps[0]["layers"] as? [Int] == [0, 1])
    // The result is read again; its cells are no list that could be patched.
    let listed = try Program.analyze.succeed("results", out)
    #expect(listed.output.contains("\(paths) to q, v of 2.1, 1.0"))
    try Program.analyze.refuse("results", out, "--csv", status: 64, saying: ["--json"])
    let other = folder.path("other")
    try Program.analyze.succeed(
      "path", "--cache", shared.path, "--receivers", "2.2", "--input", "q,v", "--paths", paths,
      "--out", other, "--quiet")
    let compared = try Program.analyze.succeed("results", out, other)
    #expect(compared.output.contains("direction: noise in A, denoise in B"))
  }

  @Test func pathsToTheLogitsAreThoseOfLastLayerPatches() throws {
    // A head of the last layer has no other path than that to the logits.
    let path = try json("path", "--cache", shared.path, "--to", "logits")
    let plain = try json("patch", "--cache", shared.path, "--hooks", "z2")
    func metric(_ file: [String: Any]) throws -> [Double] {
      let sweeps = try #require(file["sweeps"] as? [[String: Any]])
      return try #require(sweeps[0]["metric"] as? [Double])
    }
    let (all, last) = (try metric(path), try metric(plain))
    #expect(Array(all.suffix(last.count)) == last)
    // All heads of it together, as senders.
    let heads = last.indices.map { "2.\($0)" }.joined(separator: ",")
    let joint = try json("path", "--cache", shared.path, "--to", "logits", "--senders", heads)
    let whole = try json(
      "patch", "--cache", shared.path, "--hooks", "z2", "--by", "all", "--pos", "-1")
    #expect(try metric(joint) == (try metric(whole)))
  }

  @Test func pathsThatTheModelLacksAreRefused() throws {
    for (arguments, words) in [
      (["--receivers", "3.0", "--input", "q"], ["no head 3.0", "layers 0 to 2"]),
      (["--receivers", "0.0", "--input", "q"], ["no receiver"]),
      (["--senders", "2.0", "--input", "q"], ["no receiver"]),
    ] {
      let answer = try Program.analyze.run(["path", "--cache", shared.path] + arguments)
      #expect(answer.status == 64 && answer.output.isEmpty, "\(answer)")
      for word in words { #expect(answer.sentence.contains(word), "\(answer)") }
    }
  }

  private func demoCache() throws -> String {
    let rows = try text(repositoryPath("examples/ioi-roles.jsonl")).split(separator: "\n")
    let prompts = try folder.write(
      "prompts.jsonl", rows.prefix(32).joined(separator: "\n") + "\n")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts", prompts, "--out",
      folder.path("demo"), "--quiet")
    return folder.path("demo")
  }

  @Test func theDemoCircuitIsTested() throws {
    let cache = try demoCache()
    let out = folder.path("circuit")
    let answer = try Program.analyze.succeed(
      "circuit", "--cache", cache, "--circuit", repositoryPath("examples/demo-circuit.csv"),
      "--random", "2", "--greedy", "1", "--without", "2.0,2.3", "--verify", "40", "--out", out,
      "--quiet")
    #expect(answer.lines.last == "verified 80 runs by whole forward passes: largest difference 0.0")
    let file = try JSONSerialization.jsonObject(with: contents(out + "/circuit.json"))
    let circuit = try #require(file as? [String: Any])
    let (model, own) = (circuit["f_model"] as? Double ?? 0, circuit["f_circuit"] as? Double ?? 0)
    #expect(model > 5 && own / model > 0.75 && own / model < 1.25, "F(M) \(model), F(C) \(own)")
    let heads = try #require(circuit["minimality"] as? [[String: Any]])
    #expect(heads.compactMap { $0["head"] as? String } == ["2.0", "2.2", "2.3"])
    #expect(heads.allSatisfy { ($0["score"] as? Double ?? 0) > 0.1 })
    #expect(try text(out + "/minimality.csv").split(separator: "\n").count == heads.count + 1)
    let sets = try #require(circuit["completeness"] as? [[String: Any]])
    #expect(sets.contains { $0["name"] as? String == "2.0 2.3" })
    #expect(try text(out + "/completeness.csv").split(separator: "\n").count == sets.count + 1)
    let picture = try Element(xml: try text(out + "/completeness.svg"))
    #expect(picture.all("circle").count == sets.count)
  }

  @Test func circuitsInJSONAreTheSame() throws {
    let cache = try demoCache()
    let csv = try folder.write(
      "c.csv", "# a remark\nclass,layer,head,pos,k\na,2,0,END,\"1.3\"\n\nb,1,3,S2 S2+1,\n")
    let list = try folder.write(
      "c.json",
      #"{"heads": [{"class": "a", "layer": 2, "head": 0, "pos": ["END"], "k": ["1.3"]}, "#
        + #"{"class": "b", "layer": 1, "head": 3, "pos": ["S2", "S2+1"], "k": []}]}"#)
    let found = try [csv, list].map { path in
      let file = try json(
        "circuit", "--cache", cache, "--circuit", path, "--source", "mean-pos")
      return try JSONSerialization.data(
        withJSONObject: [file["minimality"], file["completeness"], file["f_circuit"]].map {
          $0 ?? "none"
        }, options: .sortedKeys)
    }
    #expect(found[0] == found[1])
  }

  static let badCircuits: [(name: String, text: String, status: Int32, words: [String])] = [
    ("c.csv", "", 65, ["no heads"]),
    ("c.csv", "layer,head\n", 65, ["no heads"]),
    ("c.csv", "class,head\na,1\n", 65, ["line 1", "layer and head"]),
    ("c.csv", "layer,head,place\n1,1,END\n", 65, ["line 1", "\"place\"", "class, layer"]),
    ("c.csv", "layer,head\n1\n", 65, ["line 2", "1 fields"]),
    ("c.csv", "layer,head\n1,-1\n", 65, ["line 2", "head \"-1\""]),
    ("c.csv", "layer,head\n99999999999999999999,0\n", 65, ["line 2", "layer"]),
    ("c.csv", "layer,head,k\n1,0,x\n", 65, ["line 2", "\"x\"", "no head"]),
    ("c.csv", "layer,head,k\n1,0,2.1\n", 65, ["2.1", "no other head"]),
    ("c.csv", "layer,head\n1,0\n1,0\n", 65, ["1.0 is there twice"]),
    ("c.csv", "layer,head\n7,0\n", 64, ["no head 7.0"]),
    ("c.csv", "layer,head,pos\n1,0,IO\n", 65, ["no position IO"]),
    ("c.json", "[", 65, ["not JSON"]),
    ("c.json", "{}", 65, ["heads"]),
    ("c.json", #"{"heads": [{"layer": 1}]}"#, 65, ["heads[0].head"]),
    ("c.json", #"{"heads": [{"layer": 1, "head": 0, "at": 1}]}"#, 65, ["heads[0].at"]),
    ("c.json", #"{"heads": [{"layer": -1, "head": 0}]}"#, 65, ["count from 0"]),
    ("c.json", #"{"heads": [{"layer": 1, "head": 0, "pos": [""]}]}"#, 65, ["heads[0]", "empty"]),
  ]

  @Test(arguments: CircuitCommandTests.badCircuits.indices)
  func badCircuitsAreNamed(number: Int) throws {
    let bad = CircuitCommandTests.badCircuits[number]
    let path = try folder.write(bad.name, bad.text)
    try Program.analyze.refuse(
      "circuit", "--cache", shared.path, "--circuit", path, "--source", "zero", status: bad.status,
      saying: bad.words)
  }

  @Test func whatACircuitNeedsIsSaid() throws {
    let circuit = try folder.write("c.csv", "layer,head\n1,0\n")
    try Program.analyze.refuse(
      "circuit", "--cache", shared.path, "--circuit", folder.path("none.csv"), status: 66,
      saying: ["none.csv"])
    try Program.analyze.refuse(
      "circuit", "--cache", shared.path, "--circuit", circuit, status: 65,
      saying: ["template", "mean-pos"])
    try Program.analyze.refuse(
      "circuit", "--cache", shared.path, "--circuit", circuit, "--source", "zero", "--without",
      "1.1", status: 64, saying: ["1.1", "no head of"])
    // The circuit of the paper is read, and does not fit this model.
    try Program.analyze.refuse(
      "circuit", "--cache", shared.path, "--circuit", repositoryPath("examples/ioi-circuit.csv"),
      status: 64, saying: ["no head 9.9"])
  }

  @Test func headsAreScored() throws {
    let model = repositoryPath("examples/demo-model")
    let words = try folder.write("words.txt", " Mary\n John\n\n Alice\n Mary\n")
    let out = folder.path("scores")
    let file = try json("scores", "--model", model, "--words", words, "--out", out)
    #expect((file["tokens"] as? [Int])?.count == 3 && file["shape"] as? [Int] == [4, 4])
    let scores = try #require(file["scores"] as? [String: [Any]])
    #expect(scores.keys.sorted() == ["copying", "negative", "ov", "qk"])
    #expect(scores["copying"]?.prefix(4).allSatisfy { $0 is NSNull } == true)
    let rows = try text(out + "/scores.csv").split(separator: "\n")
    #expect(rows.count == 17 && rows[0] == "layer,head,copying,negative,ov,qk")
    #expect(exists(out + "/qk.npy"))
    let bare = try Program.analyze.succeed("scores", "--model", model, "--quiet")
    #expect(bare.output.contains("ov: ") && !bare.output.contains("copying: "))
    let cached = try Program.analyze.succeed("scores", "--cache", shared.path, "--quiet")
    #expect(cached.output.contains("share of 8 tokens"))
    let bad = try folder.write("bad.txt", " Mary\n Maryish\n")
    try Program.analyze.refuse(
      "scores", "--model", model, "--words", bad, status: 65, saying: ["line 2", "tokens"])
    let empty = try folder.write("empty.txt", "\n")
    try Program.analyze.refuse(
      "scores", "--model", model, "--words", empty, status: 65, saying: ["no words"])
  }
}
