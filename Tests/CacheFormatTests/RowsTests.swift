import CacheFormat
import FileIO
import TestSupport
import Testing

/// Rows that are read without the rest of their array.
@Suite struct RowsTests {
  /// Any rows of any array, in any order, are those of the whole array bit for bit, with shared rows and
  /// without, over one chunk and several; from a disk and from memory, which are read in other ways.
  @Test(
    arguments: ElementType.allCases,
    [(FileAccess.mapped, "/tmp"), (.mapped, "/dev/shm"), (.pread, "/tmp")])
  func areThoseOfTheWholeArray(elementType: ElementType, from: (FileAccess, String)) throws {
    let (access, place) = from
    let seed = UInt64.random(in: 0...UInt64.max)
    print("areThoseOfTheWholeArray: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory(in: place)
    for (name, capture) in [
      ("derived", Capture.derived(elementType: elementType, seed: seed)),
      ("stored", RowsTests.long(elementType, seed: seed)),
    ] {
      let path = directory.path(name)
      try capture.write(to: path)
      let reader = try CacheReader(directory: path, access: access)
      let hooks = capture.plan.hooks.indices.filter { capture.plan.hooks[$0].isRows }
      #expect(hooks.count > 2)
      for _ in 0..<400 {
        let hook = try #require(hooks.randomElement(using: &generator))
        let prompt = Int.random(in: capture.prompts.indices, using: &generator)
        let T = capture.prompts[prompt].tokens.count
        let ends = [0, 1].map { _ in Int.random(in: 0...T, using: &generator) }.sorted()
        let whole = try reader.read(hook: hook, prompt: prompt)
        let width = whole.count / T
        let found = try reader.withRows(ends[0]..<ends[1], hook: hook, prompt: prompt) {
          bits(Array($0))
        }
        #expect(
          found == bits(Array(whole[ends[0] * width..<ends[1] * width])),
          "seed \(seed), \(capture.plan.hooks[hook].name) of \(prompt), \(ends)")
      }
    }
  }

  /// Arrays of several chunks, raw, by lanes and by planes; prompts that begin alike.
  private static func long(_ elementType: ElementType, seed: UInt64) -> Capture {
    var capture = Capture(
      lengths: [63, 63, 40, 7],
      hooks: [
        HookSpec(name: "wide", shape: [.positions, .fixed(1100)]),
        HookSpec(name: "mlp_post", shape: [.positions, .fixed(900)]),
        HookSpec(name: "z", shape: [.positions, .fixed(2), .fixed(3)]),
        HookSpec(name: "scale", shape: [.positions, .fixed(1)]),
      ], elementType: elementType, seed: seed)
    capture.share(30, of: 0, with: 1)
    capture.share(20, of: 0, with: 2)
    return capture
  }

  /// Where a cache in memory has more segments than files are kept open, rows come from the mapping.
  @Test func rowsOfMoreSegmentsThanFiles() throws {
    let directory = try TemporaryDirectory(in: "/dev/shm")
    let capture = Capture(
      lengths: Array(repeating: 5, count: 514),
      hooks: [HookSpec(name: "z", shape: [.positions, .fixed(300)])], segmentBytes: 1)
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(reader.summary().segments == 514)
    for prompt in [0, 511, 512, 513] {
      let found = try reader.withRows(3..<5, hook: 0, prompt: prompt) { bits(Array($0)) }
      #expect(found == bits(Array(capture.arrays[0][prompt][900...])))
    }
  }

  @Test func whatHasNoSuchRowsIsAnError() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    for (hook, rows) in [(0, 0..<4), (0, -1..<2), (0, 3..<4), (2, 0..<1)] {
      let error = #expect(throws: CacheError.self) {
        try reader.withRows(rows, hook: hook, prompt: 0) { _ in }
      }
      guard case .noSuchRows = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    #expect(try reader.withRows(1..<1, hook: 0, prompt: 0) { $0.count } == 0)
  }

  /// A flipped bit anywhere in an array of many chunks is an error, or in none that the rows come from: then
  /// they are what they were.
  @Test func damageElsewhereInTheArrayIsNotRead() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = Capture(
      lengths: [40], hooks: [HookSpec(name: "mlp_post", shape: [.positions, .fixed(300)])])
    try capture.write(to: path)
    let name = try #require(try fileNames(path).first { $0.hasPrefix("segment") })
    let bytes = try contents(path + "/" + name)
    let expected = bits(Array(capture.arrays[0][0][(39 * 300)...]))
    var outcomes = (refused: 0, right: 0)
    for offset in stride(from: 128, to: bytes.count - 200, by: 3) {
      var damaged = bytes
      damaged[offset] ^= 1 << UInt8(offset % 8)
      try overwrite(path + "/" + name, damaged)
      let reader = try CacheReader(directory: path)
      #expect(throws: CacheError.self) { try reader.read(hook: 0, prompt: 0) }
      do {
        let last = try reader.withRows(39..<40, hook: 0, prompt: 0) { bits(Array($0)) }
        #expect(last == expected)
        outcomes.right += 1
      } catch {
        outcomes.refused += 1
      }
    }
    #expect(outcomes.refused > 10 && outcomes.right > outcomes.refused, "\(outcomes)")
  }

  /// A flipped bit anywhere in an array of one chunk is an error, whichever rows are read.
  @Test func damageElsewhereInTheChunkIsAnError() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(
      lengths: [9], hooks: [HookSpec(name: "x", shape: [.positions, .fixed(50)])])
    let path = directory.path("cache")
    try capture.write(to: path)
    let name = try #require(try fileNames(path).first { $0.hasPrefix("segment") })
    let bytes = try contents(path + "/" + name)
    for offset in stride(from: 200, to: bytes.count - 300, by: 37) {
      var damaged = bytes
      damaged[offset] ^= 4
      try overwrite(path + "/" + name, damaged)
      #expect(throws: CacheError.self) {
        try CacheReader(directory: path).withRows(8..<9, hook: 0, prompt: 0) { _ in }
      }
    }
  }

  /// Where a part of a derived array is read, its checksum is not; where all of it is, it is.
  @Test func checksumsOfDerivedArraysAreThoseOfAllRows() throws {
    let directory = try TemporaryDirectory()
    var capture = Capture.derived(lengths: [3, 3, 3, 3], segmentBytes: 1)
    let hook = try #require(capture.plan.hooks.firstIndex { $0.name == "mlp.post" })
    capture.arrays[hook][2][5] += 1
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(throws: CacheError.self) { try reader.withRows(0..<3, hook: hook, prompt: 2) { _ in } }
    let width = capture.arrays[hook][2].count / 3
    let last = try reader.withRows(2..<3, hook: hook, prompt: 2) { bits(Array($0)) }
    #expect(last == bits(Array(capture.arrays[hook][2][(2 * width)...])))
  }
}
