import CacheFormat
import Foundation
import TestSupport
import Testing

/// `cachedump` on sound caches.
@Suite struct CacheDumpTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory
  private let reader: CacheReader

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
    reader = try CacheReader(directory: shared.path)
  }

  private func values(_ hook: String, prompt: Int) throws -> [Float] {
    try reader.read(hook: try #require(reader.hookIndex(hook)), prompt: prompt)
  }

  @Test func theSummaryNamesModelPromptsAndHooks() throws {
    let answer = try Program.cachedump.succeed(shared.path)
    let plan = reader.plan
    #expect(answer.lines.first == "\(shared.path)  complete")
    for fact in [
      "7, 77 tokens, 4 rows", shared.prompts, String(plan.promptFileDigest.prefix(12)),
      shared.model, String(plan.model.weightsDigest.prefix(12)), "BOS prepended",
      "3 layers, 3 heads of 8, width 24, MLP 32, vocabulary 257, context 32",
      "55 hooks, f32: 388 kB raw", "all there in full size", "format 5, store compact", plan.kernel,
    ] {
      #expect(answer.output.contains(fact), "no “\(fact)” in \(answer)")
    }
    #expect(answer.lines.contains { $0.hasPrefix("blocks.*.attn.hook_pattern") })
    #expect(!answer.output.contains("\u{1B}"))
    #expect(try Program.cachedump.succeed("summary", shared.path + "/").output == answer.output)
  }

  private struct Summary: Decodable {
    struct Hook: Decodable {
      let name: String
      let rawBytes, storedBytes: Int
      let encodings: [String: Int]
    }
    struct Model: Decodable {
      let name, weightsDigest, tokenizerDigest: String
      let layers, heads, width, headWidth, mlpWidth, vocabulary, contextLength: Int
    }
    let directory, tool, weights, kernel, planDigest, store, elementType: String
    let model: Model
    let prompts, plannedPrompts, pairs, tokens, segments: Int
    let rawBytes, storedBytes, segmentFileBytes: Int
    let isComplete: Bool
    let problems: [String]
    let hooks: [Hook]
  }

  @Test func theSummaryAsJSON() throws {
    let answer = try Program.cachedump.succeed(shared.path, "--json")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let summary = try decoder.decode(Summary.self, from: Data(answer.output.utf8))
    #expect(summary.isComplete && summary.problems.isEmpty)
    #expect(summary.prompts == 7 && summary.plannedPrompts == 7 && summary.pairs == 4)
    #expect(summary.tokens == 77 && summary.segments == 1)
    #expect(summary.hooks.map(\.name) == reader.plan.hooks.map(\.name))
    #expect(summary.rawBytes == summary.hooks.reduce(0) { $0 + $1.rawBytes })
    #expect(summary.storedBytes == summary.hooks.reduce(0) { $0 + $1.storedBytes })
    #expect(summary.hooks.allSatisfy { $0.encodings.values.reduce(0, +) == 7 })
    #expect(summary.planDigest == reader.planDigest)
    #expect(summary.model.weightsDigest == reader.plan.model.weightsDigest)
    #expect(
      summary.segmentFileBytes == (try contents("\(shared.path)/segment-000000.pbs")).count)
  }

  private struct Listing: Decodable {
    struct Hook: Decodable {
      let name: String
    }
    struct Prompt: Decodable {
      let prompt: Int
      let captured: Bool
      let text: String
      let tokens: [Int32]
      let pieces: [String]
    }
    let hooks: [Hook]?
    let prompts: [Prompt]?
  }

  @Test func lsListsHooksAndPrompts() throws {
    let both = try Program.cachedump.succeed("ls", shared.path).lines
    let hooks = try Program.cachedump.succeed("ls", shared.path, "--hooks").lines
    let prompts = try Program.cachedump.succeed("ls", shared.path, "--prompts").lines
    #expect(both == hooks + prompts)
    #expect(hooks.count == 1 + TinyModel.hookCount)
    #expect(prompts.count == 1 + SharedCache.promptCount)
    #expect(
      hooks.dropFirst().map { $0.prefix { $0 != " " } } == reader.plan.hooks.map { $0.name[...] })
    #expect(hooks.contains { $0.contains("[3, T, T]") })
    #expect(prompts[1].hasSuffix("ab cd ef g"))

    let listing = try Program.cachedump.succeed("ls", shared.path, "--json").json(Listing.self)
    #expect(listing.hooks?.map(\.name) == reader.plan.hooks.map(\.name))
    #expect(listing.prompts?.map(\.text) == (try reader.prompts().map(\.text)))
    #expect(listing.prompts?.map(\.tokens) == (try reader.prompts().map(\.tokens)))
    #expect(listing.prompts?.map(\.pieces) == (try reader.prompts().map(\.pieces)))
    #expect(listing.prompts?.allSatisfy(\.captured) == true)
    let one = try Program.cachedump.succeed("ls", shared.path, "--prompts", "--json")
      .json(Listing.self)
    #expect(one.hooks == nil && one.prompts?.count == 7)
  }

  private struct Shown: Decodable {
    let prompt: Int
    let hook: String
    let position: Int?
    let head: Int?
    let shape: [Int]
    let values: [Float]
  }

  @Test func showPrintsTheValuesOfTheCache() throws {
    let shown = try Program.cachedump.succeed(
      "show", shared.path, "--prompt", "2", "--hook", "z1,resid_pre0", "--json"
    ).json([Shown].self)
    #expect(shown.map(\.hook) == ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z"])
    #expect(shown.map(\.shape) == [[11, 24], [11, 3, 8]])
    for array in shown { #expect(try array.values == values(array.hook, prompt: 2)) }

    // Masked scores are minus infinity, and that can be said in JSON too.
    let scores = try Program.cachedump.succeed(
      "show", shared.path, "--prompt", "0", "--hook", "attn_logits2", "--pos", "-10", "--json"
    ).json([Shown].self)[0]
    #expect(scores.shape == [3, 1, 11] && scores.position == 1)
    #expect(scores.values.count { $0 == -.infinity } == 3 * 9)

    // Of one head: [H, T, T] and [T, H, K].
    let head = try Program.cachedump.succeed(
      "show", shared.path, "--prompt", "2", "--hook", "z1,pattern1", "--head", "2", "--json"
    ).json([Shown].self)
    #expect(head.map(\.head) == [2, 2] && head.map(\.shape) == [[1, 11, 11], [11, 1, 8]])
    let z = try values("blocks.1.attn.hook_z", prompt: 2)
    let ofHead: [Float] = (0..<11).flatMap { position in
      let first = (position * 3 + 2) * 8
      return Array(z[first..<first + 8])
    }
    #expect(head[1].values == ofHead)
    let pattern = try values("blocks.1.attn.hook_pattern", prompt: 2)
    let last: [Float] = Array(pattern.dropFirst(2 * 121))
    #expect(head[0].values == last)
  }

  @Test func showIsReadable() throws {
    let answer = try Program.cachedump.succeed(
      "show", shared.path, "--prompt", "0", "--hook", "blocks.0.hook_resid_pre")
    let lines = answer.lines
    #expect(lines[0].hasPrefix("hook") && lines[0].contains("norm"))
    #expect(lines[1].hasPrefix("blocks.0.hook_resid_pre  [11, 24]"))
    #expect(lines.count == 2 + SharedCache.positions)
    #expect(lines[2].contains("<|endoftext|>"))
    #expect(lines[5].contains("3 ␣"))
    let several = try Program.cachedump.succeed(
      "show", shared.path, "--prompt", "0", "--hooks", "resid_pre,resid_mid")
    #expect(several.lines.count == 1 + 6)
  }

  @Test(arguments: [
    (["--prompt", "7", "--hook", "z0"], Int32(66), "prompts 0 to 6 of 7 are there"),
    (["--prompt", "-1", "--hook", "z0"], 66, "no prompt -1"),
    (["--prompt", "0", "--hook", "resid_prr"], 64, "nearest: resid_pre"),
    (["--prompt", "0", "--hook", "result0"], 64, "holds no hook called 'result0'"),
    (["--prompt", "0", "--hook", "z3"], 64, "layer 3 of a model with 3 layers"),
    (["--prompt", "0", "--hook", ""], 64, "empty entry"),
    (["--prompt", "0", "--hook", "z0", "--pos", "11"], 64, "positions 0 to 10, no position 11"),
    (["--prompt", "0", "--hook", "z0", "--head", "3"], 64, "heads 0 to 2, no head 3"),
    (["--prompt", "0", "--hook", "z0", "--head", "-1"], 64, "no head -1"),
    (["--prompt", "0", "--hook", "mlp_out0", "--head", "0"], 64, "has no heads"),
  ])
  func showRefusesWhatIsNotThere(arguments: [String], status: Int32, words: String) throws {
    let answer = try Program.cachedump.run(["show", shared.path] + arguments)
    #expect(answer.status == status, "\(answer)")
    #expect(answer.output == "")
    #expect(answer.errors.hasPrefix("cachedump: "))
    #expect(answer.sentence.contains(words), "\(answer)")
  }

  @Test func exportOfOnePromptToSafetensors() throws {
    let out = folder.path("one.safetensors")
    try Program.cachedump.succeed("export", shared.path, "--prompt", "1", "--out", out)
    try Program.cachedump.refuse(
      "export", shared.path, "--prompt", "1", "--out", out, status: 73,
      saying: ["\(out) is there already", "--force"])
    try Program.cachedump.succeed("export", shared.path, "--prompt", "1", "--out", out, "--force")
    let arrays = try ReferenceArrays(path: out)
    #expect(arrays.names == reader.plan.hooks.map(\.name).sorted())
    for name in arrays.names { #expect(try arrays.floats(name) == values(name, prompt: 1)) }
    #expect(try arrays.shape("hook_embed") == [11, 24])
    #expect(try arrays.shape("blocks.1.attn.hook_pattern") == [3, 11, 11])
    #expect(try arrays.shape("blocks.1.attn.hook_z") == [11, 3, 8])
    #expect(try arrays.shape("ln_final.hook_scale") == [11, 1])
    #expect(try names(in: folder.path) == ["one.safetensors"])
  }

  @Test func exportOfAllPrompts() throws {
    let out = folder.path("all")
    let answer = try Program.cachedump.succeed(
      "export", shared.path, "--hooks", "resid_post,z0", "--out", out)
    #expect(answer.errors.contains("exporting 7/7 prompts"))
    #expect(
      try names(in: out) == (0..<7).map { "prompt-00000\($0).safetensors" })
    let arrays = try ReferenceArrays(path: "\(out)/prompt-000006.safetensors")
    #expect(
      arrays.names == ["blocks.0.attn.hook_z"] + (0..<3).map { "blocks.\($0).hook_resid_post" })
    #expect(
      try arrays.floats("blocks.2.hook_resid_post") == values("blocks.2.hook_resid_post", prompt: 6)
    )
  }

  @Test func exportToNumpy() throws {
    let out = folder.path("numpy")
    try Program.cachedump.succeed(
      "export", shared.path, "--hooks", "pattern0,resid_pre1", "--out", out, "--format", "npy",
      "--quiet")
    #expect(try names(in: out) == (0..<7).map { "prompt-00000\($0)" })
    #expect(
      try names(in: "\(out)/prompt-000003")
        == ["blocks.0.attn.hook_pattern.npy", "blocks.1.hook_resid_pre.npy"])
    let file = try contents("\(out)/prompt-000003/blocks.0.attn.hook_pattern.npy")
    #expect(file.starts(with: [0x93] + Array("NUMPY".utf8) + [1, 0]))
    let length = Int(file[8]) + Int(file[9]) << 8
    let header = String(decoding: file[10..<(10 + length)], as: UTF8.self)
    #expect(header.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 11, 11,), }"))
    #expect((10 + length) % 64 == 0)
    let expected = try values("blocks.0.attn.hook_pattern", prompt: 3)
    #expect(file.dropFirst(10 + length) == expected.withUnsafeBytes { Data($0) })
    let one = folder.path("one")
    try Program.cachedump.succeed(
      "export", shared.path, "--prompt", "3", "--out", one, "--format", "npy")
    #expect(try names(in: one).count == TinyModel.hookCount)
    try Program.cachedump.refuse(
      "export", shared.path, "--out", one, "--format", "npy", status: 73,
      saying: ["\(one) is there already"])
    try Program.cachedump.refuse(
      "export", shared.path, "--out", shared.path, "--force", status: 73, saying: ["is a cache"])
  }

  @Test func exportRefusesWhatIsInTheWay() throws {
    let file = try folder.write("file", "mine")
    try Program.cachedump.refuse(
      "export", shared.path, "--out", file, status: 73, saying: ["\(file) is not a directory"])
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "mine")
    try Program.cachedump.refuse(
      "export", shared.path, "--prompt", "0", "--out", folder.path, status: 73,
      saying: ["\(folder.path) is a directory", "name a file"])
    try Program.cachedump.refuse(
      "export", shared.path, "--prompt", "0", "--out", folder.path("a/b"), status: 73,
      saying: ["there is no directory \(folder.path("a"))"])
    for format in ["npy", "safetensors"] {
      try Program.cachedump.refuse(
        "export", shared.path, "--prompt", "9", "--out", folder.path("x"), "--format", format,
        status: 66, saying: ["no prompt 9"])
    }
    try Program.cachedump.refuse(
      "export", shared.path, "--prompt", "0", "--out", folder.path("x"), "--hooks", "logits",
      status: 64, saying: ["holds no hook called 'logits'"])
    try Program.cachedump.refuse(
      "export", shared.path, "--prompt", "0", "--out", folder.path("x"), status: 74,
      saying: [folder.path("x"), "File too large"], blocks: 8)
    #expect(try names(in: folder.path) == ["file"])
  }

  /// What is no plain file is left alone, and so is every file of a cache.
  @Test func exportReplacesNothingButPlainFiles() throws {
    let pipe = folder.path("pipe")
    try #require(mkfifo(pipe, 0o600) == 0)
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("link"), withDestinationPath: "nowhere")
    for path in [pipe, folder.path("link")] {
      try Program.cachedump.refuse(
        "export", shared.path, "--prompt", "0", "--out", path, "--force", status: 73,
        saying: ["\(path) is there and is not a plain file"])
    }
    #expect(try names(in: folder.path).sorted() == ["link", "pipe"])
    let cache = folder.path("cache")
    try FileManager.default.copyItem(atPath: shared.path, toPath: cache)
    let before = try names(in: cache)
    for name in ["segment-000000.pbs", "manifest", "new.safetensors"] {
      try Program.cachedump.refuse(
        "export", shared.path, "--prompt", "0", "--out", "\(cache)/\(name)", "--force", status: 73,
        saying: ["\(cache) is a cache"])
    }
    try Program.analyze.refuse(
      "task", "ioi", "--model", shared.model, "--out", "\(cache)/prompts.jsonl", "--force",
      status: 73, saying: ["\(cache) is a cache"])
    #expect(try names(in: cache) == before)
    try Program.cachedump.succeed("verify", cache, "--quiet")
  }

  @Test func verifyReadsEverything() throws {
    let answer = try Program.cachedump.succeed("verify", shared.path)
    #expect(answer.lines.count == 1)
    #expect(answer.output.hasPrefix("\(7 * TinyModel.hookCount) arrays in 1 segment are sound"))
    #expect(answer.errors.contains("verifying 7/7 prompts"))
    let report = try Program.cachedump.succeed("verify", shared.path, "--json")
    #expect(report.errors == "")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let decoded = try decoder.decode(VerificationReport.self, from: Data(report.output.utf8))
    #expect(decoded.isHealthy && decoded.checkedArrays == 7 * TinyModel.hookCount)
  }

  @Test(arguments: ["auto", "map", "pread"])
  func everyWayOfReadingGivesTheSame(io: String) throws {
    for arguments in [
      ["show", shared.path, "--prompt", "3", "--hooks", "q1,pattern2", "--json"],
      ["verify", shared.path, "--json"], [shared.path], ["ls", shared.path],
    ] {
      let usual = try Program.cachedump.run(arguments)
      let answer = try Program.cachedump.run(arguments + ["--io", io])
      #expect(answer.status == 0 && answer.output == usual.output, "\(answer)")
    }
    try Program.cachedump.succeed("diff", shared.path, shared.path, "--io", io)
    try Program.cachedump.succeed("stats", shared.path, "--io", io)
    try Program.analyze.succeed("audit", "--cache", shared.path, "--io", io)
    let patched = try patch(shared.path, "--hooks", "resid_pre", "--io", io)
    #expect(try patched.sweeps == patch(shared.path, "--hooks", "resid_pre").sweeps)
  }

  @Test func aDirectoryThatIsNotACache() throws {
    for path in [folder.path, folder.path("none"), shared.model, shared.prompts] {
      for command in [[], ["ls"], ["verify"], ["show", "--prompt", "0", "--hook", "z0"]] {
        let answer = try Program.cachedump.run(command.prefix(1) + [path] + command.dropFirst())
        #expect(answer.status == 66, "\(answer)")
        #expect(answer.output == "")
        #expect(answer.sentence.hasPrefix("cachedump: \(path) is not a cache"), "\(answer)")
      }
    }
  }
}
