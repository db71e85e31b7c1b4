import Foundation
import TestSupport
import Testing

/// `analyze hooks`
@Suite struct HooksTests {
  private let shared: SharedCache

  init() throws { shared = try SharedCache.made() }

  private func listed(_ arguments: String...) throws -> [[String]] {
    let answer = try Program.analyze.run(["hooks"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return answer.lines.map { line in
      line.split(separator: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
    }
  }

  @Test func allOfGPT2SmallWithoutAModel() throws {
    let rows = try listed()
    #expect(rows.count == 12 * 23 + 5)
    #expect(rows.count { $0.count == 3 } == 208)
    #expect(rows.first == ["hook_embed", "[T, D]", "[T, 768]"])
    #expect(rows.contains(["blocks.11.attn.hook_pattern", "[H, T, T_k]", "[12, T, T]"]))
    #expect(
      rows.contains(["blocks.5.attn.hook_result", "[T, H, D]", "[T, 12, 768]", "on request"]))
  }

  @Test func thoseOfAModelAreTheOnesThatCaptureTakes() throws {
    let rows = try listed("--model", shared.model)
    let defaults = rows.filter { $0.count == 3 }.map { $0[0] }
    let listing = try Program.cachedump.succeed("ls", "--hooks", shared.path).lines.dropFirst()
    #expect(defaults == listing.map { String($0.prefix { $0 != " " }) })
    #expect(rows.contains(["blocks.2.mlp.hook_pre", "[T, M]", "[T, 32]"]))
  }

  @Test(arguments: [
    (["z1"], ["blocks.1.attn.hook_z"]),
    (["blocks.0.*resid*"], ["pre", "mid", "post"].map { "blocks.0.hook_resid_\($0)" }),
    (["mlp_in-1", "hook_embed"], ["hook_embed", "blocks.2.hook_mlp_in"]),
    (["ln_final"], ["ln_final.hook_scale", "ln_final.hook_normalized"]),
    (["resid_m"], (0..<3).map { "blocks.\($0).hook_resid_mid" }),
  ])
  func aFilterIsAPatternOrAPartOfAName(patterns: [String], names: [String]) throws {
    let answer = try Program.analyze.run(["hooks", "--model", shared.model] + patterns)
    #expect(answer.status == 0)
    #expect(answer.lines.map { String($0.prefix { $0 != " " }) } == names)
  }

  @Test func aFilterThatMatchesNothing() throws {
    try Program.analyze.refuse(
      "hooks", "resid_prr", status: 64,
      saying: ["no hook point is called 'resid_prr'", "nearest: resid_pre"])
    try Program.analyze.refuse(
      "hooks", "--model", "/no/such", status: 66, saying: ["there is no model /no/such"])
  }
}

/// `analyze tokens`
@Suite struct TokensTests {
  private let shared: SharedCache

  init() throws { shared = try SharedCache.made() }

  private func tokens(
    _ arguments: String..., input: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> String {
    let answer = try Program.analyze.run(
      ["tokens", "--model", shared.model] + arguments, input: input)
    try #require(answer.status == 0, "\(answer)", sourceLocation: sourceLocation)
    return answer.output
  }

  @Test func textsAsTables() throws {
    #expect(
      try tokens("a b", "\u{7}")
        == "0  256  <|endoftext|>\n1   97  a\n2   32  ␣\n3   98  b\n\n"
        + "0  256  <|endoftext|>\n1    7  \\u{7}\n")
    #expect(try tokens("--no-bos", "A") == "0  65  A\n")
  }

  @Test func textsAsIDs() throws {
    #expect(try tokens("--json", "AB", "") == "[256,65,66]\n[256]\n")
    #expect(try tokens("--json", "--no-bos", "é") == "[195,169]\n")
    #expect(try tokens("--json", "--no-bos", "--", "--json") == "[45,45,106,115,111,110]\n")
    #expect(try tokens("--json", "--no-bos", "A<|endoftext|>B") == "[65,256,66]\n")
  }

  @Test func linesOfStandardInput() throws {
    #expect(try tokens("--json", "--no-bos", input: "A\n\nB \nC") == "[65]\n[]\n[66,32]\n[67]\n")
    #expect(try tokens("--json", input: "") == "")
    #expect(try tokens("--no-bos", input: "A\nB\n") == "0  65  A\n\n0  66  B\n")
    let long = String(repeating: "x", count: 200_000)
    #expect(try tokens("--json", "--no-bos", input: long).split(separator: ",").count == 200_000)
  }

  @Test func linesOfJSON() throws {
    #expect(
      try tokens("--json", "--no-bos", "--jsonl", input: "\"A\\nB\"\n\"\\u00e9\"\n")
        == "[65,10,66]\n[195,169]\n")
  }

  @Test func idsBackToText() throws {
    #expect(try tokens("--decode", input: "[256,65,195,169]\n[]\n") == "<|endoftext|>Aé\n\n")
    #expect(try tokens("--decode", "--json", input: "[65,10,34]\n") == "\"A\\n\\\"\"\n")
  }

  @Test(arguments: [
    (["--jsonl"], "\"A\"\nB\n", "line 2 of standard input is not a JSON string"),
    (["--decode"], "[1]\n[1.5]\n", "line 2 of standard input is not a JSON array of token ids"),
    (["--decode"], "[257]\n", "has the id 257, but the ids of this tokenizer are 0 to 256"),
    (["--decode"], "[-1]\n", "has the id -1"),
    (["--decode"], "[99999999999]\n", "not a JSON array"),
  ])
  func linesThatDoNotFit(arguments: [String], input: String, words: String) throws {
    let answer = try Program.analyze.run(
      ["tokens", "--model", shared.model] + arguments, input: input)
    #expect(answer.status == 65, "\(answer)")
    #expect(answer.sentence.hasPrefix("analyze: line ") && answer.sentence.contains(words))
  }

  @Test func aModelThatIsNotThere() throws {
    try Program.analyze.refuse(
      "tokens", "--model", "/no/such", "A", status: 66, saying: ["there is no model /no/such"])
  }
}
