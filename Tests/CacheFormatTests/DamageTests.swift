import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// No bit of a cache can change, and no byte go missing, without an error.
@Suite struct DamageTests {
  /// Stored and derived arrays, triangles, rows that are shared by a longer prompt and by one that
  /// has no other, and an array that is compressed with an exponent offset.
  private static let capture: Capture = {
    var capture = Capture(
      lengths: [2, 1, 2],
      hooks: [
        HookSpec(name: "a_pattern", shape: [.fixed(4), .positions, .positions]),
        HookSpec(name: "b", shape: [.positions, .fixed(3)]),
        HookSpec(name: "bb", shape: [.positions, .fixed(3)], recipe: .sum(["b", "b"])),
        HookSpec(name: "q", shape: [.positions, .fixed(2), .fixed(2)]),
        HookSpec(
          name: "scores", shape: [.fixed(2), .positions, .positions],
          recipe: .attentionScores(q: "q", k: "q", divisor: 1.5)),
        HookSpec(name: "wide", shape: [.positions, .fixed(150)]),
      ])
    capture.plan.store = "compact"
    for prompt in capture.prompts.indices {
      capture.arrays[0][prompt] =
        capture.prompts[prompt].tokens.count == 1
        ? [1, 2, 3, 4] : (0..<16).map { $0 % 4 == 1 ? 0 : Float($0) }
      // Noise with the exponents 127 and 128, which differ in all their bits.
      capture.arrays[5][prompt] = capture.arrays[5][prompt].map {
        let noise = $0.bitPattern
        let exponent: UInt32 = noise & 1 == 0 ? 127 : 128
        return Float(bitPattern: noise & 0x807F_FFFF | exponent << 23)
      }
    }
    capture.share(1, of: 0, with: 1)
    capture.share(1, of: 0, with: 2)
    capture.deriveArrays()
    return capture
  }()
  private static let files = [
    "manifest", "plan.json", "prompts.jsonl", "pairs.jsonl", "segment-000000.pbs",
  ]

  @Test func theSampleHasEverything() throws {
    let directory = try TemporaryDirectory()
    try DamageTests.capture.write(to: directory.path("cache"))
    let summary = try CacheReader(directory: directory.path("cache")).summary()
    let encodings = summary.hooks.map { Set($0.encodings.keys) }
    #expect(encodings[0].contains { $0.hasPrefix("triangle") }, "\(encodings[0])")
    #expect(encodings[2] == ["derived"] && encodings[4] == ["derived"])
    #expect(encodings[1] == ["raw", "shared"])
    #expect(encodings[5] == ["lz4+bitshuffle", "shared", "shared+lz4+bitshuffle"])
    let segment = try contents(directory.path("cache/segment-000000.pbs"))
    let blocks = stride(from: 64, to: segment.count - 64, by: 64).filter {
      Array(segment[$0..<$0 + 8]) == Array("PBblock\n".utf8)
    }
    #expect(blocks.contains { segment[$0 + 56] != 0 }, "no block has an exponent offset")
  }

  @Test(arguments: files)
  func everyFlippedBitIsCaught(file: String) throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try DamageTests.capture.write(to: cache)
    #expect(Outcome.of(cache, DamageTests.capture).outcome == .sound)
    let path = cache + "/" + file
    let descriptor = open(path, O_RDWR)
    defer { close(descriptor) }
    for (offset, byte) in try contents(path).enumerated() {
      for bit in 0..<8 {
        var flipped = byte ^ (1 << bit)
        pwrite(descriptor, &flipped, 1, offset)
        let (outcome, silent) = Outcome.of(cache, DamageTests.capture)
        guard outcome != .sound, !silent else {
          Issue.record("\(file): bit \(bit) of byte \(offset): silent \(silent)")
          return
        }
      }
      var original = byte
      pwrite(descriptor, &original, 1, offset)
    }
    #expect(Outcome.of(cache, DamageTests.capture).outcome == .sound)
  }

  @Test(arguments: files)
  func everyTruncationIsCaught(file: String) throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try DamageTests.capture.write(to: cache)
    let path = cache + "/" + file
    for length in (0..<(try contents(path).count)).reversed() {
      truncate(path, length)
      let (outcome, silent) = Outcome.of(cache, DamageTests.capture)
      #expect(outcome != .sound && !silent, "\(file) cut to \(length) bytes")
    }
  }

  @Test(arguments: files)
  func everyLongerFileIsCaught(file: String) throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try DamageTests.capture.write(to: cache)
    let path = cache + "/" + file
    let whole = try contents(path)
    for more in [[0], [10], Array(repeating: UInt8(0), count: 64), whole] {
      try overwrite(path, whole + more)
      let (outcome, silent) = Outcome.of(cache, DamageTests.capture)
      #expect(outcome != .sound && !silent, "\(file) with \(more.count) bytes more")
    }
  }

  @Test(arguments: files)
  func everyMissingFileIsCaught(file: String) throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try DamageTests.capture.write(to: cache)
    unlink(cache + "/" + file)
    let (outcome, silent) = Outcome.of(cache, DamageTests.capture)
    #expect(outcome != .sound && !silent)
  }

  @Test func oneBadArrayLeavesTheOthersReadable() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(lengths: [3, 3, 3])
    let forger = try Forger(capture, in: directory.path("cache"))
    var segment = try contents(forger.segmentPath)
    segment[forger.offset(hook: 1, prompt: 2, in: segment) + 64] ^= 1
    try overwrite(forger.segmentPath, segment)
    let reader = try CacheReader(directory: forger.directory)
    for hook in capture.plan.hooks.indices {
      for prompt in 0..<3 where (hook, prompt) != (1, 2) {
        #expect(
          bits(try reader.read(hook: hook, prompt: prompt)) == bits(capture.arrays[hook][prompt]))
      }
    }
    let expected = CacheError.badBlock(
      file: forger.segmentPath, prompt: 2, hook: "blocks.0.ln1.hook_scale",
      problem: .storedChecksum)
    #expect(throws: expected) { try reader.read(hook: 1, prompt: 2) }
    #expect(expected.exitCode == .badData)
    let report = try reader.verify()
    #expect(report.damaged == 1 && report.checkedArrays == 11)
    #expect(report.findings.map(\.hook) == ["blocks.0.ln1.hook_scale"])
    #expect(report.findings.map(\.prompt) == [2])
  }

  @Test func verificationNamesTheFirstPlaceOfAFileAndCountsTheOthers() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(
      Capture(lengths: Array(repeating: 2, count: 9)), in: directory.path("c"))
    var segment = try contents(forger.segmentPath)
    for hook in 0..<forger.hooks {
      for prompt in 0..<forger.prompts {
        segment[forger.offset(hook: hook, prompt: prompt, in: segment) + 64] ^= 1
      }
    }
    try overwrite(forger.segmentPath, segment)
    let report = try CacheReader(directory: forger.directory).verify()
    #expect(report.damaged == 36 && report.damagedFiles == 1)
    #expect(report.findings.map(\.more) == [35])
    #expect(report.findings.map(\.prompt) == [0])
    #expect(report.findings.map(\.hook) == ["blocks.0.hook_resid_pre"])
  }

  @Test func verificationCountsTheFilesThatItDoesNotName() throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try Capture(lengths: Array(repeating: 3, count: 6), segmentBytes: 300).write(to: cache)
    try overwrite(cache + "/pairs.jsonl", [10])
    for number in 1..<6 { truncate(cache + "/segment-00000\(number).pbs", 64) }
    let report = try CacheReader(directory: cache).verify(limit: 3)
    #expect(report.damaged == 6 && report.damagedFiles == 6)
    #expect(
      report.findings.map(\.file)
        == ["pairs.jsonl", "segment-000001.pbs", "segment-000002.pbs"].map { "\(cache)/\($0)" })
    #expect(report.findings.allSatisfy { $0.more == 0 } && report.checkedSegments == 1)
  }

  @Test func leftoversAreNamedAndHarmless() throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    try DamageTests.capture.write(to: cache)
    try overwrite(cache + "/segment-000001.pbs.open", [1, 2, 3])
    let report = try CacheReader(directory: cache).verify()
    #expect(report.isHealthy && report.leftovers == ["segment-000001.pbs.open"])
  }
}
