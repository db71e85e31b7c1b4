import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

/// Every call of a small capture fails once: what is left is whole prompts, never wrong values, and
/// resuming ends with the very bytes of an undisturbed capture.
@Suite struct FaultTests {
  private let capture = Capture.derived(lengths: [3, 2, 4], segmentBytes: 300)

  private func callsOfAnUndisturbedRun() throws -> [String] {
    let directory = try TemporaryDirectory()
    let fileSystem = FaultyFileSystem()
    try capture.write(to: directory.path("cache"), fileSystem: fileSystem)
    return fileSystem.log
  }

  @Test(arguments: [
    FaultyFileSystem.Fault.noSpace, .inputOutput, .inputOutputForever,
  ])
  func everyCallFails(fault: FaultyFileSystem.Fault) throws {
    let calls = try callsOfAnUndisturbedRun()
    #expect(calls.count > 40)
    let reference = try TemporaryDirectory()
    try capture.write(to: reference.path("cache"))
    let undisturbed = try allContents(reference.path("cache"))
    for failing in calls.indices {
      let directory = try TemporaryDirectory()
      let path = directory.path("cache")
      let fileSystem = FaultyFileSystem(failing: failing, fault: fault)
      var failure: CacheError?
      do throws(CacheError) {
        try capture.write(to: path, fileSystem: fileSystem)
      } catch {
        failure = error
      }
      let note = Comment("call \(failing), \(calls[failing])")
      let error = try #require(failure, note)
      #expect(error.exitCode == .ioError || error.exitCode == .cannotCreate, note)
      try expectReadablePrefix(path, error, note)
      try capture.write(to: path, start: .resume)
      #expect(try allContents(path) == undisturbed, note)
    }
  }

  /// A resumption fails too, at every call: of one that finds a segment to adopt and files to remove.
  @Test(arguments: [FaultyFileSystem.Fault.noSpace, .inputOutput, .inputOutputForever])
  func everyCallOfAResumptionFails(fault: FaultyFileSystem.Fault) throws {
    let reference = try TemporaryDirectory()
    try capture.write(to: reference.path("cache"))
    let undisturbed = try allContents(reference.path("cache"))
    let calls = try callsOfAnUndisturbedRun()
    let rename = try #require(calls.lastIndex { $0.hasSuffix("segment-000001.pbs") })
    func interrupted(_ path: String) throws {
      #expect(throws: CacheError.self) {
        try capture.write(
          to: path, fileSystem: FaultyFileSystem(failing: rename + 1, fault: .inputOutputForever))
      }
      try overwrite(path + "/segment-000002.pbs.open", [1, 2, 3])
      #expect(try fileNames(path).contains("segment-000001.pbs"))
      #expect(try CacheReader(directory: path).committedPrompts == 1)
    }
    let sound = FaultyFileSystem()
    try interrupted(reference.path("resumed"))
    try capture.write(to: reference.path("resumed"), start: .resume, fileSystem: sound)
    #expect(try allContents(reference.path("resumed")) == undisturbed)
    #expect(!sound.log.contains { $0.hasPrefix("create") && $0.contains("segment-000001") })
    #expect(sound.log.contains { $0.hasPrefix("remove") && $0.contains("segment-000002.pbs.open") })

    for failing in sound.log.indices {
      let directory = try TemporaryDirectory()
      let path = directory.path("cache")
      try interrupted(path)
      let note = Comment("call \(failing), \(sound.log[failing])")
      do throws(CacheError) {
        try capture.write(
          to: path, start: .resume, fileSystem: FaultyFileSystem(failing: failing, fault: fault))
        // Leftovers that cannot be removed do no harm, and are written over.
        #expect(sound.log[failing].hasPrefix("remove"), note)
      } catch {
        #expect(error.exitCode == .ioError || error.exitCode == .cannotCreate, note)
        try expectReadablePrefix(path, error, note)
      }
      try capture.write(to: path, start: .resume)
      #expect(try allContents(path) == undisturbed, note)
    }
  }

  /// What the error says is safe is there; there may be more, when only the last answer was lost.
  private func expectReadablePrefix(_ path: String, _ error: CacheError, _ note: Comment) throws {
    var safe = 0
    if case .writeFailed(_, _, let prompts) = error { safe = prompts }
    let reader: CacheReader
    do throws(CacheError) {
      reader = try CacheReader(directory: path)
    } catch {
      guard case .notACache = error else {
        Issue.record("\(note): \(error)")
        return
      }
      #expect(safe == 0, note)
      return
    }
    #expect(reader.committedPrompts >= safe, note)
    #expect(try capture.agrees(with: reader, prompts: reader.committedPrompts), note)
    #expect(try reader.verify().isHealthy, note)
  }

  @Test(arguments: [FaultyFileSystem.Fault.interrupted, .shortWrite])
  func writesAreContinued(fault: FaultyFileSystem.Fault) throws {
    for failing in try callsOfAnUndisturbedRun().indices {
      let directory = try TemporaryDirectory()
      let path = directory.path("cache")
      try capture.write(
        to: path, fileSystem: FaultyFileSystem(failing: failing, fault: fault))
      let reader = try CacheReader(directory: path)
      #expect(try reader.isComplete && reader.verify().isHealthy, "call \(failing)")
      #expect(try capture.agrees(with: reader, prompts: 3), "call \(failing)")
    }
  }

  @Test func aFailedSynchronisationIsNotTriedAgain() throws {
    let calls = try callsOfAnUndisturbedRun()
    for failing in calls.indices where calls[failing].hasPrefix("synchronize ") {
      let directory = try TemporaryDirectory()
      let fileSystem = FaultyFileSystem(failing: failing)
      _ = try? capture.write(to: directory.path("cache"), fileSystem: fileSystem)
      let after = fileSystem.log[(failing + 1)...]
      #expect(after.allSatisfy { $0 == "close" || $0.hasPrefix("remove") }, "\(after)")
    }
  }

  /// A name is published only after the file's contents, and the next step waits for the name.
  @Test func renamesStandBetweenSynchronisations() throws {
    let kinds = try callsOfAnUndisturbedRun().map { $0.split(separator: " ")[0] }
    for (place, kind) in kinds.enumerated() where kind == "rename" {
      #expect(kinds[(place - 2)..<place] == ["synchronize", "close"])
      #expect(
        kinds[(place + 1)...(place + 3)] == ["openDirectory", "synchronizeDirectory", "close"])
    }
  }

  @Test func aFullDiskIsNamedWithWhatIsSafe() throws {
    let calls = try callsOfAnUndisturbedRun()
    let last = try #require(calls.lastIndex { $0.hasSuffix("segment-000002.pbs") })
    let write = try #require(calls[..<last].lastIndex(of: "write"))
    let directory = try TemporaryDirectory()
    let path = directory.path("cache")
    let error = try #require(throws: CacheError.self) {
      try capture.write(
        to: path, fileSystem: FaultyFileSystem(failing: write, fault: .noSpace))
    }
    #expect(error.exitCode == .ioError)
    #expect(error.description.contains("No space left on device"))
    #expect(error.description.contains("2 prompts are safe in \(path)"))
    #expect(!(try fileNames(path)).contains { $0.hasPrefix("segment-000002") })
  }

  @Test func aDirectoryThatIsNotEmptyIsRefused() throws {
    let directory = try TemporaryDirectory()
    try overwrite(directory.path("something"), [1])
    let error = try #require(throws: CacheError.self) { try capture.write(to: directory.path) }
    #expect(error == .directoryNotEmpty(directory: directory.path))
    #expect(error.exitCode == .cannotCreate)
    #expect(try fileNames(directory.path) == ["something"])
  }

  @Test func aDirectoryThatCannotBeMadeIsRefused() throws {
    let directory = try TemporaryDirectory()
    let error = try #require(throws: CacheError.self) {
      try capture.write(to: directory.path("absent/cache"))
    }
    #expect(error.exitCode == .cannotCreate)
    #expect(error.description.contains("absent/cache"))
  }
}
