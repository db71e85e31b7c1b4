import CacheFormat
import FileIO
import Glibc
import Synchronization
import TestSupport
import Testing

/// A file system of which one call fails.
private final class FaultyFileSystem: FileSystem {
  enum Fault: Sendable, CaseIterable {
    /// The call fails with this error and does nothing.
    case noSpace, inputOutput
    /// The same, and so does every call after it.
    case inputOutputForever
    /// A write is interrupted before or after some bytes; other calls succeed.
    case interrupted, shortWrite
  }

  /// The call that fails, counted from 0; nil for none.
  private let failing: Int?
  private let fault: Fault
  private let calls = Mutex<[String]>([])
  private let real = UnsyncedFileSystem()

  init(failing: Int? = nil, fault: Fault = .inputOutput) {
    self.failing = failing
    self.fault = fault
  }

  /// The names of the calls so far, and of what they were about.
  var log: [String] { calls.withLock { $0 } }

  /// Counts a call; true when it is the one to be a short write.
  private func count(_ call: String) throws(SystemError) -> Bool {
    let number = calls.withLock {
      $0.append(call)
      return $0.count - 1
    }
    guard let failing, number == failing || fault == .inputOutputForever && number > failing else {
      return false
    }
    switch fault {
    case .noSpace: throw SystemError(errno: ENOSPC)
    case .inputOutput, .inputOutputForever: throw SystemError(errno: EIO)
    case .interrupted:
      if call == "write" { throw SystemError(errno: EINTR) }
      return false
    case .shortWrite: return call == "write"
    }
  }

  func create(_ path: String) throws(SystemError) -> Int32 {
    _ = try count("create \(path)")
    return try real.create(path)
  }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    let short = try count("write")
    return try real.write(descriptor, short ? .init(rebasing: bytes.prefix(1)) : bytes)
  }
  func synchronize(_ descriptor: Int32) throws(SystemError) {
    _ = try count("synchronize \(descriptor)")
    real.synchronize(descriptor)
  }
  /// A descriptor is gone even when closing it fails.
  func close(_ descriptor: Int32) throws(SystemError) {
    do throws(SystemError) {
      _ = try count("close")
    } catch {
      try? real.close(descriptor)
      throw error
    }
    try real.close(descriptor)
  }
  func rename(_ old: String, _ new: String) throws(SystemError) {
    _ = try count("rename \(new)")
    try real.rename(old, new)
  }
  func remove(_ path: String) throws(SystemError) {
    _ = try count("remove \(path)")
    try real.remove(path)
  }
  func makeDirectory(_ path: String) throws(SystemError) {
    _ = try count("makeDirectory")
    try real.makeDirectory(path)
  }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    _ = try count("openDirectory")
    return try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) throws(SystemError) {
    _ = try count("synchronizeDirectory")
    real.synchronizeDirectory(descriptor)
  }
  func list(_ path: String) throws(SystemError) -> [String] {
    _ = try count("list")
    return try real.list(path)
  }
}

/// Every call of a small capture fails once: what is left is whole prompts, never wrong values.
@Suite struct FaultTests {
  private let capture = Capture(lengths: [3, 2, 4], segmentBytes: 300)

  private func callsOfAnUndisturbedRun() throws -> [String] {
    let directory = try TemporaryDirectory()
    let fileSystem = FaultyFileSystem()
    try capture.write(to: directory.path("cache"), fileSystem: fileSystem)
    return fileSystem.log
  }

  @Test(arguments: [
    FaultyFileSystem.Fault.noSpace, .inputOutput, .inputOutputForever,
  ])
  private func everyCallFails(fault: FaultyFileSystem.Fault) throws {
    let calls = try callsOfAnUndisturbedRun()
    #expect(calls.count > 40)
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
    #expect(reader.verify().isHealthy, note)
  }

  @Test(arguments: [FaultyFileSystem.Fault.interrupted, .shortWrite])
  private func writesAreContinued(fault: FaultyFileSystem.Fault) throws {
    for failing in try callsOfAnUndisturbedRun().indices {
      let directory = try TemporaryDirectory()
      let path = directory.path("cache")
      try capture.write(
        to: path, fileSystem: FaultyFileSystem(failing: failing, fault: fault))
      let reader = try CacheReader(directory: path)
      #expect(reader.isComplete && reader.verify().isHealthy, "call \(failing)")
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
