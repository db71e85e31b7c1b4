import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// Caches that lie with checksums that fit are refused, in words, without a trap.
@Suite struct HostileCacheTests {
  private static let capture = Capture(lengths: [3, 3])

  /// What opening, reading and verifying a forged cache comes to.
  private func outcome(_ forge: (Forger) throws -> Void) throws -> Outcome {
    let directory = try TemporaryDirectory()
    let forger = try Forger(HostileCacheTests.capture, in: directory.path("cache"))
    try forge(forger)
    return Outcome.of(forger.directory, HostileCacheTests.capture).outcome
  }

  private func isRefused(_ outcome: Outcome) -> Bool {
    guard case .caught(let error) = outcome else { return false }
    return error?.exitCode == .badData
  }

  @Test func aForgedCacheWithoutALieIsSound() throws {
    #expect(try outcome { try $0.forgeSegment { _ in } } == .sound)
    #expect(try outcome { try $0.forgePlan { _ in } } == .sound)
  }

  /// (offset in the header, new value of so many bytes)
  @Test(arguments: [
    (8, UInt64(1), 8), (16, 1, 4), (20, 3, 4), (20, 0xFFFF_FFFF, 4), (24, 1, 4),
    (24, 0x8000_0000, 4), (28, 0, 4), (28, 0xFFFF_FFFF, 4), (32, 2, 1), (32, 0xFF, 1),
    (33, 3, 1), (33, 1, 1), (34, 1, 1), (35, 0, 1), (35, 2, 1), (35, 9, 1), (36, 0, 4),
    (36, 95, 4), (36, 0xFFFF_FFFF, 4), (40, 0, 4), (40, 95, 4), (40, 97, 4),
    (40, 0xFFFF_FFFF, 4), (48, 0, 4), (34, 2, 1), (34, 0xFF, 1), (52, 1, 4), (56, 1, 1),
    (57, 1, 1), (59, 1, 1),
  ])
  func lyingBlockHeaders(offset: Int, value: UInt64, size: Int) throws {
    let found = try outcome { forger in
      try forger.forgeSegment { segment in
        let block = forger.offset(hook: 0, prompt: 0, in: segment)
        let bytes = withUnsafeBytes(of: value.littleEndian) { Array($0.prefix(size)) }
        segment.replaceSubrange(block + offset..<block + offset + size, with: bytes)
      }
    }
    // A wrong checksum of the decoded bytes is what verification is for; the rest stops a read.
    #expect(offset == 48 ? found == .caught(nil) : isRefused(found))
  }

  @Test(arguments: [
    (0, UInt64(0), 8), (0, 64 + 1, 8), (0, 128, 8), (0, 1 << 62, 8), (0, .max, 8),
    (8, 0, 4), (8, 0xFFFF_FFFF, 4), (8, 97, 4),
  ])
  func lyingIndexEntries(offset: Int, value: UInt64, size: Int) throws {
    #expect(
      isRefused(
        try outcome { forger in
          try forger.forgeSegment { segment in
            let entry = forger.indexOffset(segment) + offset
            let bytes = withUnsafeBytes(of: value.littleEndian) { Array($0.prefix(size)) }
            segment.replaceSubrange(entry..<entry + size, with: bytes)
          }
        }))
  }

  /// An array that is said to be derived although its hook has no recipe.
  @Test func anArrayWithoutRecipeIsNotDerived() throws {
    #expect(
      isRefused(
        try outcome { forger in
          try forger.forgeSegment { segment in
            let entry = forger.indexOffset(segment)
            for byte in 0..<12 { segment[entry + byte] = 0 }
          }
        }))
  }

  /// Recipes that lie, in a plan whose digest fits.
  @Test(arguments: [
    ("\"op\" : \"gelu_new\"", "\"op\" : \"exec\""),
    ("\"op\" : \"gelu_new\"", "\"op\" : \"layernorm\""),
    ("\"op\" : \"gelu_new\"", "\"op\" : \"causal_softmax\""),
    ("\"op\" : \"attention_mix\"", "\"op\" : \"sum\""),
    ("\"divisor\" : 2.236068", "\"divisor\" : \"two\""),
    ("\"divisor\" : 2.236068", "\"divisor\" : null"),
    ("\"divisor\" : 2.236068", "\"divisor\" : 1e999"),
    ("\"divisor\" : 2.236068", "\"divisor\" : 0"),
    ("\"divisor\" : 2.236068", "\"divisor\" : -3"),
    ("\"epsilon\" : 1e-05", "\"epsilon\" : 3e38"), ("\"heads\" : 3", "\"heads\" : 0"),
    ("\"heads\" : 3", "\"heads\" : -3"), ("\"heads\" : 3", "\"heads\" : 1099511627776"),
    ("\"mlp.pre\"\n", "\"mlp.post\"\n"), ("\"mlp.pre\"\n", "\"resid_post\"\n"),
    ("\"mlp.pre\"\n", "\"nothing\"\n"), ("\"proofs\" : \"sample\"", "\"proofs\" : \"none\""),
    ("\"proofs\" : \"sample\",", ""),
    ("\"formatVersion\" : 2", "\"formatVersion\" : 1"),
  ])
  func lyingRecipes(old: String, new: String) throws {
    let directory = try TemporaryDirectory()
    let capture = Capture.derived(lengths: [3], segmentBytes: 1 << 20)
    let forger = try Forger(capture, in: directory.path("cache"))
    var isThere = false
    try forger.forgePlan { text in
      // The last one: names stand in the table as well as in recipes.
      guard let range = text.ranges(of: old).last else { return }
      text.replaceSubrange(range, with: new)
      isThere = true
    }
    let (found, silent) = Outcome.of(forger.directory, capture)
    #expect(isThere && isRefused(found) && !silent, "\(found)")
  }

  @Test func lyingPositionsInTheIndex() throws {
    for value: UInt32 in [0, 2, 1 << 25, .max] {
      #expect(
        isRefused(
          try outcome { forger in
            try forger.forgeSegment { segment in
              let table = forger.indexOffset(segment) + 16 * forger.hooks * forger.prompts
              forger.put(value, at: table, in: &segment)
            }
          }))
    }
  }

  @Test(arguments: [
    (8, UInt64(0), 8), (8, .max, 8), (8, 1 << 63, 8), (16, 0, 8), (16, .max, 8), (24, 0, 8),
    (24, .max, 8), (32, 7, 8), (40, 1, 4), (48, 1, 4), (56, 1, 4),
  ])
  func lyingTrailers(offset: Int, value: UInt64, size: Int) throws {
    #expect(
      isRefused(
        try outcome { forger in
          try forger.forgeSegment { segment in
            let start = segment.count - 64 + offset
            let bytes = withUnsafeBytes(of: value.littleEndian) { Array($0.prefix(size)) }
            segment.replaceSubrange(start..<start + size, with: bytes)
          }
        }))
  }

  @Test(arguments: [
    (8, UInt64(3)), (8, 1), (8, 0), (12, 1), (16, 1), (20, 0), (20, 1), (20, 0xFFFF_FFFF), (24, 0),
    (24, 0xFFFF_FFFF), (28, 1),
  ])
  func lyingSegmentHeaders(offset: Int, value: UInt64) throws {
    #expect(
      isRefused(
        try outcome { forger in
          try forger.forgeSegment { segment in
            forger.put(UInt32(truncatingIfNeeded: value), at: offset, in: &segment)
          }
        }))
  }

  /// The table of chunk lengths and LZ4's own bytes, changed under checksums that fit.
  @Test func lyingCompressedBytes() throws {
    let capture = Capture(
      lengths: [2], hooks: [HookSpec(name: "zeros_post", shape: [.positions, .fixed(40_000)])])
    let directory = try TemporaryDirectory()
    let forger = try Forger(capture, in: directory.path("cache"))
    let original = try contents(forger.segmentPath)
    let block = forger.offset(hook: 0, prompt: 0, in: original)
    #expect(original[block + 32] == 1)
    for table: [UInt32] in [[0, 0], [.max, 5], [5, .max], [1, 1], [129_025, 1]] {
      try forger.forgeSegment { segment in
        segment = original
        for (index, length) in table.enumerated() {
          forger.put(length, at: block + 64 + 4 * index, in: &segment)
        }
      }
      let reader = try CacheReader(directory: forger.directory)
      #expect(
        throws: CacheError.badBlock(
          file: forger.segmentPath, prompt: 0, hook: "zeros_post", problem: .undecodable)
      ) { try reader.read(hook: 0, prompt: 0) }
    }
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<300 {
      try forger.forgeSegment { segment in
        segment = original
        let stored = Int(forger.number(segment, block + 40, 4))
        let place = block + 64 + Int.random(in: 0..<stored, using: &generator)
        segment[place] = UInt8.random(in: 0...255, using: &generator)
      }
      let report = try CacheReader(directory: forger.directory).verify()
      #expect(report.damaged <= 1)
    }
  }

  /// Random bytes anywhere in a segment, signed: anything but a trap or a read out of bounds.
  @Test func randomLies() throws {
    let seed: UInt64 = 6
    var generator = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory()
    let forger = try Forger(HostileCacheTests.capture, in: directory.path("cache"))
    let original = try contents(forger.segmentPath)
    let manifest = try contents(forger.manifestPath)
    var caught = 0
    for _ in 0..<600 {
      try overwrite(forger.manifestPath, manifest)
      try forger.forgeSegment { segment in
        segment = original
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
          let place = Int.random(in: 0..<segment.count, using: &generator)
          segment[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &generator) ?? 0
        }
      }
      if Outcome.of(forger.directory, HostileCacheTests.capture).outcome != .sound { caught += 1 }
    }
    #expect(caught > 400, "seed \(seed)")
  }

  @Test(arguments: [
    ("\"size\":", "\"size\":9223372036854775807,\"was\":"),
    ("\"size\":", "\"size\":-64,\"was\":"),
    ("\"prompts\":2,\"tokens\":6,\"index\"", "\"prompts\":-2,\"tokens\":6,\"index\""),
    ("\"prompts\":2,\"tokens\":6,\"index\"", "\"prompts\":2147483648,\"tokens\":6,\"index\""),
    ("\"prompts\":2,\"tokens\":6,\n", "\"prompts\":3,\"tokens\":6,\n"),
    ("\"prompts\":2,\"tokens\":6,\n", "\"prompts\":2,\"tokens\":9223372036854775807,\n"),
    ("segment-000000.pbs", "../segment-000000.pbs"), ("segment-000000.pbs", "/etc/passwd"),
    ("segment-000000.pbs", "segment-000001.pbs"), ("segment-000000.pbs", ""),
    ("\"index\":\"", "\"index\":\"0"), ("\"segments\":[", "\"segments\":[7,"),
    ("\"hooks\":[", "\"hooks\":[{\"raw\":1,\"stored\":1,\"blocks\":{}},"),
    ("{\"raw\":", "{\"raw\":-1,\"was\":"), ("\"format\":2", "\"format\":0"),
    ("\"format\":2", "\"format\":true"), ("\"format\":2,", ""),
    ("\"plan\":\"", "\"plan\":\"0"), ("\"complete\":true", "\"complete\":1"),
    ("{", "["), ("}", ""),
  ])
  func lyingManifests(old: String, new: String) throws {
    var isThere = false
    let found = try outcome { forger in
      try forger.forgeManifest { text in
        guard let range = text.firstRange(of: old) else { return }
        text.replaceSubrange(range, with: new)
        isThere = true
      }
    }
    #expect(isThere && isRefused(found), "\(found)")
  }

  @Test(arguments: [
    ("\"formatVersion\" : 2", "\"formatVersion\" : 3"),
    ("blocks.0.hook_resid_pre", "../../escape"), ("blocks.0.hook_resid_pre", ".hidden"),
    ("blocks.0.hook_resid_pre", "a/b"), ("blocks.0.hook_resid_pre", "blocks.0.ln1.hook_scale"),
    ("\"T\"", "\"U\""), ("\"T\"", "-3"), ("\"T\"", "9223372036854775807"),
    ("\"T\"", "1.5"), ("\"T\"", "null"), ("\"store\" : \"full\"", "\"store\" : \"half\""),
    ("\"elementType\" : \"f32\"", "\"elementType\" : \"f64\""),
    ("\"elementType\" : \"f32\"", "\"elementType\" : \"f16\""),
    ("\"promptCount\" : 2", "\"promptCount\" : 1"), ("\"promptCount\" : 2", "\"promptCount\" : -2"),
    ("\"segmentBytes\" : 1048576", "\"segmentBytes\" : 0"), ("{", ""),
  ])
  func lyingPlans(old: String, new: String) throws {
    var isThere = false
    let found = try outcome { forger in
      try forger.forgePlan { text in
        guard let range = text.firstRange(of: old) else { return }
        text.replaceSubrange(range, with: new)
        isThere = true
      }
    }
    #expect(isThere && isRefused(found), "\(found)")
  }

  @Test func aNewerFormatIsNamed() throws {
    let found = try outcome { forger in
      try forger.forgeManifest { $0 = "{\"format\":3,\"whatever\":[1,2]}\n" }
    }
    guard case .caught(.some(let error)) = found else {
      Issue.record("a newer format was read")
      return
    }
    #expect(error.exitCode == .badData)
    #expect(error.description.contains("was written by format 3, this program reads up to 2"))
  }

  @Test func swappedBlocksAreCaught() throws {
    for isSigned in [false, true] {
      let found = try outcome { forger in
        func swap(_ segment: inout [UInt8]) {
          let one = forger.offset(hook: 0, prompt: 0, in: segment)
          let two = forger.offset(hook: 0, prompt: 1, in: segment)
          for byte in 0..<160 { segment.swapAt(one + byte, two + byte) }
        }
        if isSigned { return try forger.forgeSegment(swap) }
        var segment = try contents(forger.segmentPath)
        swap(&segment)
        try overwrite(forger.segmentPath, segment)
      }
      guard case .caught(.badBlock(_, 0, _, .identity(let who))) = found else {
        Issue.record("swapped blocks: \(found)")
        continue
      }
      #expect(who == "prompt 1, blocks.0.hook_resid_pre of segment 0")
    }
  }

  @Test func swappedSegmentsAreCaught() throws {
    let directory = try TemporaryDirectory()
    let cache = directory.path("cache")
    let capture = Capture(lengths: [3, 3], segmentBytes: 300)
    try capture.write(to: cache)
    rename(cache + "/segment-000000.pbs", cache + "/x")
    rename(cache + "/segment-000001.pbs", cache + "/segment-000000.pbs")
    rename(cache + "/x", cache + "/segment-000001.pbs")
    let (outcome, silent) = Outcome.of(cache, capture)
    #expect(isRefused(outcome) && !silent)
  }

  /// The same plan, other values: only the checksum of the index in the manifest can tell.
  @Test func aSegmentOfAnotherRunIsCaught() throws {
    let directory = try TemporaryDirectory()
    let capture = HostileCacheTests.capture
    var other = capture
    other.arrays[0][0][0] += 1
    try capture.write(to: directory.path("one"))
    try other.write(to: directory.path("two"))
    #expect(
      try contents(directory.path("one/plan.json")) == contents(directory.path("two/plan.json")))
    rename(directory.path("two/segment-000000.pbs"), directory.path("one/segment-000000.pbs"))
    let (outcome, silent) = Outcome.of(directory.path("one"), capture)
    #expect(isRefused(outcome) && !silent, "\(outcome)")
  }

  /// What stands where a plain file must be, and what is behind a link.
  @Test(arguments: ["manifest", "plan.json", "prompts.jsonl", "segment-000000.pbs"])
  func onlyPlainFilesAreOpened(name: String) throws {
    for kind in ["link", "directory", "pipe"] {
      let directory = try TemporaryDirectory()
      let cache = directory.path("cache")
      try HostileCacheTests.capture.write(to: cache)
      let path = cache + "/" + name
      rename(path, directory.path("elsewhere"))
      switch kind {
      case "link": symlink(directory.path("elsewhere"), path)
      case "directory": mkdir(path, 0o755)
      default: mkfifo(path, 0o644)
      }
      let (outcome, silent) = Outcome.of(cache, HostileCacheTests.capture)
      #expect(outcome != .sound && !silent, "\(kind) for \(name)")
    }
  }

  @Test func whatIsNoCacheIsNamed() throws {
    let directory = try TemporaryDirectory()
    for path in [directory.path, directory.path("absent")] {
      let error = try #require(throws: CacheError.self) { try CacheReader(directory: path) }
      #expect(error == .notACache(directory: path))
      #expect(error.exitCode == .noInput)
    }
  }
}
