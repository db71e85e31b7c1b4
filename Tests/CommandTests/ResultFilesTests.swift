import Foundation
import TestSupport
import Testing

/// The directory of `analyze patch --out`.
@Suite struct ResultFilesTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func names(in directory: String) throws -> Set<String> {
    Set(try FileManager.default.contentsOfDirectory(atPath: directory))
  }

  /// What is left where the files could not all be written is no result, and not one of two runs.
  @Test func aResultThatIsNotWrittenWholeIsNone() throws {
    let out = folder.path("out")
    func patch(_ hook: String) throws -> Answer {
      try Program.analyze.run(["patch", "--cache", shared.path, "--hooks", hook, "--out", out])
    }
    #expect(try patch("resid_pre").status == 0)
    // In the place of a file that the second run has to write.
    try FileManager.default.createDirectory(
      atPath: out + "/z.npy.new", withIntermediateDirectories: false)
    #expect(try patch("z").status != 0)
    try Program.analyze.refuse("results", out, status: 66, saying: ["there is no result"])
    try FileManager.default.removeItem(atPath: out + "/z.npy.new")
    #expect(try patch("z").status == 0)
    try Program.analyze.succeed("results", out)
  }

  @Test func nothingIsWrittenIntoACache() throws {
    let before = try names(in: shared.path)
    for arguments in [
      ["patch", "--hooks", "z"], ["ablate", "--hooks", "z"], ["lens"], ["attribution"], ["scores"],
    ] {
      let answer = try Program.analyze.run(
        arguments + ["--cache", shared.path, "--out", shared.path])
      #expect(answer.status == 73 && answer.errors.contains("is a cache"), "\(answer)")
    }
    #expect(try names(in: shared.path) == before)
  }

  /// Answers mostly occur in prompts, but need not.
  @Test func answersHaveTheirTexts() throws {
    let out = folder.path("out")
    try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "z", "--out", out)
    let page = try String(contentsOfFile: out + "/patch.html", encoding: .utf8)
    for text in ["A", "B", "Q", "R"] {
      #expect(page.contains("\"answer\":\"\(text)\"") || page.contains("\"wrong\":\"\(text)\""))
    }
    #expect(!page.contains("\"token "))
  }

  @Test func aListThatWasPatchedCanBePatchedAgain() throws {
    let list = try folder.write(
      "cells.csv",
      """
      group,hook,layer,head,pos,src
      both,z,2,0,-1,
      both,z,1,1,,
      one,resid_pre,1,,3,
      ,pattern,2,1,5,2
      ,mlp_out,0,,,
      """)
    let (out, again) = (folder.path("out"), folder.path("again"))
    func patch(_ list: String, _ out: String) throws -> PatchFile {
      try Program.analyze.succeed(
        "patch", "--cache", shared.path, "--cells", list, "--metric", "logit-diff,prob", "--out",
        out)
      let json = try Program.analyze.succeed(
        "patch", "--cache", shared.path, "--cells", list, "--json")
      return try json.patchFile()
    }
    let first = try patch(list, out)
    #expect(first.sweeps[0].labels["cell"]?.first == "both: z L2 H0 pos -1 + z L1 H1")
    let csv = try Program.analyze.succeed("results", out, "--csv", "--sort", "cell", "--top", "0")
    #expect(csv.output.hasPrefix("group,hook,layer,head,pos,src,neuron,cell,effect"))
    #expect(csv.lines.count == 1 + 2 * 5)
    let second = try patch(try folder.write("listed.csv", csv.output), again)
    #expect(second.sweeps[0].effect == first.sweeps[0].effect)
    #expect(second.sweeps[0].labels["cell"] == first.sweeps[0].labels["cell"])
    // A cell of one part says in cells.csv where it is.
    let rows = try String(contentsOfFile: out + "/cells.csv", encoding: .utf8)
    #expect(rows.contains("\nblocks.1.hook_resid_pre,1,,3,0,"))
    #expect(rows.contains("\nblocks.2.attn.hook_z+blocks.1.attn.hook_z,,,,0,"))
    // Two of three cells are of layers 1 and 2 alone.
    let filtered = try Program.analyze.succeed("results", out, "--layer", "1,2", "--csv")
    #expect(filtered.lines.count == 1 + 2 * 2)
  }

  @Test(arguments: [
    ["--verify=abc"], ["--verify=0"], ["--verify=-1"], ["--threads", "9223372036854775807"],
    ["--threads", "0"],
  ])
  func valuesThatCannotBe(arguments: [String]) throws {
    let answer = try Program.analyze.run(
      ["patch", "--cache", shared.path, "--hooks", "z"] + arguments)
    #expect(answer.status == 64 && answer.output.isEmpty, "\(answer)")
  }
}
