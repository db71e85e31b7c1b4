import Foundation
import TestSupport
import Testing

@testable import CacheFormat

/// What the programs say of caches that are damaged, or of a later version.
@Suite struct DamagedCacheTests {
  private let folder: TemporaryDirectory
  private let cache: String

  init() throws {
    let shared = try SharedCache.made()
    folder = try TemporaryDirectory()
    cache = folder.path("cache")
    try FileManager.default.copyItem(atPath: shared.path, toPath: cache)
  }

  private func change(_ name: String, _ edit: (inout Data) throws -> Void) throws {
    let url = URL(fileURLWithPath: "\(cache)/\(name)")
    var bytes = try Data(contentsOf: url)
    try edit(&bytes)
    try bytes.write(to: url)
  }

  /// Changes the text of the plan and what the manifest says of it.
  private func changePlan(_ old: String, to new: String) throws {
    let plan = try String(contentsOfFile: "\(cache)/plan.json", encoding: .utf8)
    try #require(plan.contains(old))
    let changed = plan.replacingOccurrences(of: old, with: new)
    try change("plan.json") { $0 = Data(changed.utf8) }
    try changeManifest(sha256([UInt8](plan.utf8)), to: sha256([UInt8](changed.utf8)))
  }

  private func changeManifest(_ old: String, to new: String) throws {
    try change("manifest") { bytes in
      let body = String(decoding: bytes.dropLast(16), as: UTF8.self)
      try #require(body.contains(old))
      bytes = Data(Manifest.signed(Array(body.replacingOccurrences(of: old, with: new).utf8)))
    }
  }

  /// Every program refuses the cache with the same sentence.
  private func everyProgramRefuses(
    status: Int32, saying words: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try Program.cachedump.refuse(
      cache, status: status, saying: words, sourceLocation: sourceLocation)
    try Program.cachedump.refuse(
      "verify", cache, status: status, saying: words, sourceLocation: sourceLocation)
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: status, saying: words,
      sourceLocation: sourceLocation)
  }

  @Test func aFlippedBitInAnArray() throws {
    let reader = try CacheReader(directory: cache)
    let hook = try #require(reader.hookIndex("blocks.1.attn.hook_q"))
    let offset = try offset(ofHook: hook, prompt: 4, in: reader)
    try change("segment-000000.pbs") { $0[offset + 100] ^= 0x10 }
    let place = "\(cache)/segment-000000.pbs is damaged at prompt 4, blocks.1.attn.hook_q"
    try Program.cachedump.refuse(
      "show", cache, "--prompt", "4", "--hook", "z1", status: 65, saying: [place])
    try Program.cachedump.refuse(
      "export", cache, "--out", folder.path("out"), "--quiet", status: 65, saying: [place])
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", "--out", folder.path("result"), status: 65,
      saying: [place])
    #expect(try names(in: folder.path("result")).isEmpty)

    let verified = try Program.cachedump.run(["verify", cache, "--quiet"])
    #expect(verified.status == 65)
    #expect(verified.lines.first?.hasPrefix(place) == true)
    #expect(verified.sentence.contains("\(cache) is damaged in 1 place of 1 file"))
    #expect(
      verified.output.contains("\(7 * TinyModel.hookCount - 4) arrays in 1 segment are sound"))
    let json = try Program.cachedump.run(["verify", cache, "--json"])
    #expect(json.status == 65)
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let report = try decoder.decode(VerificationReport.self, from: Data(json.output.utf8))
    #expect(report.damaged == 1)
    #expect(report.findings.first?.prompt == 4)
    #expect(report.findings.first?.hook == "blocks.1.attn.hook_q")

    // One place a file is named, the others are counted: an array, and the one that shares rows
    // with it.
    let other = try #require(reader.hookIndex("blocks.1.hook_mlp_out"))
    let base = try self.offset(ofHook: other, prompt: 2, in: reader)
    try change("segment-000000.pbs") { $0[base + 100] ^= 0x10 }
    let again = try Program.cachedump.run(["verify", cache, "--quiet"])
    #expect(again.lines.count == 2)
    #expect(again.lines.first?.hasPrefix(place) == true)
    #expect(again.lines.first?.hasSuffix("; 2 more places in this file") == true, "\(again)")
    #expect(again.sentence.contains("\(cache) is damaged in 3 places of 1 file"))
    try Program.cachedump.refuse(
      "show", cache, "--prompt", "3", "--hook", "mlp_out1", status: 65,
      saying: ["at prompt 3, blocks.1.hook_mlp_out: it shares rows with prompt 2"])
    try change("segment-000000.pbs") { $0[base + 100] ^= 0x10 }

    // All others can be read; of the source run nothing but outputs of MLPs.
    try Program.cachedump.succeed("show", cache, "--prompt", "3", "--hook", "z1")
    try Program.analyze.succeed("patch", "--cache", cache, "--hooks", "mlp_out")
  }

  private func offset(ofHook hook: Int, prompt: Int, in reader: CacheReader) throws -> Int {
    guard case .stored(let entry) = try reader.segment(0).place(hook: hook, prompt: prompt) else {
      Issue.record("hook \(hook) is not stored")
      return 0
    }
    return Int(entry.offset) + 64
  }

  @Test(arguments: ["plan.json", "prompts.jsonl", "pairs.jsonl", "manifest"])
  func aFlippedBitInAText(name: String) throws {
    try change(name) { $0[$0.count / 2] ^= 1 }
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 65, saying: ["\(cache)/\(name) is"])
    let verified = try Program.cachedump.run(["verify", cache])
    #expect(verified.status == 65)
    #expect((verified.output + verified.errors).contains("\(cache)/\(name) is"))
  }

  @Test func aSegmentThatIsMissingOrCut() throws {
    let segment = "\(cache)/segment-000000.pbs"
    try change("segment-000000.pbs") { $0.removeLast(64) }
    let summary = try Program.cachedump.run([cache])
    #expect(summary.status == 65)
    #expect(summary.output.contains("1 missing or of wrong size"))
    #expect(summary.sentence.contains(segment))
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 65,
      saying: [segment, "the manifest says"])
    try FileManager.default.removeItem(atPath: segment)
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 66,
      saying: ["\(segment) is listed in the manifest but not there"])
    #expect(try Program.cachedump.run([cache]).status == 65)
  }

  @Test func aNewerFormat() throws {
    try changeManifest("{\"format\":5,", to: "{\"format\":6,\"novelty\":[],")
    try everyProgramRefuses(
      status: 65,
      saying: [
        "\(cache)/manifest was written by format 6, this program reads up to 5",
        "use a newer Patchbay",
      ])
  }

  @Test func aPlanThatWasEdited() throws {
    try change("plan.json") { bytes in
      let text = String(decoding: bytes, as: UTF8.self)
      bytes = Data(text.replacingOccurrences(of: "\"f32\"", with: "\"f16\"").utf8)
    }
    try everyProgramRefuses(
      status: 65, saying: ["\(cache)/plan.json is not the file that the cache was made with"])
  }

  /// Digests that fit do not make a lie true: segments know the plan that they belong to.
  @Test(arguments: [
    ("\"elementType\" : \"f32\"", "\"elementType\" : \"f16\""),
    ("\"weights\" : \"transformerlens\"", "\"weights\" : \"raw\""),
    ("\"prependBOS\" : true", "\"prependBOS\" : false"),
  ])
  func aPlanThatWasForged(old: String, new: String) throws {
    try changePlan(old, to: new)
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 65,
      saying: ["\(cache)/segment-000000.pbs"])
  }

  @Test func unknownProcessing() throws {
    try changePlan("\"weights\" : \"transformerlens\"", to: "\"weights\" : \"quantised\"")
    try Program.analyze.refuse(
      "patch", "--cache", cache, "--hooks", "z", status: 78, saying: [cache, "\"quantised\""])
  }

  /// Rows that point outside the prompts are no crash.
  @Test(arguments: ["-1", "7", "2147483647"])
  func pairsThatWereForged(number: String) throws {
    let pairs = try String(contentsOfFile: "\(cache)/pairs.jsonl", encoding: .utf8)
    let forged = pairs.replacingOccurrences(of: "\"clean\":0", with: "\"clean\":\(number)")
    try #require(forged != pairs)
    try change("pairs.jsonl") { $0 = Data(forged.utf8) }
    try changePlan(sha256([UInt8](pairs.utf8)), to: sha256([UInt8](forged.utf8)))
    for arguments in [["patch", "--cache", cache, "--hooks", "z"]] {
      let answer = try Program.analyze.run(arguments)
      #expect(answer.status == 65, "\(answer)")
    }
    let verified = try Program.cachedump.run(["verify", cache])
    #expect(verified.status == 65)
    #expect(verified.output.contains("pairs.jsonl is damaged"), "\(verified)")
  }
}
