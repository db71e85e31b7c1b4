import Foundation
import Terminal
import TestSupport
import Testing

@testable import Analyze

/// `analyze report`, by the built program.
@Suite struct ReportTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// A page with its parts.
  private struct Page {
    let directory: String
    let text: String
    let body: Element

    init(_ directory: String) throws {
      self.directory = directory
      text = try String(contentsOfFile: "\(directory)/index.html", encoding: .utf8)
      let start = try #require(text.range(of: "<body>"))
      let end = try #require(text.range(of: "</body>"))
      body = try Element(xml: String(text[start.lowerBound..<end.upperBound]))
    }

    func section(_ id: String) throws -> Element {
      try #require(body.all("section").first { $0["id"] == id }, "no section \(id)")
    }

    func leftOut(_ id: String) throws -> [String] {
      try section(id).all("p").filter { $0.classes == ["leftout"] }.map(\.text)
    }

    /// The command lines of a part. The tests' own paths have no quotes.
    func commands(_ id: String) throws -> [[String]] {
      try section(id).all("code").flatMap { code in
        code.text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      }
    }

    /// The rows of all tables of a part.
    func rows(_ id: String) throws -> [[String]] {
      try section(id).all("tr").map { row in (row.all("th") + row.all("td")).map(\.text) }
    }
  }

  static let sections = [
    "task", "baselines", "attribution", "patching", "heads", "attention", "paths", "circuit",
    "glance",
  ]

  @discardableResult
  private func report(_ cache: String, _ arguments: String...) throws -> Page {
    let out = folder.path("report")
    let answer = try Program.analyze.run(
      ["report", "--cache", cache, "--out", out + "/", "--quiet"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    #expect(answer.output.isEmpty && answer.sentence.hasPrefix("wrote \(out)/index.html"))
    return try Page(out)
  }

  private func capture(_ prompts: String, model: String? = nil, _ more: String...) throws -> String
  {
    let cache = folder.path("cache")
    let answer = try Program.capture.run(
      [
        "--model", model ?? repositoryPath("examples/demo-model"), "--prompts", prompts, "--out",
        cache, "--quiet",
      ] + more)
    try #require(answer.status == 0, "\(answer)")
    return cache
  }

  private func demoCache() throws -> String {
    let rows = try String(
      contentsOfFile: repositoryPath("examples/ioi-roles.jsonl"), encoding: .utf8
    ).split(separator: "\n")
    return try capture(
      try folder.write("prompts.jsonl", rows.prefix(32).joined(separator: "\n") + "\n"))
  }

  /// What a command of the page prints with `--json` in place of its `--out`.
  private func json(_ command: [String]) throws -> [String: Any] {
    let out = try #require(command.firstIndex(of: "--out"))
    let arguments = Array(command[1..<out] + command[(out + 2)...])
    let answer = try Program.analyze.run(arguments + ["--json", "--quiet"])
    try #require(answer.status == 0, "\(answer)")
    let value = try JSONSerialization.jsonObject(with: Data(answer.output.utf8))
    return try #require(value as? [String: Any])
  }

  private func expectSound(_ page: Page, sourceLocation: SourceLocation = #_sourceLocation) {
    let rest = page.text.replacingOccurrences(of: "http://www.w3.org/2000/svg", with: "")
    for word in ["http:", "https:", "src=", "url(", "@import", "<link", "<img", "<script"] {
      #expect(!rest.contains(word), "\(word)", sourceLocation: sourceLocation)
    }
    #expect(page.text.contains("default-src 'none'"), sourceLocation: sourceLocation)
    let all = ["section", "h2", "title", "desc", "svg", "a"].flatMap { page.body.all($0) }
    let ids = all.compactMap { $0["id"] }
    #expect(Set(ids).count == ids.count, "\(ids)", sourceLocation: sourceLocation)
    for link in page.body.all("a") {
      let target = link["href"] ?? ""
      #expect(
        target.hasPrefix("#") && ids.contains(String(target.dropFirst())), "\(target)",
        sourceLocation: sourceLocation)
    }
    for label in page.body.all("svg").flatMap({ [$0["aria-labelledby"]] }).compactMap({ $0 }) {
      for id in label.split(separator: " ") {
        #expect(ids.contains(String(id)), "\(id)", sourceLocation: sourceLocation)
      }
    }
    #expect(
      page.body.all("section").compactMap { $0["id"] } == ReportTests.sections,
      sourceLocation: sourceLocation)
  }

  @Test func numbersAreThoseOfTheSingleCommands() throws {
    let page = try report(
      try demoCache(), "--circuit", repositoryPath("examples/demo-circuit.csv"), "--top", "4")
    expectSound(page)
    for id in ReportTests.sections { #expect(try page.leftOut(id).isEmpty) }

    // Sweeps of the stream, of heads and of paths.
    for (id, count) in [("patching", 1), ("heads", 1), ("paths", 3)] {
      let commands = try page.commands(id)
      #expect(commands.count == count)
      let rows = try page.rows(id)
      for command in commands {
        let file = try json(command)
        let sweeps = try #require(file["sweeps"] as? [[String: Any]])
        for sweep in sweeps {
          let effects = try #require(sweep["effect"] as? [Any]).compactMap { $0 as? Double }
          for effect in effects.filter({ $0 != 0 }).sorted(by: { abs($0) > abs($1) }).prefix(4) {
            #expect(rows.contains { $0.count == 5 && $0[1] == signed(effect, 4) }, "\(effect)")
          }
        }
      }
    }
    // Lens and attributions.
    let attribution = try page.commands("attribution")
    #expect(attribution.map { $0[1] } == ["lens", "attribution", "attribution"])
    for (number, command) in attribution.enumerated() {
      let tables = try #require(try json(command)["tables"] as? [[String: Any]])
      let (names, means) = (tables[0]["rows"] as? [String], tables[0]["mean"] as? [Double])
      let rows = try page.rows("attribution")
      let all = Array(zip(try #require(names), try #require(means)))
      let shown =
        number < 2 ? all : Array(all.dropLast().sorted { abs($0.1) > abs($1.1) }.prefix(4))
      for (name, mean) in shown {
        #expect(rows.contains { $0.prefix(2) == [name, signed(mean, 4)] }, "\(name) \(mean)")
      }
    }
    try expectBaselines(page)
    try expectGlance(page)
    try expectCircuit(page)
  }

  /// The table of the unpatched runs has the lens's last rows.
  private func expectBaselines(_ page: Page) throws {
    let rows = try page.rows("baselines")
    let commands = try page.commands("baselines")
    #expect(commands.count == 2)
    for (column, command) in commands.enumerated() {
      let tables = try #require(
        try json(command + ["--out", "none"])["tables"] as? [[String: Any]])
      let last = try tables.map { try #require(($0["mean"] as? [Double])?.last) }
      let mean = try #require(rows.first { $0[0] == "mean logit-diff" })
      #expect(mean[column + 1] == signed(last[0], 4))
      let probability = try #require(rows.first { $0[0] == "mean probability of right" })
      #expect(probability[column + 1] == fixed(last[1], 4))
    }
    let lines = try String(
      contentsOfFile: page.directory + "/baselines/baselines.csv", encoding: .utf8
    ).split(separator: "\n").map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    let clean = lines.filter { $0[2] == "logit-diff" }.compactMap { Double($0[3]) }
    #expect(clean.count == 32)
    let share = fixed(100 * Double(clean.count { $0 > 0 }) / 32, 1)
    #expect(rows.contains { $0.prefix(2) == ["right beats wrong", "\(share) %"] })
  }

  /// A row of the closing table has the head's numbers of all parts.
  private func expectGlance(_ page: Page) throws {
    let rows = try page.rows("glance")
    let head = try #require(rows.dropFirst().first { $0[0] == "2.3" })
    let names = rows[0]
    func column(_ name: String) throws -> String {
      head[try #require(names.firstIndex(of: name), "\(names)")]
    }
    func effect(_ command: [String]) throws -> Double {
      let sweeps = try #require(try json(command)["sweeps"] as? [[String: Any]])
      let effects = try #require(sweeps[0]["effect"] as? [Double])
      return effects[2 * 4 + 3]
    }
    #expect(try column("z") == signed(try effect(try page.commands("heads")[0]), 4))
    #expect(try column("path to logits") == signed(try effect(try page.commands("paths")[0]), 4))
    let detect = try #require(
      try json(try page.commands("attention")[1])["tables"] as? [[String: Any]])
    let scores = try #require(detect[0]["mean"] as? [Double])
    for (number, name) in ["previous token", "duplicate token", "induction"].enumerated() {
      #expect(try column(name) == fixed(scores[(2 * 4 + 3) * 3 + number], 4))
    }
    let copying = try #require(
      (try json(try page.commands("glance")[0])["scores"] as? [String: [Any]])?["copying"])
    #expect(try column("copying") == fixed(copying[2 * 4 + 3] as? Double ?? .nan, 4))
    // What is bold is among the largest.
    let bold = try page.section("glance").all("b").map(\.text)
    #expect(bold.contains(try column("z")))
    // The heads that are shown attend as the patterns say.
    let show = try page.commands("attention")[0]
    let patterns = try #require(try json(show)["heads"] as? [[String: Any]])
    let shown = try page.section("attention").all("svg").filter { $0.classes.contains("attention") }
    #expect(patterns.count == 4 && shown.count == 4)
    for (pattern, svg) in zip(patterns, shown) {
      let weights = try #require(pattern["pattern"] as? [[Double]])
      let drawn = svg.all("g").first { $0.classes == ["cells"] }?.all("rect").count
      // Pages have weights in units of their own.
      let units = Double(AttentionWeights.one)
      #expect(drawn == weights.joined().count { ($0 * units).rounded() / units >= 0.0005 })
    }
  }

  private func expectCircuit(_ page: Page) throws {
    let circuit = try json(try page.commands("circuit")[0])
    let section = try page.section("circuit")
    let tiles = section.all("dd").map(\.text)
    #expect(tiles[0] == signed(circuit["f_model"] as? Double ?? .nan, 4))
    #expect(tiles[1] == signed(circuit["f_circuit"] as? Double ?? .nan, 4))
    let minimality = try #require(circuit["minimality"] as? [[String: Any]])
    let rows = try page.rows("circuit")
    for test in minimality {
      let score = fixed(test["score"] as? Double ?? .nan, 4)
      #expect(rows.contains { $0[0] == test["head"] as? String && $0.contains(score) })
    }
    let sets = try #require(circuit["completeness"] as? [Any])
    #expect(section.all("circle").count == sets.count)
  }

  @Test func resultsStandBesideThePage() throws {
    let page = try report(shared.path)
    expectSound(page)
    let folders = [
      "attention", "attribution", "baselines", "heads", "index.html", "lens", "patching",
      "path-logits", "path-q", "path-v", "scores",
    ]
    #expect(try names(in: page.directory) == folders)
    for name in folders.dropLast(4) where name != "index.html" {
      #expect(page.text.contains("\(name)/"))
    }
    let listed = try Program.analyze.succeed("results", page.directory + "/heads")
    #expect(listed.output.contains("pattern"))
    let file = try JSONSerialization.jsonObject(
      with: contents(page.directory + "/patching/patch.json"))
    let recorded = try #require((file as? [String: Any])?["command"] as? [String])
    #expect(recorded == (try page.commands("patching")[0]))
    // Pairs of equal length without roles: positions.
    #expect(recorded.contains("pos") && page.text.contains("position by position"))
    #expect(try page.section("circuit").text.contains("--circuit FILE"))
    // No date and no time: the same page again.
    let again = try report(shared.path, "--force", "--threads", "1")
    func withoutCommand(_ text: String) -> [String] {
      text.split(separator: "\n").filter { !$0.contains("<dt>command</dt>") }.map(String.init)
    }
    #expect(withoutCommand(page.text) == withoutCommand(again.text))
    #expect(page.text != again.text)
  }

  @Test func aReportIsNotReplacedUnasked() throws {
    let out = folder.path("report")
    try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
    try Data("mine".utf8).write(to: URL(fileURLWithPath: out + "/index.html"))
    try Program.analyze.refuse(
      "report", "--cache", shared.path, "--out", out, status: 73, saying: ["--force", out])
    #expect(try names(in: out) == ["index.html"])
    // What an earlier report left of parts that this one has not is named, and stays.
    try FileManager.default.createDirectory(
      atPath: out + "/circuit", withIntermediateDirectories: false)
    let run = try Program.analyze.succeed(
      "report", "--cache", shared.path, "--out", out, "--force", "--title", "A <b> & c")
    #expect(run.errors.contains("not of this report: circuit in \(out)"))
    #expect(exists(out + "/circuit"))
    let page = try Page(out)
    #expect(page.body.all("h1").map(\.text) == ["A <b> & c"])
  }

  @Test func whatCannotBeDoneIsSaidBeforeTheWork() throws {
    let out = folder.path("report")
    let bad = try folder.write("c.csv", "layer,head\n1\n")
    try Program.analyze.refuse(
      "report", "--cache", shared.path, "--out", out, "--circuit", bad, status: 65,
      saying: ["line 2"])
    let other = try folder.write("d.csv", "layer,head\n7,0\n")
    try Program.analyze.refuse(
      "report", "--cache", shared.path, "--out", out, "--circuit", other, "--quiet", status: 64,
      saying: ["no head 7.0"])
    #expect(!exists(out + "/index.html"))
    try Program.analyze.refuse(
      "report", "--cache", folder.path("none"), "--out", out, status: 66, saying: ["none"])
    try Program.analyze.refuse(
      "report", "--cache", shared.path, "--out", out, "--model", shared.otherModel, status: 78,
      saying: ["sha256"])
    let file = try folder.write("file", "")
    try Program.analyze.refuse(
      "report", "--cache", shared.path, "--out", file, "--quiet", status: 73, saying: [file])
    try Program.analyze.refuse(
      "report", "--cache", shared.mixed, "--out", out, status: 65,
      saying: ["uneven", "--skip-unaligned"])
  }

  @Test func pairsOfDifferentLengthsAreSweptByRole() throws {
    let page = try report(shared.mixed, "--skip-unaligned", "--model", shared.model)
    expectSound(page)
    #expect(try page.commands("patching")[0].contains("role"))
    #expect(try page.section("patching").text.contains("Prompts differ in length"))
    // The model is named to the commands that take one.
    let lens = try json(try page.commands("attribution")[0])
    #expect((lens["tables"] as? [Any])?.count == 2)
    #expect(try page.commands("attribution")[0].contains(shared.model))
    _ = try json(try page.commands("attention")[1])
    #expect(page.text.contains("left out: 1 pair of unequal length"))
    // Without corrupted prompts and templates the circuit takes other means.
    let circuit = try folder.write("c.csv", "layer,head\n1,0\n")
    let tested = try report(shared.mixed, "--skip-unaligned", "--force", "--circuit", circuit)
    #expect(try tested.commands("circuit")[0].contains("mean-pos"))
    #expect(try tested.leftOut("circuit").isEmpty)
  }

  @Test func withoutPairsTheRestIsThere() throws {
    let prompts = try folder.write(
      "p.jsonl",
      #"{"clean": "abcd", "answer": "A", "wrong_answer": "B"}"# + "\n"
        + #"{"clean": "abcabc", "answer": "A", "wrong_answer": "C"}"# + "\n")
    let circuit = try folder.write("c.csv", "layer,head\n1,0\n")
    let page = try report(
      try capture(prompts, model: shared.model), "--circuit", circuit, "--direction", "noise")
    expectSound(page)
    for id in ["patching", "heads", "paths"] {
      #expect(try page.leftOut(id).contains { $0.contains("corrupted prompt") })
      #expect(try page.commands(id).isEmpty)
    }
    for id in ["baselines", "attribution", "attention", "circuit", "glance"] {
      #expect(try page.leftOut(id).isEmpty)
    }
    #expect(try page.commands("circuit")[0].contains("clean"))
    #expect(try page.commands("baselines").count == 1)
    let header = try page.rows("glance")[0]
    #expect(header.contains("attribution") && !header.contains("z"))
  }

  @Test func promptsAloneHaveAttention() throws {
    let prompts = try folder.write("p.txt", "abcd\nabcabc\n")
    let page = try report(try capture(prompts, model: shared.model))
    expectSound(page)
    for id in ["baselines", "attribution", "patching", "heads", "paths"] {
      #expect(try !page.leftOut(id).isEmpty)
    }
    #expect(try page.leftOut("attention").isEmpty)
    #expect(try page.section("attention").all("svg").count > 3)
    #expect(try names(in: page.directory) == ["attention", "index.html", "scores"])
  }

  @Test func missingHooksAreNamed() throws {
    let cache = try capture(
      shared.prompts, model: shared.model, "--hooks",
      "resid_pre,resid_post,q,k,v,attn_out,z,ln_final.hook_normalized")
    let page = try report(cache)
    expectSound(page)
    let notes = try page.section("patching").all("li").map(\.text)
    #expect(notes.contains { $0.hasPrefix("mlp_out: ") && $0.contains("blocks.0.hook_mlp_out") })
    #expect(try page.commands("patching")[0].contains("resid_pre,attn_out"))
    #expect(
      try page.section("heads").all("li").map(\.text).contains {
        $0.hasPrefix("pattern: ") && $0.contains("hook_pattern")
      })
    #expect(try page.leftOut("attention").allSatisfy { $0.contains("hook_pattern") })
    #expect(try page.leftOut("attribution").contains { $0.contains("resid_mid") })
    #expect(try page.leftOut("paths").isEmpty)
  }

  @Test func oneLayerIsEnough() throws {
    let model = folder.path("one")
    try TinyModel(layers: 1).write(to: model)
    let page = try report(try capture(shared.prompts, model: model))
    expectSound(page)
    #expect(try page.leftOut("paths").map { $0.contains("layer 0") } == [true])
    #expect(try page.commands("paths").count == 1)
  }

  @Test func hostileTextStaysText() throws {
    let model = folder.path(#"m <i>&"'"#)
    try HostileTokens.writeModel(to: model)
    let prompts = try folder.write("<u>.jsonl", HostileTokens.line + "\n")
    let cache = try capture(prompts, model: model)
    let page = try report(cache)
    expectSound(page)
    #expect(!page.text.contains("<!--") && !page.text.contains("<i>") && !page.text.contains("<u>"))
    #expect(!page.text.unicodeScalars.contains { $0 == "\u{202E}" || $0 == "\u{1}" })
  }
}
