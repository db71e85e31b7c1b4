import CacheFormat
import FileIO
import TestSupport
import Testing

/// What goes in comes out, bit for bit.
@Suite struct RoundTripTests {
  @Test func aSmallCaptureReadsBack() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(lengths: [3, 5, 2, 7, 1], segmentBytes: 700)
    try capture.write(to: directory.path("cache"), fileSystem: SystemCalls())
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(reader.isComplete)
    #expect(reader.committedPrompts == 5)
    #expect(reader.committedTokens == 18)
    #expect(reader.plan.hooks == capture.plan.hooks)
    #expect(try reader.prompts() == capture.prompts)
    #expect(try reader.pairs() == capture.pairs)
    #expect(try (0..<5).map { try reader.positions(prompt: $0) } == [3, 5, 2, 7, 1])
    #expect(try capture.agrees(with: reader, prompts: 5))
  }

  /// Sizes about the edges of what kernels and chunks take at a time.
  @Test(arguments: ElementType.allCases)
  func everySizeReadsBack(type: ElementType) throws {
    let sizes =
      Array(0...33) + [61, 127, 509, 511, 512, 513, 1021, 2049, 32255, 32256, 32257, 64511, 64513]
    let hooks = sizes.map { HookSpec(name: "h\($0)_post", shape: [.fixed($0), .positions]) }
    let capture = Capture(lengths: [1], hooks: hooks, elementType: type)
    let directory = try TemporaryDirectory()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    // Small whole numbers survive any element type.
    #expect(try capture.agrees(with: reader, prompts: 1))
    #expect(try reader.verify().isHealthy)
  }

  @Test func everyKindOfFloatReadsBack() throws {
    var patterns: [UInt32] = [
      0, 0x8000_0000, 1, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x7F80_0000,
      0xFF80_0000, 0x7F80_0001, 0x7FC0_0000, 0xFFC0_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FA5_5A5A,
    ]
    var generator = SeededGenerator(seed: 2)
    patterns += (0..<5000).map { _ in UInt32.random(in: 0 ... .max, using: &generator) }
    var capture = Capture(
      lengths: [1], hooks: [HookSpec(name: "all", shape: [.fixed(patterns.count)])])
    capture.arrays = [[patterns.map { Float(bitPattern: $0) }]]
    let directory = try TemporaryDirectory()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(try capture.agrees(with: reader, prompts: 1))
  }

  @Test func aHookIsReadIntoGivenMemory() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"), checksums: false)
    var values = [Float](repeating: -1, count: 40)
    try values.withUnsafeMutableBufferPointer { try reader.read(hook: 0, prompt: 1, into: $0) }
    #expect(bits(values) == bits(capture.arrays[0][1]))
    #expect(throws: CacheError.self) {
      try values.withUnsafeMutableBufferPointer {
        try reader.read(hook: 0, prompt: 1, into: .init(rebasing: $0[..<39]))
      }
    }
  }

  @Test func threadsReadSideBySide() async throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(lengths: Array(repeating: 6, count: 40), segmentBytes: 2000)
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    let agreed = await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask { (try? capture.agrees(with: reader, prompts: 40)) ?? false }
      }
      return await group.reduce(true) { $0 && $1 }
    }
    #expect(agreed)
  }

  @Test func bytesDependOnTheCaptureAlone() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(lengths: [3, 5, 2, 7, 1, 4], segmentBytes: 700)
    try capture.write(to: directory.path("one"))
    let writer = try CacheWriter(
      directory: directory.path("two"), plan: capture.plan, prompts: capture.prompts,
      pairs: capture.pairs, fileSystem: UnsyncedFileSystem())
    let sealed = try writer.segmentRanges.indices.reversed().map {
      try capture.seal(segment: $0, of: writer)
    }
    for segment in sealed.reversed() { try writer.commit(segment) }
    try writer.finish()
    let names = try fileNames(directory.path("one"))
    #expect(try fileNames(directory.path("two")) == names)
    #expect(names.count > 6)
    for name in names {
      #expect(
        try contents(directory.path("one/" + name)) == contents(directory.path("two/" + name)))
    }
  }

  @Test func anEncodingIsChosenForEachHook() throws {
    let noise = HookSpec(name: "noise", shape: [.positions, .fixed(64)])
    let zeros = HookSpec(name: "some_pattern", shape: [.fixed(40), .positions, .positions])
    var capture = Capture(lengths: [64, 64], hooks: [noise, zeros])
    var generator = SeededGenerator(seed: 3)
    capture.arrays[0] = capture.arrays[0].map {
      $0.map { _ in
        // An exponent of every size: nothing to gain.
        Float(bitPattern: UInt32.random(in: 0..<0x7F80_0000, using: &generator))
      }
    }
    let directory = try TemporaryDirectory()
    try capture.write(to: directory.path("cache"))
    let summary = try CacheReader(directory: directory.path("cache")).summary()
    #expect(summary.hooks[0].encodings == ["raw": 2])
    #expect(summary.hooks[1].encodings.keys.allSatisfy { $0.hasPrefix("lz4") })
    #expect(summary.hooks[1].storedBytes * 10 < summary.hooks[1].rawBytes * 9)
  }
}
