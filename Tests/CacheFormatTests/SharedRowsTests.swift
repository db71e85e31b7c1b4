import CacheFormat
import FileIO
import TestSupport
import Testing

/// Rows that prompts of a segment have in common are stored once, and come back all the same.
@Suite struct SharedRowsTests {
  /// What a block says of the rows that it leaves out.
  private struct Sharing: Equatable {
    var base: Int
    var count: Int
  }

  /// By prompt, of one hook of the first segment; nil where the block has all rows.
  private func sharings(_ forger: Forger, hook: Int) throws -> [Sharing?] {
    let segment = try contents(forger.segmentPath)
    return (0..<forger.prompts).map { prompt in
      let block = forger.offset(hook: hook, prompt: prompt, in: segment)
      guard segment[block + 34] == 2 else { return nil }
      return Sharing(
        base: Int(forger.number(segment, block + 52, 4)),
        count: Int(forger.number(segment, block + 57, 3)))
    }
  }

  /// By prompt, comparing each with each: the root with the most tokens in common, the first of
  /// equals, if they are a third of the prompt's.
  private func naiveSharings(_ prompts: [Prompt]) -> [Sharing?] {
    var found: [Sharing?] = []
    for prompt in prompts {
      var best = Sharing(base: 0, count: 0)
      for (number, other) in prompts.prefix(found.count).enumerated() where found[number] == nil {
        let count = zip(prompt.tokens, other.tokens).prefix { $0 == $1 }.count
        if count > best.count { best = Sharing(base: number, count: count) }
      }
      found.append(best.count > 0 && 3 * best.count >= prompt.tokens.count ? best : nil)
    }
    return found
  }

  @Test(arguments: ElementType.allCases, [FileAccess.mapped, .pread])
  func sharedRowsComeBack(elementType: ElementType, access: FileAccess) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("sharedRowsComeBack: seed \(seed)")
    let capture = Capture.causal(elementType, seed: seed)
    let directory = try TemporaryDirectory()
    let forger = try Forger(capture, in: directory.path("cache"))
    let expected = naiveSharings(capture.prompts)
    #expect(expected.compactMap { $0 }.count > 4, "seed \(seed)")
    for hook in [0, 2, 5] { #expect(try sharings(forger, hook: hook) == expected, "seed \(seed)") }
    for hook in [1, 4] {
      #expect(try sharings(forger, hook: hook).allSatisfy { $0 == nil }, "seed \(seed)")
    }
    let reader = try CacheReader(directory: forger.directory, access: access)
    #expect(try capture.agrees(with: reader, prompts: 24), "seed \(seed)")
    #expect(try reader.verify().isHealthy, "seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let hook = Int.random(in: capture.plan.hooks.indices, using: &generator)
      let prompt = Int.random(in: capture.prompts.indices, using: &generator)
      let found = try reader.withValues(hook: hook, prompt: prompt) { bits(Array($0)) }
      #expect(found == bits(capture.arrays[hook][prompt]), "seed \(seed)")
    }
  }

  private static let rows = HookSpec(name: "rows", shape: [.positions, .fixed(50)])

  /// Prompts of six tokens; all but the first two begin as the first does.
  private static func pairs(_ hooks: [HookSpec] = [rows]) -> Capture {
    var capture = Capture(lengths: [6, 6, 6, 6], hooks: hooks)
    capture.share(4, of: 0, with: 2)
    capture.share(2, of: 0, with: 3)
    return capture
  }

  @Test func onlyRowsThatDifferAreStored() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(SharedRowsTests.pairs(), in: directory.path("cache"))
    #expect(
      try sharings(forger, hook: 0)
        == [nil, nil, Sharing(base: 0, count: 4), Sharing(base: 0, count: 2)])
    let reader = try CacheReader(directory: forger.directory)
    let summary = reader.summary().hooks[0]
    let kinds = summary.encodings.reduce(into: [Bool: Int]()) {
      $0[$1.key.hasPrefix("shared"), default: 0] += $1.value
    }
    #expect(kinds == [true: 2, false: 2])
    #expect(summary.rawBytes == 24 * 200 && summary.storedBytes <= 18 * 200)
    #expect(try reader.verify().checkedBytes == 24 * 200)
  }

  /// One bit in the rows that should be equal, as a model that looks ahead would have it.
  @Test func rowsThatDifferInABitAreStored() throws {
    let directory = try TemporaryDirectory()
    var capture = SharedRowsTests.pairs()
    capture.arrays[0][2][199] = Float(bitPattern: capture.arrays[0][2][199].bitPattern ^ 1)
    let forger = try Forger(capture, in: directory.path("cache"))
    #expect(try sharings(forger, hook: 0) == [nil, nil, nil, Sharing(base: 0, count: 2)])
    #expect(Outcome.of(forger.directory, capture).outcome == .sound)

    // Two zeros that are equal as numbers, and NaNs, which are not.
    capture = SharedRowsTests.pairs()
    capture.arrays[0][0][7] = 0
    capture.arrays[0][2][7] = -0.0
    capture.arrays[0][0][8] = .nan
    capture.arrays[0][2][8] = .nan
    capture.arrays[0][3][7] = 0
    capture.arrays[0][3][8] = .nan
    let other = try Forger(capture, in: directory.path("other"))
    #expect(try sharings(other, hook: 0) == [nil, nil, nil, Sharing(base: 0, count: 2)])
    #expect(Outcome.of(other.directory, capture).outcome == .sound)
  }

  /// What rounds to the same elements is shared.
  @Test func rowsAreComparedAsTheyAreStored() throws {
    let directory = try TemporaryDirectory()
    var capture = SharedRowsTests.pairs()
    capture.plan.elementType = .bf16
    capture.arrays[0] = capture.arrays[0].map { $0.map { Float(Int($0 * 8)) } }
    capture.arrays[0][0][5] = 1
    capture.arrays[0][2][5] = 1.001
    capture.arrays[0][3][5] = 2
    let forger = try Forger(capture, in: directory.path("cache"))
    #expect(try sharings(forger, hook: 0) == [nil, nil, Sharing(base: 0, count: 4), nil])
    capture.arrays[0][2][5] = 1
    #expect(Outcome.of(forger.directory, capture).outcome == .sound)
  }

  @Test func aPromptThatIsTheBeginningOfItsBaseStoresNothing() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture(lengths: [6, 4, 6], hooks: SharedRowsTests.pairs().plan.hooks)
    capture.share(4, of: 0, with: 1)
    capture.share(6, of: 0, with: 2)
    let forger = try Forger(capture, in: directory.path("cache"))
    #expect(
      try sharings(forger, hook: 0)
        == [nil, Sharing(base: 0, count: 4), Sharing(base: 0, count: 6)])
    let reader = try CacheReader(directory: forger.directory)
    #expect(reader.summary().hooks[0].encodings["shared"] == 2)
    #expect(Outcome.of(forger.directory, capture).outcome == .sound)
  }

  /// Arrays without an element share nothing, prompts without a token neither.
  @Test func emptyArraysComeBack() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture(
      lengths: [2, 0, 2, 0],
      hooks: [
        HookSpec(name: "none", shape: [.positions, .fixed(0)]),
        HookSpec(name: "some_post", shape: [.positions, .fixed(900)]),
      ])
    capture.share(2, of: 0, with: 2)
    let forger = try Forger(capture, in: directory.path("cache"))
    #expect(try sharings(forger, hook: 0) == [nil, nil, nil, nil])
    #expect(try sharings(forger, hook: 1) == [nil, nil, Sharing(base: 0, count: 2), nil])
    #expect(Outcome.of(forger.directory, capture).outcome == .sound)
  }

  @Test func segmentsShareNothing() throws {
    let directory = try TemporaryDirectory()
    var capture = SharedRowsTests.pairs()
    capture.plan.segmentBytes = 2 * 6 * 200
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(reader.summary().segments == 2)
    // The fourth prompt has two rows in common with the third, which is a root of its segment.
    let shared = reader.summary().hooks[0].encodings.filter { $0.key.hasPrefix("shared") }
    #expect(shared.values.reduce(0, +) == 1)
    #expect(Outcome.of(reader.directory, capture).outcome == .sound)
  }

  /// The array of the base is derived; the other one's recipe failed.
  @Test func rowsOfADerivedArrayAreNotShared() throws {
    let directory = try TemporaryDirectory()
    let twice = HookSpec(name: "twice", shape: SharedRowsTests.rows.shape, recipe: .sum(["rows"]))
    var capture = SharedRowsTests.pairs([SharedRowsTests.rows, twice])
    capture.deriveArrays()
    capture.arrays[1][2][299] += 1
    let forger = try Forger(capture, in: directory.path("cache"))
    let encodings = try CacheReader(directory: forger.directory).summary().hooks[1].encodings
    #expect(encodings["derived"] == 2)
    #expect(encodings.keys.allSatisfy { !$0.hasPrefix("shared") }, "\(encodings)")
    #expect(Outcome.of(forger.directory, capture).outcome == .sound)
  }

  @Test func bytesDependOnTheCaptureAlone() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture.causal(.f32, seed: 11)
    capture.plan.segmentBytes = 200_000
    try capture.write(to: directory.path("one"))
    let writer = try CacheWriter(
      directory: directory.path("two"), plan: capture.plan, prompts: capture.prompts,
      pairs: capture.pairs, fileSystem: UnsyncedFileSystem())
    #expect(writer.segmentRanges.count > 1)
    let sealed = try writer.segmentRanges.indices.reversed().map {
      try capture.seal(segment: $0, of: writer)
    }
    for segment in sealed.reversed() { try writer.commit(segment) }
    try writer.finish()
    #expect(try allContents(directory.path("one")) == allContents(directory.path("two")))
  }

  private static let damaged: Capture = {
    var capture = pairs([
      rows, HookSpec(name: "a_pattern", shape: [.fixed(2), .positions, .positions]),
    ])
    capture.share(3, of: 1, with: 3)
    return capture
  }()

  @Test func aDamagedBaseIsNamedByThoseThatShareWithIt() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(SharedRowsTests.damaged, in: directory.path("cache"))
    #expect(
      try sharings(forger, hook: 0)
        == [nil, nil, Sharing(base: 0, count: 4), Sharing(base: 1, count: 3)])
    var segment = try contents(forger.segmentPath)
    segment[forger.offset(hook: 0, prompt: 0, in: segment) + 64 + 200] ^= 4
    try overwrite(forger.segmentPath, segment)
    for access in [FileAccess.mapped, .pread] {
      let reader = try CacheReader(directory: forger.directory, access: access)
      func problem(_ prompt: Int, _ problem: BlockProblem) -> CacheError {
        .badBlock(file: forger.segmentPath, prompt: prompt, hook: "rows", problem: problem)
      }
      #expect(throws: problem(0, .storedChecksum)) { try reader.read(hook: 0, prompt: 0) }
      let error = problem(2, .base(prompt: 0, problem: .storedChecksum))
      #expect(throws: error) { try reader.read(hook: 0, prompt: 2) }
      #expect(
        error.description.contains(
          "prompt 2, rows: it shares rows with prompt 0, whose array is damaged: its bytes"))
      for prompt in [1, 3] {
        let expected = bits(SharedRowsTests.damaged.arrays[0][prompt])
        #expect(bits(try reader.read(hook: 0, prompt: prompt)) == expected)
      }
      let report = try reader.verify()
      #expect(report.damaged == 2 && report.checkedArrays == 6)
      #expect(report.findings.map(\.prompt) == [0] && report.findings.map(\.more) == [1])
    }
    let repair = try CacheRepair(of: forger.directory)
    #expect(repair.keptPrompts == 0 && repair.lost.map(\.prompts) == [4])
  }

  /// What the header of a block of shared rows says, with checksums that fit.
  private func problem(
    hook: Int = 0, prompt: Int = 2, base: UInt32? = nil, count: UInt32? = nil,
    capture: Capture = damaged, _ change: (Forger, inout [UInt8]) -> Void = { _, _ in }
  ) throws -> BlockProblem? {
    let directory = try TemporaryDirectory()
    let forger = try Forger(capture, in: directory.path("cache"))
    try forger.forgeSegment { segment in
      let block = forger.offset(hook: hook, prompt: prompt, in: segment)
      segment[block + 34] = 2
      if let base { forger.put(base, at: block + 52, in: &segment) }
      if let count {
        for byte in 0..<3 { segment[block + 57 + byte] = UInt8(count >> (8 * byte) & 0xFF) }
      }
      change(forger, &segment)
    }
    let (outcome, silent) = Outcome.of(forger.directory, capture)
    guard case .caught(.badBlock(_, prompt, _, let problem)) = outcome, !silent else { return nil }
    return problem
  }

  @Test func basesThatCannotBeAreRefused() throws {
    for base in [2, 3, 4, 0x8000_0000, 0xFFFF_FFFF] as [UInt32] {
      #expect(
        try problem(base: base)
          == .impossible("rows of prompt \(base), which is no earlier one of the segment"))
    }
    for count in [0, 7, 0xFF, 0xFFFF, 0xFF_FFFF] as [UInt32] {
      #expect(
        try problem(count: count)
          == .impossible("\(count) shared rows, which the two prompts do not have"))
    }
    // Rows that both prompts have, but as many as do not fit the bytes that follow.
    for count in [3, 5, 6] as [UInt32] {
      #expect(try problem(count: count) != nil, "\(count) rows")
    }
    for (hook, prompt) in [(1, 2), (1, 3)] {
      #expect(
        try problem(hook: hook, prompt: prompt, base: 0, count: 1)
          == .impossible("shared rows where the shape has none"))
    }
  }

  @Test func aBaseThatSharesRowsItselfIsRefused() throws {
    #expect(
      try problem(prompt: 3, base: 2)
        == .base(prompt: 2, problem: .impossible("shared rows, so that it cannot be a base")))
  }

  /// Another earlier prompt has as many rows, but not these: only the checksum of the values tells.
  @Test func anotherBaseIsFoundByVerification() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(SharedRowsTests.damaged, in: directory.path("cache"))
    try forger.forgeSegment { segment in
      forger.put(
        UInt32(1), at: forger.offset(hook: 0, prompt: 2, in: segment) + 52, in: &segment)
    }
    let report = try CacheReader(directory: forger.directory).verify()
    #expect(report.damaged == 1 && report.findings.map(\.prompt) == [2])
    #expect(report.findings[0].problem.contains("decodes to other values"))
  }

  @Test func moreRowsThanTheBaseHasAreRefused() throws {
    var capture = Capture(lengths: [3, 6], hooks: [SharedRowsTests.rows])
    capture.share(3, of: 0, with: 1)
    #expect(
      try problem(prompt: 1, count: 4, capture: capture)
        == .impossible("4 shared rows, which the two prompts do not have"))
  }

  @Test func aBaseOfAnotherSegmentIsRefused() throws {
    let directory = try TemporaryDirectory()
    var capture = SharedRowsTests.pairs()
    capture.plan.segmentBytes = 2 * 6 * 200
    let forger = try Forger(capture, in: directory.path("cache"), segment: 1)
    try forger.forgeSegment { segment in
      let block = forger.offset(hook: 0, prompt: 1, in: segment)
      #expect(segment[block + 34] == 2 && forger.number(segment, block + 52, 4) == 2)
      forger.put(UInt32(1), at: block + 52, in: &segment)
    }
    let reader = try CacheReader(directory: forger.directory)
    #expect(
      throws: CacheError.badBlock(
        file: forger.segmentPath, prompt: 3, hook: "rows",
        problem: .impossible("rows of prompt 1, which is no earlier one of the segment"))
    ) { try reader.read(hook: 0, prompt: 3) }
  }

  /// A stored array, whose recipe failed, that is said to share rows with one that is derived.
  @Test func aBaseThatIsDerivedIsRefused() throws {
    let row = HookSpec(name: "row", shape: [.positions, .fixed(1)])
    let same = HookSpec(name: "same", shape: row.shape, recipe: .sum(["row"]))
    var capture = Capture(lengths: [2, 2], hooks: [row, same])
    capture.deriveArrays()
    capture.arrays[1][1][1] += 1
    let found = try problem(hook: 1, prompt: 1, base: 0, count: 1, capture: capture) {
      forger, segment in
      let block = forger.offset(hook: 1, prompt: 1, in: segment)
      let entry = forger.indexOffset(segment) + 16 * (1 * forger.prompts + 1)
      for place in [block + 40, entry + 8] { forger.put(UInt32(4), at: place, in: &segment) }
      for byte in 4..<8 { segment[block + 64 + byte] = 0 }
    }
    #expect(found == .base(prompt: 0, problem: .impossible("nothing")))
  }

  /// The same cache under the number of a format that has no shared rows.
  @Test(arguments: [1, 2])
  func olderFormatsHaveNone(format: Int) throws {
    let directory = try TemporaryDirectory()
    var capture = SharedRowsTests.pairs()
    // Nothing to gain, so that no encoding is used that the first format has not.
    var generator = SeededGenerator(seed: 12)
    capture.arrays[0] = capture.arrays[0].map {
      $0.map { _ in Float(bitPattern: UInt32.random(in: 0..<0x7F80_0000, using: &generator)) }
    }
    capture.share(4, of: 0, with: 2)
    capture.share(2, of: 0, with: 3)
    let forger = try Forger(capture, in: directory.path("cache"))
    try forger.forgePlan {
      $0.replaceFirst("\"formatVersion\" : 5", with: "\"formatVersion\" : \(format)")
    }
    try forger.forgeManifest { $0.replaceFirst("\"format\":5", with: "\"format\":\(format)") }
    let digest = try contents(forger.planPath).withUnsafeBytes { sha256($0) }
    let key = stride(from: 0, to: 64, by: 2).map { place in
      let start = digest.index(digest.startIndex, offsetBy: place)
      return UInt8(digest[start...].prefix(2), radix: 16) ?? 0
    }
    try forger.forgeSegment { segment in
      forger.put(UInt32(format), at: 8, in: &segment)
      segment.replaceSubrange(28..<60, with: key)
      for prompt in 0..<4 {
        let block = forger.offset(hook: 0, prompt: prompt, in: segment)
        segment.replaceSubrange(block + 8..<block + 16, with: key[..<8])
      }
      segment.replaceSubrange(segment.count - 32..<segment.count - 24, with: key[..<8])
    }
    let reader = try CacheReader(directory: forger.directory)
    for prompt in 0..<2 {
      #expect(
        bits(try reader.read(hook: 0, prompt: prompt)) == bits(capture.arrays[0][prompt]))
    }
    for prompt in 2..<4 {
      #expect(
        throws: CacheError.badBlock(
          file: forger.segmentPath, prompt: prompt, hook: "rows",
          problem: .impossible("a packing that format \(format) does not have"))
      ) { try reader.read(hook: 0, prompt: prompt) }
    }
    #expect(try reader.verify().damaged == 2)
  }
}
