import CacheFormat
import FileIO
import TestSupport
import Testing

/// The writer accepts a capture in the format's order and nothing else.
@Suite struct WriterTests {
  private let capture = Capture(lengths: [3, 2, 4], segmentBytes: 300)

  private func writer(_ directory: TemporaryDirectory) throws -> CacheWriter {
    try CacheWriter(
      directory: directory.path("cache"), plan: capture.plan, prompts: capture.prompts,
      pairs: capture.pairs, fileSystem: UnsyncedFileSystem())
  }

  private func append(_ segment: SegmentWriter, hook: Int, prompt: Int, _ values: [Float]) throws {
    try values.withUnsafeBufferPointer { (values) throws(CacheError) in
      try segment.append(hook: hook, prompt: prompt, values: [values])
    }
  }

  @Test func aCacheExistsFromTheStart() throws {
    let directory = try TemporaryDirectory()
    _ = try writer(directory)
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(!reader.isComplete && reader.committedPrompts == 0)
    #expect(try reader.prompts() == capture.prompts)
    let error = try #require(throws: CacheError.self) { try reader.read(hook: 0, prompt: 0) }
    #expect(error.exitCode == .noInput)
    #expect(error.description.contains("none of 3 are there"))
  }

  @Test func anInterruptedCacheSaysWhatIsThere() throws {
    let directory = try TemporaryDirectory()
    let writer = try writer(directory)
    for segment in 0..<2 { try writer.commit(try capture.seal(segment: segment, of: writer)) }
    _ = try writer.openSegment(2)
    let reader = try CacheReader(directory: directory.path("cache/"))
    #expect(!reader.isComplete && reader.committedPrompts == 2)
    #expect(try capture.agrees(with: reader, prompts: 2))
    let error = try #require(throws: CacheError.self) { try reader.read(hook: 0, prompt: 2) }
    #expect(error.description.contains("prompts 0 to 1 of 3 are there"))
  }

  @Test func arraysComeInOrder() throws {
    let directory = try TemporaryDirectory()
    let writer = try writer(directory)
    let segment = try writer.openSegment(0)
    #expect(throws: CacheError.self) {
      try append(segment, hook: 1, prompt: 0, capture.arrays[1][0])
    }
    #expect(throws: CacheError.self) {
      try append(segment, hook: 0, prompt: 1, capture.arrays[0][1])
    }
    #expect(
      throws: CacheError.wrongCount(
        hook: "blocks.0.hook_resid_pre", prompt: 0, expected: 24, given: 23)
    ) { try append(segment, hook: 0, prompt: 0, Array(capture.arrays[0][0].dropLast())) }
    try append(segment, hook: 0, prompt: 0, capture.arrays[0][0])
    #expect(throws: CacheError.self) {
      try append(segment, hook: 0, prompt: 0, capture.arrays[0][0])
    }
    #expect(throws: CacheError.self) { try segment.seal() }
  }

  @Test(arguments: ElementType.allCases)
  func arraysMayComeInPieces(elementType: ElementType) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("arraysMayComeInPieces: seed \(seed)")
    var capture = Capture.causal(elementType, seed: seed)
    capture.plan.segmentBytes = 20_000
    let directory = try TemporaryDirectory()
    try capture.write(to: directory.path("whole"))
    let names = try fileNames(directory.path("whole"))
    #expect(names.filter { $0.hasPrefix("segment") }.count > 3, "seed \(seed)")
    for count in [2, 3, 50] {
      capture.pieceCount = count
      try capture.write(to: directory.path("\(count)"))
      for name in names {
        #expect(
          try contents(directory.path("\(count)/\(name)"))
            == contents(directory.path("whole/\(name)")),
          "seed \(seed), \(count) pieces, \(name)")
      }
    }
  }

  @Test func segmentsAreCommittedInOrder() throws {
    let directory = try TemporaryDirectory()
    let writer = try writer(directory)
    #expect(writer.segmentRanges == [0..<1, 1..<2, 2..<3])
    let first = try capture.seal(segment: 0, of: writer)
    let second = try capture.seal(segment: 1, of: writer)
    #expect(throws: CacheError.self) { try writer.commit(second) }
    try writer.commit(first)
    #expect(throws: CacheError.self) { try writer.commit(first) }
    #expect(throws: CacheError.self) { try writer.finish() }
    #expect(throws: CacheError.self) { try writer.openSegment(3) }
    #expect(writer.committedPrompts == 1)
  }

  @Test func anAbandonedSegmentLeavesNothing() throws {
    let directory = try TemporaryDirectory()
    let writer = try writer(directory)
    do {
      let segment = try writer.openSegment(0)
      try append(segment, hook: 0, prompt: 0, capture.arrays[0][0])
    }
    #expect(
      try fileNames(directory.path("cache"))
        == ["lock", "manifest", "pairs.jsonl", "plan.json", "prompts.jsonl"])
  }

  @Test func impossiblePlansAreRefused() throws {
    let directory = try TemporaryDirectory()
    func refused(_ change: (inout CachePlan) -> Void) -> Bool {
      var plan = capture.plan
      change(&plan)
      let error = #expect(throws: CacheError.self) {
        try CacheWriter(
          directory: directory.path("cache"), plan: plan, prompts: capture.prompts, pairs: [])
      }
      guard case .unwritablePlan = error else { return false }
      return true
    }
    #expect(refused { $0.hooks[0].name = "../escape" })
    #expect(refused { $0.hooks[0].name = "" })
    #expect(refused { $0.hooks[0].name = $0.hooks[1].name })
    #expect(refused { $0.hooks[0].shape = [.fixed(-1)] })
    #expect(refused { $0.hooks[0].shape = [.fixed(.max), .fixed(2)] })
    #expect(refused { $0.segmentBytes = 0 })
    #expect(refused { $0.store = "half" })
    #expect(try fileNames(directory.path).isEmpty)
  }

  @Test func segmentsAreFilledGreedily() {
    var plan = capture.plan
    plan.hooks = [HookSpec(name: "h", shape: [.positions, .fixed(2)])]
    plan.segmentBytes = 80
    // 8 bytes a token.
    #expect(
      plan.segmentRanges(tokenCounts: [3, 7, 1, 20, 1, 1, 8]) == [0..<2, 2..<3, 3..<4, 4..<7])
    #expect(plan.segmentRanges(tokenCounts: []).isEmpty)
    plan.hooks = [HookSpec(name: "h", shape: [.positions, .fixed(.max / 8)])]
    #expect(plan.segmentRanges(tokenCounts: [9, 9]) == [0..<1, 1..<2])
  }
}
