@testable import CacheFormat
import TestSupport
import Testing

/// Two caches compared.
@Suite struct DifferenceTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func reader(_ capture: Capture, _ name: String) throws -> CacheReader {
    try capture.write(to: directory.path(name))
    return try CacheReader(directory: directory.path(name))
  }

  private func difference(
    _ a: Capture, _ b: Capture, hooks: Set<String>? = nil, threads: Int = 2
  ) throws -> CacheDifference {
    try reader(a, "a").difference(to: try reader(b, "b"), hooks: hooks, threads: threads)
  }

  @Test func equalCachesDoNotDiffer() throws {
    let capture = Capture()
    var other = capture
    // Where segments end is no difference of values.
    other.plan.segmentBytes = 300
    other.plan.kernel = "another"
    let found = try difference(capture, other)
    #expect(found.isEmpty && found.sharedPrompts == 3 && found.sharedArrays == 12)
    #expect(found.hooks.allSatisfy { $0.largest == nil && $0.place == nil && $0.arrays == 3 })
    #expect(
      found.plan == [
        .init(name: "kernel", first: "none", second: "another"),
        .init(name: "segment bytes", first: "1048576", second: "300"),
      ])
  }

  @Test func derivedArraysEqualStoredOnes() throws {
    let compact = Capture.derived()
    var full = compact
    for hook in full.plan.hooks.indices { full.plan.hooks[hook].recipe = nil }
    let found = try difference(compact, full)
    #expect(found.isEmpty && found.sharedArrays > 0)
    #expect(found.plan.map(\.name) == ["derived hooks"])
  }

  @Test func theLargestDifferenceIsFoundAndPlaced() throws {
    var capture = Capture(lengths: [3, 5, 2])
    capture.arrays[0] = capture.arrays[0].map { $0.map { _ in 2 } }
    var other = capture
    other.arrays[0][0][7] = 2.5
    other.arrays[0][1][8 * 4 + 3] = 1
    other.arrays[0][1][8 * 4 + 4] = 3
    let found = try difference(capture, other)
    #expect(!found.isEmpty && found.unequalArrays == 2)
    let hook = found.hooks[0]
    #expect(hook.unequalArrays == 2 && hook.unequalValues == 3 && hook.incomparableValues == 0)
    #expect(hook.largest == 1 && hook.largestOfRMS == 0.5)
    #expect(
      hook.place
        == .init(
          hook: "blocks.0.hook_resid_pre", firstPrompt: 1, secondPrompt: 1, index: [4, 3],
          first: 2, second: 1))
    #expect(found.hooks.dropFirst().allSatisfy { $0.unequalArrays == 0 })
  }

  @Test func bitsDecide() throws {
    var capture = Capture(lengths: [3, 5, 2])
    capture.arrays[0][0][0] = .nan
    capture.arrays[0][0][1] = Float(bitPattern: 0xFFC0_0123)
    capture.arrays[0][0][2] = -.infinity
    capture.arrays[1][1][0] = 0
    var other = capture
    #expect(try difference(capture, other).isEmpty)

    other.arrays[0][0][1] = Float(bitPattern: 0xFFC0_0124)
    other.arrays[1][1][0] = -0.0
    let found = try CacheReader(directory: directory.path("a")).difference(
      to: try reader(other, "c"), threads: 1)
    #expect(found.unequalArrays == 2 && !found.isEmpty)
    #expect(found.hooks[0].incomparableValues == 1 && found.hooks[0].largest == nil)
    #expect(found.hooks[0].place?.index == [0, 1])
    #expect(found.hooks[1].incomparableValues == 0 && found.hooks[1].unequalValues == 1)
    #expect(found.hooks[1].largest == 0 && found.hooks[1].largestOfRMS == 0)
  }

  @Test func aFiniteDifferenceIsToldBesideInfiniteOnes() throws {
    let capture = Capture(lengths: [3, 5, 2])
    var other = capture
    other.arrays[3][0][0] = .infinity
    other.arrays[3][2][1] += 0.25
    let hook = try difference(capture, other).hooks[3]
    #expect(hook.incomparableValues == 1 && hook.unequalArrays == 2)
    #expect(hook.largest == 0.25 && hook.place?.firstPrompt == 2 && hook.place?.index == [0, 1])
  }

  @Test func promptsAreMatchedByWhatTheyAre() throws {
    let capture = Capture(lengths: [3, 5, 2, 4])
    var other = capture
    let order = [3, 0, 2]
    other.prompts = order.map { capture.prompts[$0] } + [capture.prompts[1]]
    other.prompts[3].tokens[0] += 1
    other.arrays = capture.arrays.map { arrays in order.map { arrays[$0] } + [arrays[1]] }
    other.arrays[1][0][2] += 1
    let found = try difference(capture, other)
    #expect(found.sharedPrompts == 3)
    #expect(found.promptsOnlyInFirst == [1] && found.promptsOnlyInSecond == [3])
    #expect(found.unequalArrays == 1 && found.sharedArrays == 12)
    let place = try #require(found.hooks[1].place)
    #expect(place.firstPrompt == 3 && place.secondPrompt == 0 && place.index == [2, 0])
  }

  @Test func promptsThatWereNotCapturedAreMissing() throws {
    let capture = Capture(lengths: [3, 5, 2], segmentBytes: 300)
    let whole = try reader(capture, "whole")
    let writer = try CacheWriter(
      directory: directory.path("part"), plan: capture.plan, prompts: capture.prompts,
      pairs: capture.pairs, fileSystem: UnsyncedFileSystem())
    try writer.commit(try capture.seal(segment: 0, of: writer))
    let part = try CacheReader(directory: directory.path("part"))
    let found = try whole.difference(to: part, threads: 1)
    #expect(found.promptsOnlyInFirst == [1, 2] && found.promptsOnlyInSecond == [])
    #expect(found.unequalArrays == 0 && found.sharedPrompts == 1 && !found.isEmpty)
    #expect(found.plan == [.init(name: "complete", first: "yes", second: "no")])
    #expect(try part.difference(to: whole, threads: 1).promptsOnlyInSecond == [1, 2])
  }

  @Test func hooksAreMatchedByNameAndShape() throws {
    let names = ["one", "two", "three"]
    func capture(_ hooks: [(String, Int)]) -> Capture {
      Capture(
        lengths: [2, 3],
        hooks: hooks.map { HookSpec(name: $0.0, shape: [.positions, .fixed($0.1)]) })
    }
    let a = capture(names.map { ($0, 2) })
    var b = capture([("three", 2), ("two", 3), ("four", 2)])
    b.arrays[0] = a.arrays[2]
    let found = try difference(a, b)
    #expect(found.hooks.map(\.name) == ["three"] && found.unequalArrays == 0)
    #expect(found.hooksOnlyInFirst == ["one"] && found.hooksOnlyInSecond == ["four"])
    #expect(found.hooksOfOtherShape == ["two"] && !found.isEmpty)
    // What was not chosen does not count.
    let chosen = try CacheReader(directory: directory.path("a")).difference(
      to: try CacheReader(directory: directory.path("b")), hooks: ["three"], threads: 1)
    #expect(chosen.isEmpty && chosen.sharedArrays == 2)
  }

  @Test func kindsAddUpAndThreadsDoNotMatter() throws {
    let hooks = (0..<3).map {
      HookSpec(name: "blocks.\($0).hook_z", shape: [.positions, .fixed(50)])
    }
    let capture = Capture(lengths: (1...40).map { 1 + $0 % 5 }, hooks: hooks, segmentBytes: 9000)
    var other = capture
    other.arrays[1][33][12] += 0.5
    other.arrays[2][7][3] -= 0.75
    let (a, b) = (try reader(capture, "a"), try reader(other, "b"))
    for threads in [1, 2, 5] {
      let found = try a.difference(to: b, threads: threads)
      #expect(found.kinds.count == 1 && found.kinds[0].hooks == 3 && found.kinds[0].arrays == 120)
      let kind = try #require(found.kinds.first)
      #expect(kind.name == "blocks.*.hook_z" && kind.unequalArrays == 2)
      #expect(kind.largest == found.hooks[2].largest)
      #expect(kind.place?.hook == "blocks.2.hook_z" && kind.place?.firstPrompt == 7)
      let rms = rootMeanSquare(capture.arrays[2].flatMap { $0 })
      #expect(abs((kind.largestOfRMS ?? 0) * rms - (kind.largest ?? 0)) < 1e-12)
    }
  }

  @Test func aDamagedArrayStopsTheComparison() throws {
    let capture = Capture()
    let sound = try reader(capture, "sound")
    let forger = try Forger(capture, in: directory.path("damaged"))
    var segment = try contents(forger.segmentPath)
    segment[forger.offset(hook: 1, prompt: 2, in: segment) + 64] ^= 1
    try overwrite(forger.segmentPath, segment)
    let damaged = try CacheReader(directory: forger.directory)
    for (a, b) in [(sound, damaged), (damaged, sound)] {
      let error = #expect(throws: CacheError.self) { try a.difference(to: b, threads: 1) }
      #expect(error?.description.contains("prompt 2, blocks.0.ln1.hook_scale") == true)
    }
  }
}
