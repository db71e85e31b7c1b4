import CacheFormat
import FileIO
import Foundation
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

  /// With status 65, and a sentence that names the file.
  private func isRefused(_ outcome: Outcome) -> Bool {
    guard case .caught(let error?) = outcome else { return false }
    let names = ["manifest", "plan.json", "segment-00000"]
    return error.exitCode == .badData && names.contains { error.description.contains("/\($0)") }
  }

  @Test func aForgedCacheWithoutALieIsSound() throws {
    #expect(try outcome { try $0.forgeSegment { _ in } } == .sound)
    #expect(try outcome { try $0.forgePlan { _ in } } == .sound)
  }

  /// A number of a segment that is not what it must be.
  struct Lie: Sendable, CustomTestStringConvertible {
    enum Record { case segmentHeader, blockHeader, indexEntry, positions, trailer }

    let record: Record
    /// From the record's first byte.
    let offset: Int
    let value: UInt64
    let size: Int

    var testDescription: String { "\(record) \(offset): \(value)" }

    func tell(_ forger: Forger) throws {
      try forger.forgeSegment { segment in
        let start =
          switch record {
          case .segmentHeader: 0
          case .blockHeader: forger.offset(hook: 0, prompt: 0, in: segment)
          case .indexEntry: forger.indexOffset(segment)
          case .positions: forger.indexOffset(segment) + 16 * forger.hooks * forger.prompts
          case .trailer: segment.count - 64
          }
        let bytes = withUnsafeBytes(of: value.littleEndian) { Array($0.prefix(size)) }
        segment.replaceSubrange(start + offset..<start + offset + size, with: bytes)
      }
    }
  }

  private static func lies(
    _ record: Lie.Record, _ lies: [(offset: Int, value: UInt64, size: Int)]
  ) -> [Lie] {
    lies.map { Lie(record: record, offset: $0.offset, value: $0.value, size: $0.size) }
  }

  private static let lies =
    lies(
      .segmentHeader,
      [
        (8, 6, 4), (8, 4, 4), (8, 2, 4), (8, 1, 4), (8, 0, 4), (12, 1, 4), (16, 1, 4), (20, 0, 4),
        (20, 1, 4),
        (20, 0xFFFF_FFFF, 4), (24, 0, 4), (24, 0xFFFF_FFFF, 4), (28, 1, 4),
      ])
    + lies(
      .blockHeader,
      [
        (8, 1, 8), (16, 1, 4), (20, 3, 4), (20, 0xFFFF_FFFF, 4), (24, 1, 4), (24, 0x8000_0000, 4),
        (28, 0, 4), (28, 0xFFFF_FFFF, 4), (32, 2, 1), (32, 0xFF, 1), (33, 3, 1), (33, 1, 1),
        (34, 1, 1), (34, 2, 1), (34, 3, 1), (34, 0xFF, 1), (35, 0, 1), (35, 2, 1), (35, 9, 1),
        (36, 0, 4),
        (36, 95, 4), (36, 0xFFFF_FFFF, 4), (40, 0, 4), (40, 95, 4), (40, 97, 4),
        (40, 0xFFFF_FFFF, 4), (48, 0, 4), (52, 1, 4), (56, 1, 1), (57, 1, 1), (59, 1, 1),
      ])
    + lies(
      .indexEntry,
      [
        (0, 0, 8), (0, 64 + 1, 8), (0, 128, 8), (0, 1 << 62, 8), (0, .max, 8), (8, 0, 4),
        (8, 0xFFFF_FFFF, 4), (8, 97, 4),
      ])
    + lies(.positions, [(0, 0, 4), (0, 2, 4), (0, 1 << 25, 4), (0, 0xFFFF_FFFF, 4)])
    + lies(
      .trailer,
      [
        (8, 0, 8), (8, .max, 8), (8, 1 << 63, 8), (16, 0, 8), (16, .max, 8), (24, 0, 8),
        (24, .max, 8), (32, 7, 8), (40, 1, 4), (48, 1, 4), (56, 1, 4),
      ])

  @Test(arguments: lies)
  func lyingSegments(lie: Lie) throws {
    let found = try outcome(lie.tell)
    // A wrong checksum of the decoded bytes is what verification is for; the rest stops a read.
    let isForVerification = lie.record == .blockHeader && lie.offset == 48
    #expect(isForVerification ? found == .caught(nil) : isRefused(found), "\(found)")
  }

  #if compiler(>=6.2)
    /// All of them where there is no room for what they speak of, in a process of its own.
    @Test func liesTakeNoMemory() async throws {
      await #expect(processExitsWith: .success) {
        let directory = try TemporaryDirectory()
        let capture = HostileCacheTests.capture
        let forger = try Forger(capture, in: directory.path("cache"))
        let sound = try allContents(forger.directory)
        #expect(Outcome.of(forger.directory, capture).outcome == .sound)
        try HostileCacheTests.limitMemory(more: 256 << 20)
        func expectRefusal(_ tell: (Forger) throws -> Void) throws {
          try tell(forger)
          #expect(Outcome.of(forger.directory, capture).outcome != .sound)
          for (name, bytes) in sound { try overwrite("\(forger.directory)/\(name)", bytes) }
        }
        for lie in HostileCacheTests.lies { try expectRefusal(lie.tell) }
        for (old, new) in HostileCacheTests.manifestLies {
          try expectRefusal { try $0.forgeManifest { $0.replaceFirst(old, with: new) } }
        }
        for (old, new) in HostileCacheTests.planLies {
          try expectRefusal { try $0.forgePlan { $0.replaceFirst(old, with: new) } }
        }
      }
    }

    /// Lets this process take so many bytes of addresses more than it has.
    private static func limitMemory(more: UInt) throws {
      let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        .split(separator: " ").first.flatMap { UInt($0) }
      let taken = try #require(pages) * UInt(sysconf(Int32(_SC_PAGESIZE)))
      var limit = rlimit(rlim_cur: taken + more, rlim_max: taken + more)
      try #require(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
      // It does hold.
      let tooMuch = mmap(nil, Int(2 * more), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      try #require(tooMuch == MAP_FAILED)
    }
  #endif

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
    ("\"formatVersion\" : 5", "\"formatVersion\" : 1"),
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

  /// An array of compressed chunks, whose lengths stand before them.
  private static let zeros = Capture(
    lengths: [2], hooks: [HookSpec(name: "zeros_post", shape: [.positions, .fixed(40_000)])])

  @Test(arguments: [[0, 0], [.max, 5], [5, .max], [1, 1], [129_025, 1]] as [[UInt32]])
  func lyingChunkLengths(lengths: [UInt32]) throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(HostileCacheTests.zeros, in: directory.path("cache"))
    try forger.forgeSegment { segment in
      let block = forger.offset(hook: 0, prompt: 0, in: segment)
      #expect(segment[block + 32] == 1)
      for (index, length) in lengths.enumerated() {
        forger.put(length, at: block + 64 + 8 * index, in: &segment)
      }
    }
    let reader = try CacheReader(directory: forger.directory)
    #expect(
      throws: CacheError.badBlock(
        file: forger.segmentPath, prompt: 0, hook: "zeros_post", problem: .undecodable)
    ) { try reader.read(hook: 0, prompt: 0) }
  }

  /// LZ4's own bytes and those of the table before them, changed under checksums that fit.
  @Test func randomCompressedBytes() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(HostileCacheTests.zeros, in: directory.path("cache"))
    let original = try contents(forger.segmentPath)
    let block = forger.offset(hook: 0, prompt: 0, in: original)
    var generator = SeededGenerator(seed: 5)
    var caught = 0
    for _ in 0..<300 {
      try forger.forgeSegment { segment in
        segment = original
        let stored = Int(forger.number(segment, block + 40, 4))
        let place = block + 64 + Int.random(in: 0..<stored, using: &generator)
        segment[place] = UInt8.random(in: 0...255, using: &generator)
      }
      caught += try CacheReader(directory: forger.directory).verify().damaged
    }
    #expect(caught > 200 && caught <= 300)
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

  private static let manifestLies = [
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
    ("{\"raw\":", "{\"raw\":-1,\"was\":"), ("\"format\":5", "\"format\":0"),
    ("\"format\":5", "\"format\":true"), ("\"format\":5,", ""),
    ("\"plan\":\"", "\"plan\":\"0"), ("\"complete\":true", "\"complete\":1"),
    ("{", "["), ("}", ""),
  ]

  @Test(arguments: manifestLies)
  func lyingManifests(old: String, new: String) throws {
    var isThere = false
    let found = try outcome { forger in
      try forger.forgeManifest { text in
        isThere = text.contains(old)
        text.replaceFirst(old, with: new)
      }
    }
    #expect(isThere && isRefused(found), "\(found)")
  }

  private static let planLies = [
    ("\"formatVersion\" : 5", "\"formatVersion\" : 2"),
    ("blocks.0.hook_resid_pre", "../../escape"), ("blocks.0.hook_resid_pre", ".hidden"),
    ("blocks.0.hook_resid_pre", "a/b"), ("blocks.0.hook_resid_pre", "blocks.0.ln1.hook_scale"),
    ("\"T\"", "\"U\""), ("\"T\"", "-3"), ("\"T\"", "9223372036854775807"),
    ("\"T\"", "1.5"), ("\"T\"", "null"), ("\"store\" : \"full\"", "\"store\" : \"half\""),
    ("\"elementType\" : \"f32\"", "\"elementType\" : \"f64\""),
    ("\"elementType\" : \"f32\"", "\"elementType\" : \"f16\""),
    ("\"promptCount\" : 2", "\"promptCount\" : 1"), ("\"promptCount\" : 2", "\"promptCount\" : -2"),
    ("\"segmentBytes\" : 1048576", "\"segmentBytes\" : 0"), ("{", ""),
  ]

  @Test(arguments: planLies)
  func lyingPlans(old: String, new: String) throws {
    var isThere = false
    let found = try outcome { forger in
      try forger.forgePlan { text in
        isThere = text.contains(old)
        text.replaceFirst(old, with: new)
      }
    }
    #expect(isThere && isRefused(found), "\(found)")
  }

  /// A plan whose arrays are sums of sums: each doubles the work of the one before.
  @Test func aPlanOfEndlessWorkIsRefused() throws {
    let found = try outcome { forger in
      try forger.forgePlan { text in
        guard var plan = try? JSONDecoder().decode(CachePlan.self, from: Data(text.utf8)) else {
          return
        }
        for number in 0..<40 {
          let last = number == 0 ? plan.hooks[0].name : "b\(number - 1)"
          plan.hooks.append(
            HookSpec(
              name: "b\(number)", shape: plan.hooks[0].shape, recipe: .sum([last, last])))
        }
        if let bytes = try? JSONEncoder().encode(plan) {
          text = String(decoding: bytes, as: UTF8.self)
        }
      }
    }
    guard case .caught(.badPlan(_, let what)) = found else {
      Issue.record("\(found)")
      return
    }
    #expect(what.hasSuffix("takes too many steps"))
  }

  @Test func aNewerFormatIsNamed() throws {
    let found = try outcome { forger in
      try forger.forgeManifest { $0 = "{\"format\":6,\"whatever\":[1,2]}\n" }
    }
    guard case .caught(.some(let error)) = found else {
      Issue.record("a newer format was read")
      return
    }
    #expect(error.exitCode == .badData)
    #expect(error.description.contains("was written by format 6, this program reads up to 5"))
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
  @Test(arguments: [
    "manifest", "plan.json", "prompts.jsonl", "pairs.jsonl", "segment-000000.pbs",
  ])
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
