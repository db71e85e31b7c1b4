@testable import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// What a writer goes on with, and what it refuses to touch.
@Suite struct ResumptionTests {
  private static let capture = Capture.derived(lengths: [3, 2, 4, 1, 5], segmentBytes: 5000)

  @Test func onlyTheSamePlanIsResumed() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    func start(_ change: (inout Capture) -> Void) throws(CacheError) {
      var capture = ResumptionTests.capture
      change(&capture)
      _ = try CacheWriter(
        directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
        start: .resume, fileSystem: UnsyncedFileSystem())
    }
    try start { _ in }
    try start { _ in }
    for (change, what): ((inout Capture) -> Void, String) in [
      ({ $0.plan.kernel = "Zen" }, "arithmetic was none, now Zen"),
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

  /// Segments whose manifest was lost may be all that there is of days of work.
  @Test func segmentsWithoutAManifestAreNotOverwritten() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    try ResumptionTests.capture.write(to: path)
    unlink(path + "/manifest")
    let before = try allContents(path)
    var other = ResumptionTests.capture
    other.plan.kernel = "Zen"
    for capture in [ResumptionTests.capture, other] {
      let error = try #require(throws: CacheError.self) {
        try capture.write(to: path, start: .resume)
      }
      #expect(error.exitCode == .badData && error.description.contains("cachedump repair"))
      #expect(try allContents(path) == before)
    }
  }

  /// Writes the first segments of a cache.
  private func begin(_ capture: Capture, in path: String, segments: Int) throws {
    let writer = try CacheWriter(
      directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
      fileSystem: UnsyncedFileSystem())
    for index in 0..<segments { try writer.commit(try capture.seal(segment: index, of: writer)) }
  }

  /// A manifest that is sound by itself and of this plan, but lists other segments than it gives.
  @Test func aManifestThatDoesNotFitThePlanIsRefused() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = ResumptionTests.capture
    try begin(capture, in: path, segments: 1)
    let sound = try Manifest.read(directory: path)
    for change: (inout Manifest) -> Void in [
      { $0.hooks = [] }, { $0.hooks.removeLast() }, { $0.hooks.append(.init()) },
      {
        $0.segments[0].prompts += 1
        $0.prompts += 1
      },
      {
        $0.segments[0].tokens += 1
        $0.tokens += 1
      }, { $0.complete = true },
    ] {
      var manifest = sound
      change(&manifest)
      try replaceFile(path + "/manifest", with: manifest.encoded())
      let error = try #require(throws: CacheError.self) {
        try capture.write(to: path, start: .resume)
      }
      #expect(error.exitCode == .badData, "\(error)")
    }
    try replaceFile(path + "/manifest", with: sound.encoded())
    try capture.write(to: path, start: .resume)
    #expect(try CacheReader(directory: path).isComplete)
  }

  /// A manifest that no writer wrote, with a right checksum and the right plan.
  @Test func impossibleTotalsAreRefused() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = ResumptionTests.capture
    try begin(capture, in: path, segments: 2)
    let sound = try Manifest.read(directory: path)
    for change: (inout Manifest) -> Void in [
      { $0.generation = .max }, { $0.hooks[0].raw = .max }, { $0.hooks[0].stored = .max },
      { $0.hooks[0].blocks = ["raw": .max] },
      {
        $0.segments[0].tokens = .max
        $0.tokens = .max
      },
      { for index in 0..<2 { $0.segments[index].size = .max / 64 * 64 } },
    ] {
      var manifest = sound
      change(&manifest)
      try overwrite(path + "/manifest", manifest.encoded())
      let before = try allContents(path)
      for attempt in [
        { try capture.write(to: path, start: .resume) },
        { _ = try CacheWriter.survey(path, start: .resume) },
        { _ = try CacheReader(directory: path) },
      ] {
        let error = #expect(throws: CacheError.self) { try attempt() }
        #expect(error?.exitCode == .badData && error?.description.contains("impossible") == true)
      }
      #expect(try allContents(path) == before)
    }
  }

  @Test func aSurveyChangesNothing() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = ResumptionTests.capture
    for start in [CacheWriter.Start.new, .resume] {
      #expect(try CacheWriter.survey(path, start: start) == (0, 0))
      #expect(throws: CacheError.self) {
        try overwrite(directory.path("file"), [1])
        _ = try CacheWriter.survey(directory.path("file"), start: start)
      }
    }
    for name in ["absent/cache", "file/cache"] {
      let error = #expect(throws: CacheError.self) {
        try CacheWriter.survey(directory.path(name), start: .new)
      }
      #expect(error?.description.contains("cannot create \(directory.path(name)): ") == true)
    }
    #expect(try fileNames(directory.path) == ["file"])
    // What a crash before the first manifest left, and its lock.
    mkdir(path, 0o755)
    try overwrite(path + "/lock", [])
    #expect(try CacheWriter.survey(path, start: .new) == (0, 0))
    try overwrite(path + "/plan.json.new", [1])
    #expect(try CacheWriter.survey(path, start: .resume) == (0, 0))
    #expect(throws: CacheError.directoryNotEmpty(directory: path)) {
      try CacheWriter.survey(path, start: .new)
    }
    #expect(try fileNames(path) == ["lock", "plan.json.new"])

    let writer = try CacheWriter(
      directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
      start: .resume, fileSystem: UnsyncedFileSystem())
    try writer.commit(try capture.seal(segment: 0, of: writer))
    let before = try allContents(path)
    for start in [CacheWriter.Start.new, .resume] {
      let error = try #require(throws: CacheError.self) {
        try CacheWriter.survey(path + "/", start: start)
      }
      #expect(error.description.contains("is being written by process \(getpid())"))
    }
    #expect(try allContents(path) == before)
  }

  @Test func whatIsThereIsNamedWithoutResume() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let capture = ResumptionTests.capture
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
    let capture = ResumptionTests.capture
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
