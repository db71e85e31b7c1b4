@testable import FileIO
import Glibc
import Testing

@Suite struct RandomAccessTests {
  @Test func piecesAreThoseOfTheFile() throws {
    let directory = try Directory()
    let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    try replaceFile(directory.path("a"), with: bytes)
    let file = try RandomAccessFile(path: directory.path("a"))
    #expect(file.count == bytes.count)
    for range in [0..<0, 0..<1, 17..<4242, 9_999..<10_000, 10_000..<10_000, 0..<10_000] {
      var piece = [UInt8](repeating: 0, count: range.count)
      try piece.withUnsafeMutableBytes { try file.read(at: range.lowerBound, into: $0) }
      #expect(piece == Array(bytes[range]), "\(range)")
    }
  }

  @Test func aFileThatGotShorterIsAnError() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: Array(repeating: 1, count: 100))
    let file = try RandomAccessFile(path: directory.path("a"))
    truncate(directory.path("a"), 50)
    var piece = [UInt8](repeating: 0, count: 60)
    let error = try #require(throws: FileError.self) {
      try piece.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
    }
    #expect(error.operation == .truncated && error.exitCode == .ioError)
    #expect(error.description.contains("\(directory.path("a")) got shorter"))
    try piece[..<50].withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
  }

  #if compiler(>=6.2)
    /// In a process of its own, whose limit is as low as that of a shell.
    @Test func moreFilesThanTheFirstLimitAreOpen() async throws {
      await #expect(processExitsWith: .success) {
        let directory = try Directory()
        try replaceFile(directory.path("a"), with: [1])
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        try #require(getrlimit(resource, &limit) == 0 && limit.rlim_max >= 600)
        limit.rlim_cur = 64
        try #require(setrlimit(resource, &limit) == 0)
        let files = try (0..<500).map { _ in try RandomAccessFile(path: directory.path("a")) }
        #expect(files.count == 500)
      }
    }
  #endif

  @Test func whatIsNoPlainFileIsRefused() throws {
    let directory = try Directory()
    try replaceFile(directory.path("a"), with: [1])
    symlink(directory.path("a"), directory.path("link"))
    mkfifo(directory.path("pipe"), 0o644)
    #expect(try RandomAccessFile(path: directory.path("link")).count == 1)
    #expect(throws: FileError.self) {
      try RandomAccessFile(path: directory.path("link"), followLinks: false)
    }
    for name in ["pipe", ".", "absent"] {
      #expect(throws: FileError.self) { try RandomAccessFile(path: directory.path(name)) }
    }
  }
}

@Suite struct FileAccessTests {
  private let mounts = """
    22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
    31 22 0:27 / /dev/shm rw shared:5 master:1 - tmpfs tmpfs rw
    40 22 0:51 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw
    41 22 0:52 /home /home rw shared:7 - nfs4 server:/home rw
    42 22 0:53 / /mnt/far rw - fuse.sshfs me@far: rw
    43 22 0:54 broken line
    44 22 0:55 / /odd rw -
    """

  @Test(arguments: [
    ("254:0", "ext4", false), ("0:27", "tmpfs", false), ("0:51", "lustre", true),
    ("0:52", "nfs4", true), ("0:53", "fuse.sshfs", true),
  ])
  func remoteFileSystemsAreReadPieceByPiece(device: String, kind: String, isRemote: Bool) {
    #expect(FileAccess.fileSystem(ofDevice: device, mounts: mounts) == kind)
    #expect(FileAccess.isRemote(kind) == isRemote)
  }

  @Test func whatTheSystemDoesNotSayIsUnknown() {
    for device in ["0:54", "0:55", "9:9", ""] {
      #expect(FileAccess.fileSystem(ofDevice: device, mounts: mounts) == nil)
    }
  }

  @Test func aChoiceOfTheUserStands() throws {
    let directory = try Directory()
    #expect(FileAccess.mapped.resolved(on: "nfs") == .mapped)
    #expect(FileAccess.pread.resolved(on: "ext4") == .pread)
    #expect(FileAccess.automatic.resolved(on: "ext4") == .mapped)
    #expect(FileAccess.automatic.resolved(on: "nfs") == .pread)
    #expect(FileAccess.automatic.resolved(on: nil) == .mapped)
    #expect(FileAccess.fileSystem(of: directory.path) != nil)
    #expect(FileAccess.fileSystem(of: directory.path("absent")) == nil)
    #expect(FileAccess.fileSystem(of: "/proc/self/status") == "proc")
  }

  @Test func freeSpaceIsThatOfTheNearestDirectory() throws {
    let directory = try Directory()
    let there = try #require(freeSpace(at: directory.path))
    let below = try #require(freeSpace(at: directory.path("not/there/yet")))
    // Others write meanwhile.
    #expect(there > 0 && abs(there - below) < 4 << 30)
    #expect(freeSpace(at: "not-there") != nil)
    #expect(freeSpace(at: "/proc/self") == nil)
  }
}

#if compiler(>=6.2)
  /// What happens when a file becomes shorter under a mapping. Each in a process of its own.
  @Suite struct BusErrorTests {
    @Test func theFileIsNamed() async throws {
      let result = try await #require(
        processExitsWith: .exitCode(SysExit.ioError.rawValue),
        observing: [\.standardErrorContent]
      ) {
        let directory = try Directory()
        let path = directory.path("short")
        let pages = Array(repeating: UInt8(1), count: 1 << 16)
        try replaceFile(path, with: pages)
        try replaceFile(directory.path("sound"), with: pages)
        reportBusErrors(name: "probe")
        // The one before has gone again, another is sound.
        _ = try MappedFile(path: path)
        let sound = try MappedFile(path: directory.path("sound"))
        let file = try MappedFile(path: path)
        truncate(path, 4096)
        for name in directory.names { unlink(directory.path(name)) }
        rmdir(directory.path)
        exit(Int32(sound.bytes[1 << 15] + file.bytes[0] + file.bytes[1 << 15]))
      }
      let message = String(decoding: result.standardErrorContent, as: UTF8.self)
      #expect(message.contains("probe: "), "\(message)")
      #expect(message.contains("/short got shorter or could not be read"), "\(message)")
      #expect(message.contains("--io pread"), "\(message)")
    }

    @Test func whatIsNotOursEndsAsEver() async throws {
      await #expect(processExitsWith: .signal(SIGBUS)) {
        reportBusErrors(name: "probe")
        var template = Array("/tmp/patchbay-fileio-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        unlink(template)
        ftruncate(descriptor, 1 << 16)
        let address = mmap(nil, 1 << 16, PROT_READ, MAP_PRIVATE, descriptor, 0)
        ftruncate(descriptor, 0)
        exit(Int32(address?.load(fromByteOffset: 1 << 15, as: UInt8.self) ?? 0))
      }
    }

    @Test func aSignalFromOutsideEndsTheProcess() async throws {
      await #expect(processExitsWith: .signal(SIGBUS)) {
        reportBusErrors(name: "probe")
        kill(getpid(), SIGBUS)
        // It may come to another thread, a little later.
        sleep(10)
      }
    }
  }
#endif
