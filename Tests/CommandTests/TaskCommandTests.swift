import CacheFormat
import Foundation
import TestSupport
import Testing

/// `analyze task`, by the demo model's tokenizer.
@Suite struct TaskCommandTests {
  private let model = repositoryPath("examples/demo-model")
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private func task(_ arguments: String...) throws -> Answer {
    let answer = try Program.analyze.run(["task"] + arguments + ["--model", model])
    try #require(answer.status == 0, "\(answer)")
    return answer
  }

  private func refuse(_ arguments: [String], status: Int32, saying words: [String]) throws {
    let answer = try Program.analyze.run(["task"] + arguments + ["--model", model])
    #expect(answer.status == status && answer.output == "", "\(answer)")
    for word in words { #expect(answer.sentence.contains(word), "no “\(word)” in: \(answer)") }
  }

  /// The rows of a .txt file.
  private func rows(_ path: String) throws -> [String] {
    try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
      .filter { !$0.hasPrefix("#") }
  }

  /// `PATCHBAY_WRITE_GOLDEN=1 swift test -c release --filter TaskCommandTests` writes them anew: every
  /// prompt file that was ever made by a seed is another one then.
  @Test(arguments: [
    ("ioi", ["ioi", "--count", "40", "--seed", "7"]),
    ("ioi-abc", ["ioi", "--count", "6", "--seed", "8", "--corrupt", "abc", "--templates", "3,14"]),
    ("induction", ["induction", "--count", "8", "--seed", "7"]),
  ])
  func filesAreTheSameEverywhere(name: String, arguments: [String]) throws {
    let path = repositoryPath("Tests/TasksTests/Golden/\(name).jsonl")
    let answer = try Program.analyze.run(["task"] + arguments + ["--model", model])
    #expect(answer.status == 0, "\(answer)")
    if ProcessInfo.processInfo.environment["PATCHBAY_WRITE_GOLDEN"] != nil {
      try Data(answer.output.utf8).write(to: URL(fileURLWithPath: path))
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == answer.output)
    let out = folder.path("out.jsonl")
    _ = try Program.analyze.run(["task"] + arguments + ["--model", model, "--out", out])
    #expect(try String(contentsOfFile: out, encoding: .utf8) == answer.output)
  }

  @Test(arguments: ["arena", "seed1"])
  func presetsAreTheExamples(preset: String) throws {
    let out = folder.path("\(preset).txt")
    let answer = try task("ioi", "--preset", preset, "--out", out)
    #expect(answer.lines[0] == "wrote \(out)")
    let expected = try rows(repositoryPath("examples/\(preset).txt"))
    #expect(try rows(out) == expected && !expected.isEmpty)
    #expect(try String(contentsOfFile: out, encoding: .utf8).hasPrefix("# analyze task ioi "))
  }

  /// What is made is captured and patched, and its roles are where capture looks for them.
  @Test func rolesGoThroughTheCache() throws {
    let (prompts, cache) = (folder.path("ioi.jsonl"), folder.path("cache"))
    _ = try task("ioi", "--count", "30", "--seed", "3", "--out", prompts)
    for more in [[], ["--no-bos"]] {
      let answer = try Program.capture.run(
        ["--model", model, "--prompts", prompts, "--out", cache, "--quiet"] + more)
      try #require(answer.status == 0, "\(answer)")
      let reader = try CacheReader(directory: cache)
      let texts = try reader.prompts()
      let pairs = try reader.pairs()
      #expect(pairs.count == 30 && Set(pairs.compactMap(\.template)).count == 30)
      for pair in pairs {
        let clean = texts[pair.clean]
        #expect(clean.tokens.count == texts[try #require(pair.corrupted)].tokens.count)
        let roles = try #require(pair.roles)
        #expect(roles.keys.sorted() == ["END", "IO", "S1", "S1+1", "S2"])
        #expect(clean.tokens[try #require(roles["IO"])] == pair.answer)
        #expect(clean.tokens[try #require(roles["S1"])] == pair.wrongAnswer)
        #expect(clean.tokens[try #require(roles["S2"])] == pair.wrongAnswer)
        let s1 = try #require(roles["S1"])
        #expect(roles["S1+1"] == s1 + 1)
        #expect(roles["END"] == clean.tokens.count - 1)
      }
      let patched = try Program.analyze.run([
        "patch", "--cache", cache, "--hooks", "resid_pre0", "--by", "role", "--json", "--quiet",
      ])
      #expect(patched.status == 0, "\(patched)")
      // In the order in which they stand on average; S1 and IO take turns.
      let orders = [
        #"["S1","IO","S1+1","S2","END"]"#, #"["IO","S1","S1+1","S2","END"]"#,
        #"["IO","S1+1","S1","S2","END"]"#, #"["S1","S1+1","IO","S2","END"]"#,
      ]
      #expect(orders.contains(where: patched.output.contains), "\(patched)")
      try FileManager.default.removeItem(atPath: cache)
    }
  }

  @Test func filesAreNotReplacedUnasked() throws {
    let out = try folder.write("mine.jsonl", "mine\n")
    try refuse(["ioi", "--out", out], status: 73, saying: ["\(out) is there already", "--force"])
    #expect(try String(contentsOfFile: out, encoding: .utf8) == "mine\n")
    _ = try task("ioi", "--count", "3", "--out", out, "--force")
    #expect(try String(contentsOfFile: out, encoding: .utf8).split(separator: "\n").count == 3)
    let directory = folder.path("d.jsonl")
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: false)
    try refuse(
      ["ioi", "--out", directory, "--force"], status: 73, saying: ["is not a plain file"])
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("l.jsonl"), withDestinationPath: folder.path("none"))
    try refuse(["ioi", "--out", folder.path("l.jsonl")], status: 73, saying: ["plain file"])
    try refuse(
      ["ioi", "--out", folder.path("no/x.jsonl")], status: 73, saying: ["there is no directory"])
  }

  @Test func whatATokenizerCannotDo() throws {
    try refuse(
      ["greater-than"], status: 65, saying: ["cannot say greater-than", "0 of 679 years"])
    try refuse(["docstring"], status: 65, saying: ["longer than the model's 64 tokens"])
    try refuse(
      ["induction", "--length", "600", "--repeated", "1"], status: 65,
      saying: ["of 1221 tokens are words", "there must be 601"])
    try refuse(["induction", "--length", "1"], status: 64, saying: ["--repeated 1 up to"])
    try refuse(["ioi", "--corrupt", "bogus"], status: 64, saying: ["\"bogus\"", "random-names"])
    try refuse(["ioi", "--templates", "15"], status: 64, saying: ["templates are 0 to 14"])
    try Program.analyze.refuse(
      "task", "ioi", "--model", folder.path("none"), status: 66, saying: ["there is no model"])
    let bytes = try TinyModel().write(to: folder.path("bytes"))
    try Program.analyze.refuse(
      "task", "ioi", "--model", bytes, status: 65,
      saying: ["0 of 186 names", "0 of 48 places", "needs 2"])
  }

  @Test func factsOfATable() throws {
    let csv = try folder.write(
      "facts.csv",
      "subject,relation,object\nQuillon Quist,{} lives in the city of,Brimley\n"
        + "Ferra Voss,{} lives in the city of,Mirelle\nOrvin,{} lives in the city of,New York\n")
    try refuse(
      ["facts", "--csv", csv], status: 65,
      saying: ["\(csv), line 4", "\" New York\"", "--skip-unusable"])
    let answer = try task("facts", "--csv", csv, "--skip-unusable")
    #expect(answer.lines.count == 2)
    #expect(answer.lines[0].contains(#""subject": "Quillon Quist""#))
    #expect(answer.lines[0].contains(#""corrupted": "Ferra Voss lives in the city of""#))
    #expect(answer.errors.contains("warning: left out: \(csv), line 4"))
    let none = try task("facts", "--csv", csv, "--skip-unusable", "--corrupt", "none")
    #expect(!none.output.contains("corrupted"))
    try refuse(
      ["facts", "--csv", folder.path("none.csv")], status: 66, saying: ["there is no file"])
    // A traced prompt needs its subject among the tokens.
    let prompts = try folder.write("facts.jsonl", none.output)
    try Program.capture.succeed(
      "--model", model, "--prompts", prompts, "--out", folder.path("cache"), "--quiet")
    #expect(
      try CacheReader(directory: folder.path("cache")).pairs().map(\.subject) == [
        [1, 3], [1, 3],
      ])
  }

  @Test func textFilesHoldWhatTheyCan() throws {
    let out = folder.path("x.txt")
    _ = try task("induction", "--count", "5", "--out", out)
    try Program.capture.succeed(
      "--model", model, "--prompts", out, "--out", folder.path("cache"), "--dry-run")
    #expect(try rows(out).count == 5 && rows(out).allSatisfy { $0.hasPrefix(" ") })
  }

  @Test func theListNamesEveryTaskAndCorruption() throws {
    let list = try Program.analyze.succeed("task", "--list")
    let help = try Program.analyze.succeed("task", "--help")
    for name in ["ioi", "greater-than", "docstring", "induction", "facts"] {
      #expect(list.lines.contains { $0.hasPrefix(name + " ") })
      #expect(help.lines.contains { $0.hasPrefix("  \(name) ") })
    }
    for name in ["s2", "names", "order", "abc", "random-names-order"] {
      #expect(list.lines.contains { $0.contains(" \(name) ") })
    }
  }
}
