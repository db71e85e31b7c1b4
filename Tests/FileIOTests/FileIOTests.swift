import FileIO
import Glibc
import Synchronization
import Testing

/// A directory that goes with the object.
final class Directory {
  let path: String
  init() throws {
    var template = Array("/tmp/patchbay-fileio-XXXXXX".utf8CString)
    path = String(cString: try #require(mkdtemp(&template)))
  }
  deinit {
    for name in (try? SystemCalls().list(path)) ?? [] { remove(path + "/" + name) }
    rmdir(path)
  }
  func path(_ name: String) -> String { path + "/" + name }
  var names: [String] { ((try? SystemCalls().list(path)) ?? []).sorted() }
}

@Suite struct DurableFileTests {
  private func write(_ file: DurableFile, _ text: String) throws {
    try Array(text.utf8).withUnsafeBytes { try file.write($0) }
  }

  @Test func aFileAppearsWhenItIsPublished() throws {
    let directory = try Directory()
    let file = try DurableFile(creating: directory.path("a.open"))
    try write(file, "some ")
    try write(file, "")
    try write(file, "bytes")
    #expect(file.count == 10)
    #expect(directory.names == ["a.open"])
    try file.publish(as: directory.path("a"))
    #expect(directory.names == ["a"])
    #expect(try readFile(directory.path("a"), limit: 10) == Array("some bytes".utf8))
  }

  @Test func aDiscardedFileLeavesNothing() throws {
    let directory = try Directory()
    let file = try DurableFile(creating: directory.path("a.open"))
    try write(file, "some")
    file.discard()
    #expect(directory.names.isEmpty)
    #expect(throws: FileError.self) { try write(file, "more") }
    #expect(throws: FileError.self) { try file.publish(as: directory.path("a")) }
  }

  @Test func replacingIsWhole() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: [1, 2, 3])
    try replaceFile(directory.path("a.new"), with: [9])  // what a killed run may have left
    try replaceFile(directory.path("a"), with: [4])
    #expect(try readFile(directory.path("a"), limit: 1) == [4])
    #expect(directory.names == ["a"])
  }

  @Test func aFileThatCannotBeMadeIsNamed() throws {
    let directory = try Directory()
    let error = try #require(throws: FileError.self) {
      try DurableFile(creating: directory.path("absent/a"))
    }
    #expect(error.exitCode == .cannotCreate && error.errno == ENOENT)
    #expect(error.description.contains("absent/a"))
  }

  @Test func afterAFailureTheFileIsDead() throws {
    let directory = try Directory()
    let fileSystem = FullDisk()
    let file = try DurableFile(creating: directory.path("a"), in: fileSystem)
    let first = try #require(throws: FileError.self) { try write(file, "some") }
    #expect(first.errno == ENOSPC && first.description.contains("No space left on device"))
    #expect(throws: first) { try write(file, "some") }
    #expect(throws: first) { try file.publish(as: directory.path("b")) }
    #expect(fileSystem.writes.withLock { $0 } == 1)
  }

  @Test func directoriesOfPaths() {
    #expect(directory(of: "a/b/c") == "a/b")
    #expect(directory(of: "c") == ".")
    #expect(directory(of: "/c") == "/")
  }
}

/// Every write finds no room.
private final class FullDisk: FileSystem {
  let writes = Mutex(0)
  private let real = SystemCalls()

  func create(_ path: String) throws(SystemError) -> Int32 { try real.create(path) }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    writes.withLock { $0 += 1 }
    throw SystemError(errno: ENOSPC)
  }
  func synchronize(_ descriptor: Int32) throws(SystemError) {}
  func close(_ descriptor: Int32) throws(SystemError) { try real.close(descriptor) }
  func rename(_ old: String, _ new: String) throws(SystemError) { try real.rename(old, new) }
  func remove(_ path: String) throws(SystemError) { try real.remove(path) }
  func makeDirectory(_ path: String) throws(SystemError) { try real.makeDirectory(path) }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) throws(SystemError) {}
  func list(_ path: String) throws(SystemError) -> [String] { try real.list(path) }
}

@Suite struct ReadingTests {
  @Test func aMappedFileHasTheBytes() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: Array(0..<200))
    let file = try MappedFile(path: directory.path("a"))
    #expect(file.count == 200 && Array(file.bytes) == Array(0..<200))
    try replaceFile(directory.path("empty"), with: [])
    #expect(try MappedFile(path: directory.path("empty")).bytes.isEmpty)
  }

  @Test func whatIsNoPlainFileIsRefused() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: [1])
    symlink(directory.path("a"), directory.path("link"))
    mkfifo(directory.path("pipe"), 0o644)
    #expect(try MappedFile(path: directory.path("link")).count == 1)
    #expect(throws: FileError.self) {
      try MappedFile(path: directory.path("link"), followLinks: false)
    }
    #expect(throws: FileError.self) {
      try readFile(directory.path("link"), limit: 9, followLinks: false)
    }
    for name in ["pipe", ".", "absent"] {
      #expect(throws: FileError.self) { try MappedFile(path: directory.path(name)) }
    }
    #expect(try plainFileSize(directory.path("a")) == 1)
    for name in ["pipe", ".", "absent", "link"] {
      #expect(throws: FileError.self) { try plainFileSize(directory.path(name)) }
    }
  }

  @Test func aFileAboveTheLimitIsRefused() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: [1, 2, 3])
    #expect(try readFile(directory.path("a"), limit: 3).count == 3)
    let error = try #require(throws: FileError.self) {
      try readFile(directory.path("a"), limit: 2)
    }
    #expect(error.operation == .tooLarge && error.exitCode == .badData)
  }
}
