import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// A capture that dies after any of its calls, by kill -9 or by a loss of power.
@Suite struct CrashTests {
  private static let capture = Capture.derived(lengths: [3, 2, 4, 1, 5], segmentBytes: 5000)

  /// What the journal of an undisturbed capture was, and how many prompts had been acknowledged by
  /// the time of each length of it.
  private func undisturbed(_ path: String) throws -> (
    journal: [JournalingFileSystem.Operation], acknowledged: [(calls: Int, prompts: Int)]
  ) {
    let fileSystem = JournalingFileSystem()
    var acknowledged: [(calls: Int, prompts: Int)] = [(0, 0)]
    try CrashTests.capture.write(to: path, fileSystem: fileSystem) {
      acknowledged.append((fileSystem.journal.count, $0))
    }
    return (fileSystem.journal, acknowledged)
  }

  @Test(arguments: JournalingFileSystem.Unsynced.allCases, [0, 0.5, 1])
  func whatWasAcknowledgedStays(unsynced: JournalingFileSystem.Unsynced, names: Double) throws {
    let capture = CrashTests.capture
    let directory = try TemporaryDirectory()
    let (journal, acknowledged) = try undisturbed(directory.path("undisturbed"))
    let expected = try allContents(directory.path("undisturbed"))
    #expect(journal.count > 60 && acknowledged.last?.prompts == 5)
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    for count in 0...journal.count {
      let note = Comment("seed \(seed), \(count) calls of \(journal.count)")
      let path = directory.path("cache-\(count)")
      mkdir(path, 0o755)
      let files = JournalingFileSystem.crash(
        after: journal[..<count], unsynced: unsynced, names: names, using: &generator)
      for (name, bytes) in files { try overwrite(path + "/" + name, bytes) }

      let safe = acknowledged.last { $0.calls <= count }?.prompts ?? 0
      do {
        let reader = try CacheReader(directory: path)
        #expect(reader.committedPrompts >= safe, note)
        #expect(try capture.agrees(with: reader, prompts: reader.committedPrompts), note)
        #expect(reader.verify().isHealthy, note)
      } catch CacheError.notACache {
        #expect(safe == 0, note)
      }
      try capture.write(to: path, start: .resume)
      #expect(try allContents(path) == expected, note)
    }
  }

  /// A segment that was sealed but not committed is taken as it is, but only if all of it is sound.
  @Test func soundSegmentsAreAdoptedDamagedOnesAreNot() throws {
    let capture = CrashTests.capture
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    do {
      let writer = try CacheWriter(
        directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
        fileSystem: UnsyncedFileSystem())
      for index in 0..<3 {
        let sealed = try capture.seal(segment: index, of: writer)
        if index == 0 { try writer.commit(sealed) }
      }
    }
    var damaged = try contents(path + "/segment-000002.pbs")
    damaged[damaged.count / 3] ^= 1
    try overwrite(path + "/segment-000002.pbs", damaged)

    let writer = try CacheWriter(
      directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
      start: .resume, fileSystem: UnsyncedFileSystem())
    #expect(writer.committedSegments == 1)
    #expect(writer.adopt(2) == nil && writer.adopt(3) == nil)
    let adopted = try #require(writer.adopt(1))
    try writer.commit(adopted)
    for index in 2..<writer.segmentRanges.count {
      try writer.commit(try capture.seal(segment: index, of: writer))
    }
    try writer.finish()
    try capture.write(to: directory.path("undisturbed"))
    for (name, bytes) in try allContents(directory.path("undisturbed")) {
      #expect(try contents(path + "/" + name) == bytes, "\(name)")
    }
  }

  @Test func onlyTheSamePlanIsResumed() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    func start(_ change: (inout Capture) -> Void) throws(CacheError) {
      var capture = CrashTests.capture
      change(&capture)
      _ = try CacheWriter(
        directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
        start: .resume, fileSystem: UnsyncedFileSystem())
    }
    try start { _ in }
    try start { _ in }
    for (change, what): ((inout Capture) -> Void, String) in [
      ({ $0.plan.kernel = "Zen" }, "BLAS kernel was none, now Zen"),
      (
        { $0.plan.model.weightsDigest = String(repeating: "f", count: 64) },
        "weights was aaaaaaaaaaaa…"
      ),
      ({ $0.plan.elementType = .f16 }, "element type was f32, now f16"),
      ({ $0.prompts[0].tokens[0] = 99 }, "the prompts or pairs are others"),
    ] {
      let error = #expect(throws: CacheError.self) { try start(change) }
      #expect(error?.exitCode == .configuration)
      #expect(error?.description.contains(what) == true, "\(String(describing: error))")
    }
  }

  @Test func whatIsThereIsNamedWithoutResume() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = CrashTests.capture
    func start(_ start: CacheWriter.Start) throws(CacheError) -> CacheWriter {
      try CacheWriter(
        directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
        start: start, fileSystem: UnsyncedFileSystem())
    }
    _ = try start(.new)
    #expect(throws: CacheError.unfinished(directory: path, prompts: 0, planned: 5)) {
      try start(.new)
    }
    try overwrite(path + "/thesis.tex", [1])
    #expect(throws: CacheError.directoryNotEmpty(directory: path)) { try start(.resume) }
    unlink(path + "/thesis.tex")
    try capture.write(to: path, start: .resume)
    #expect(throws: CacheError.directoryNotEmpty(directory: path)) { try start(.new) }
    #expect(try start(.resume).isComplete)
  }

  @Test func twoWritersDoNotMeet() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = CrashTests.capture
    func start() throws(CacheError) -> CacheWriter {
      try CacheWriter(
        directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
        start: .resume, fileSystem: UnsyncedFileSystem())
    }
    do {
      let first = try start()
      defer { withExtendedLifetime(first) {} }
      #expect(try fileNames(path).contains("lock"))
      let error = try #require(throws: CacheError.self) { try start() }
      #expect(error.exitCode == .cannotCreate)
      #expect(error.description.contains("process \(getpid()) on "))
      // Reading goes on meanwhile, and the lock is no damage.
      #expect(try CacheReader(directory: path).verify().leftovers.isEmpty)
    }
    #expect(try !fileNames(path).contains("lock"))

    // Left by a crash here: taken. Left by another host: only if the user says so.
    try overwrite(
      path + "/lock", Array(#"{"host":"elsewhere","pid":7,"boot_id":"x","started":1}"#.utf8))
    let error = try #require(throws: CacheError.self) { try start() }
    guard case .lockLeft(_, let owner) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(owner.pid == 7 && error.description.contains("--break-lock"))
    var here = [CChar](repeating: 0, count: 256)
    gethostname(&here, 255)
    let host = String(decoding: here.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    try overwrite(
      path + "/lock", Array(#"{"host":"\#(host)","pid":7,"boot_id":"x","started":1}"#.utf8))
    _ = try start()
  }
}
