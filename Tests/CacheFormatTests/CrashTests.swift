import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// A capture that dies after any of its calls, by kill -9 or by a loss of power.
@Suite struct CrashTests {
  private static let capture: Capture = {
    var capture = Capture.derived(lengths: [3, 2, 4, 1, 5], segmentBytes: 8500)
    capture.share(2, of: 0, with: 1)
    capture.share(1, of: 2, with: 3)
    capture.deriveArrays()
    return capture
  }()

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

  /// Expects that these files of a crashed capture read as a prefix of at least `safe` prompts, and
  /// that resuming makes of them what an undisturbed capture made.
  private func expectRecovery(
    of files: [String: [UInt8]], at path: String, safe: Int, expected: [String: [UInt8]],
    _ note: Comment
  ) throws {
    let capture = CrashTests.capture
    mkdir(path, 0o755)
    for (name, bytes) in files { try overwrite(path + "/" + name, bytes) }
    do {
      let reader = try CacheReader(directory: path)
      #expect(reader.committedPrompts >= safe, note)
      #expect(try capture.agrees(with: reader, prompts: reader.committedPrompts), note)
      #expect(try reader.verify().isHealthy, note)
    } catch CacheError.notACache {
      #expect(safe == 0, note)
    }
    try capture.write(to: path, start: .resume)
    #expect(try allContents(path) == expected, note)
    for name in try fileNames(path) { unlink(path + "/" + name) }
    rmdir(path)
  }

  /// `kill -9`, and the ways in which a loss of power is worse.
  @Test(arguments: [
    (JournalingFileSystem.Unsynced.kept, JournalingFileSystem.Names.all), (.dropped, .none),
    (.dropped, .all), (.torn, .some),
  ])
  func whatWasAcknowledgedStays(
    unsynced: JournalingFileSystem.Unsynced, names: JournalingFileSystem.Names
  ) throws {
    let directory = try TemporaryDirectory()
    let (journal, acknowledged) = try undisturbed(directory.path("undisturbed"))
    let expected = try allContents(directory.path("undisturbed"))
    #expect(journal.count > 40 && acknowledged.last?.prompts == 5)
    let hooks = try CacheReader(directory: directory.path("undisturbed")).summary().hooks
    #expect(hooks.contains { $0.encodings.keys.contains { $0.hasPrefix("shared") } })
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    for count in 0...journal.count {
      let files = JournalingFileSystem.crash(
        after: journal[..<count], unsynced: unsynced, names: names, using: &generator)
      try expectRecovery(
        of: files, at: directory.path("cache-\(count)"),
        safe: acknowledged.last { $0.calls <= count }?.prompts ?? 0, expected: expected,
        "seed \(seed), \(count) calls of \(journal.count)")
    }
  }

  /// Killed, resumed, and then the power fails: what the first process left unsynchronised may go
  /// only now. Names are at risk above all, those of segments that were renamed and are adopted.
  @Test func powerMayFailAfterAKill() throws {
    let directory = try TemporaryDirectory()
    let (journal, _) = try undisturbed(directory.path("undisturbed"))
    let expected = try allContents(directory.path("undisturbed"))
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    for killed in 1..<journal.count {
      var names = JournalingFileSystem.Names.newest
      if case .rename = journal[killed - 1] {} else { names = .some }
      // After renames every call of the next dozen, else some call.
      guard names == .newest || killed % 4 == 0 else { continue }
      let (resumed, acknowledged) = try killedAndResumed(
        directory.path("cache-\(killed)"), after: killed, expected: expected)
      let counts =
        names == .newest
        ? Array(killed...min(killed + 12, resumed.count))
        : [Int.random(in: killed...resumed.count, using: &generator)]
      for count in counts {
        let files = JournalingFileSystem.crash(
          after: resumed[..<count],
          unsynced: .allCases.randomElement(using: &generator) ?? .kept, names: names,
          using: &generator)
        try expectRecovery(
          of: files, at: directory.path("cache-\(killed)-\(count)"),
          safe: acknowledged.last { $0.calls <= count }?.prompts ?? 0, expected: expected,
          "seed \(seed), killed after \(killed), \(count) calls of \(resumed.count)")
      }
    }
  }

  /// The journal of a capture that was killed and of the one that resumed it.
  private func killedAndResumed(
    _ path: String, after killed: Int, expected: [String: [UInt8]]
  ) throws -> (
    journal: [JournalingFileSystem.Operation], acknowledged: [(calls: Int, prompts: Int)]
  ) {
    let fileSystem = JournalingFileSystem()
    var acknowledged: [(calls: Int, prompts: Int)] = [(0, 0)]
    for (start, limit) in [(CacheWriter.Start.new, killed), (.resume, nil)] {
      fileSystem.die(after: limit)
      do {
        try CrashTests.capture.write(to: path, start: start, fileSystem: fileSystem) {
          acknowledged.append((fileSystem.journal.count, $0))
        }
      } catch {
        try #require(start == .new, "\(error)")
      }
    }
    #expect(try allContents(path) == expected, "killed after \(killed)")
    return (fileSystem.journal, acknowledged)
  }
}
