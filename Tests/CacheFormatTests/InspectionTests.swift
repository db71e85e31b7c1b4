import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// What `cachedump` is told of a cache.
@Suite struct InspectionTests {
  @Test func theSummaryCountsWhatIsThere() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture(lengths: [3, 5, 2], segmentBytes: 700)
    try capture.write(to: directory.path("cache"))
    let summary = try CacheReader(directory: directory.path("cache")).summary()
    #expect(summary.prompts == 3 && summary.plannedPrompts == 3 && summary.tokens == 10)
    #expect(summary.isComplete && summary.problems.isEmpty && summary.pairs == 2)
    let counts = capture.arrays.map { $0.reduce(0) { $0 + $1.count } }
    #expect(summary.hooks.map(\.rawBytes) == counts.map { 4 * $0 })
    #expect(summary.rawBytes == 4 * counts.reduce(0, +))
    #expect(summary.hooks.allSatisfy { $0.encodings.values.reduce(0, +) == 3 })
    #expect(summary.storedBytes <= summary.rawBytes)
    let files = try fileNames(directory.path("cache")).filter { $0.hasPrefix("segment") }
    #expect(summary.segments == files.count && files.count > 1)
    #expect(
      try summary.segmentFileBytes
        == files.map { try contents(directory.path("cache/" + $0)).count }.reduce(0, +))
  }

  @Test func missingSegmentsAreSeenAtAGlance() throws {
    let directory = try TemporaryDirectory()
    try Capture(lengths: [3, 5, 2], segmentBytes: 300).write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    unlink(directory.path("cache/segment-000001.pbs"))
    truncate(directory.path("cache/segment-000002.pbs"), 64)
    let problems = reader.summary().problems
    #expect(problems.count == 2)
    #expect(problems[0].contains("segment-000001.pbs is listed in the manifest but not there"))
    #expect(problems[1].contains("segment-000002.pbs has 64 bytes"))
  }

  @Test func hooksAreGroupedOverLayers() throws {
    let directory = try TemporaryDirectory()
    let hooks = ["hook_embed", "blocks.0.hook_z", "blocks.1.hook_z", "blocks.10.hook_z", "ln"].map {
      HookSpec(name: $0, shape: [.positions, .fixed(2)])
    }
    try Capture(lengths: [3], hooks: hooks).write(to: directory.path("cache"))
    let groups = try CacheReader(directory: directory.path("cache")).summary().groups
    #expect(groups.map(\.name) == ["hook_embed", "blocks.*.hook_z", "ln"])
    #expect(groups.map(\.count) == [1, 3, 1])
    #expect(groups.map(\.rawBytes) == [24, 72, 24])
    #expect(groups[1].encodings == ["raw": 3])
  }

  @Test func aPositionIsSelectedOnTheFirstAxisOfPositions() {
    let rows = HookArray(
      axes: [.init(size: 2, isPositions: true), .init(size: 3, isPositions: false)],
      values: [0, 1, 2, 3, 4, 5])
    #expect(rows.selecting(position: 1)?.values == [3, 4, 5])
    #expect(rows.selecting(position: 1)?.shape == [1, 3])
    #expect(rows.selecting(position: 1)?.axes[0].first == 1)
    #expect(rows.rowLength == 3 && rows.selecting(position: 1)?.rowLength == 3)
    #expect(rows.selecting(position: 2) == nil)
    let heads = HookArray(
      axes: [
        .init(size: 2, isPositions: false), .init(size: 2, isPositions: true),
        .init(size: 2, isPositions: true),
      ], values: [0, 1, 2, 3, 4, 5, 6, 7])
    #expect(heads.selecting(position: 1)?.values == [2, 3, 6, 7])
    #expect(heads.rowLength == 2 && heads.selecting(position: 1)?.rowLength == 2)
    #expect(heads.selecting(head: 1, of: 2)?.values == [4, 5, 6, 7])
    #expect(heads.selecting(head: 1, of: 2)?.axes[0].first == 1)
    #expect(heads.selecting(position: 0)?.selecting(head: 1, of: 2)?.values == [4, 5])
    #expect(heads.selecting(head: 2, of: 2) == nil && heads.selecting(head: 0, of: 3) == nil)
    #expect(rows.selecting(head: 0, of: 3) == nil)
    let fixed = HookArray(axes: [.init(size: 2, isPositions: false)], values: [0, 1])
    #expect(fixed.selecting(position: 0) == nil)
    #expect(fixed.rowLength == 2)
  }

  @Test func promptsAreReadOneByOne() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    #expect(try reader.prompt(1) == capture.prompts[1])
    let error = try #require(throws: CacheError.self) { try reader.prompt(3) }
    #expect(error.exitCode == .noInput)
    #expect(throws: CacheError.self) { try reader.read(hook: 4, prompt: 0) }
    #expect(throws: CacheError.self) { try reader.read(hook: -1, prompt: 0) }
    #expect(throws: CacheError.self) { try reader.read(hook: 0, prompt: -1) }
    #expect(reader.hookIndex("blocks.0.mlp.hook_post") == 3)
    #expect(reader.hookIndex("nothing") == nil)
  }
}
