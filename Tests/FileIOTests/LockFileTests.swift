import FileIO
import Glibc
import Testing

/// One process at a time, and no lock that is not to be taken is lost.
@Suite struct LockFileTests {
  private let directory: Directory
  private var path: String { directory.path("lock") }
  private let here = LockFile.Owner.here()

  init() throws { directory = try Directory() }

  private func leave(_ text: String) throws { try replaceFile(path, with: Array(text.utf8)) }

  private func leave(host: String, bootID: String, pid: Int32 = 7) throws {
    try leave(#"{"host":"\#(host)","pid":\#(pid),"boot_id":"\#(bootID)","started":1}"#)
  }

  @Test func theFileIsThereAsLongAsTheLock() throws {
    do {
      let lock = try LockFile(path: path)
      defer { withExtendedLifetime(lock) {} }
      let text = String(decoding: try readFile(path, limit: 4096), as: UTF8.self)
      for word in [#""pid":\#(getpid())"#, here.host, here.bootID] {
        #expect(text.contains(word), "\(text)")
      }
      #expect(text.hasSuffix("}\n"))
    }
    #expect(directory.names.isEmpty)
  }

  @Test func aHeldLockIsRefusedAndNamed() throws {
    let lock = try LockFile(path: path)
    defer { withExtendedLifetime(lock) {} }
    for breaking in [false, true] {
      for attempt in [
        { try LockFile.check(path: path, breaking: breaking) },
        { _ = try LockFile(path: path, breaking: breaking) },
      ] {
        let failure = try #require(throws: LockFile.Failure.self) { try attempt() }
        guard case .held(let owner?) = failure else {
          Issue.record("\(failure)")
          return
        }
        #expect(owner.pid == getpid() && owner.host == here.host)
      }
    }
    #expect(directory.names == ["lock"])
  }

  /// Refusing must neither remove the file nor take it.
  @Test func theLockOfAnotherHostStaysUntilItIsBroken() throws {
    try leave(host: "elsewhere", bootID: "other")
    let before = try readFile(path, limit: 4096)
    for _ in 0..<3 {
      for attempt in [{ try LockFile.check(path: path) }, { _ = try LockFile(path: path) }] {
        let failure = #expect(throws: LockFile.Failure.self) { try attempt() }
        #expect(
          failure
            == .foreign(.init(host: "elsewhere", pid: 7, bootID: "other", started: 1)))
        #expect(try readFile(path, limit: 4096) == before)
      }
    }
    try LockFile.check(path: path, breaking: true)
    #expect(try readFile(path, limit: 4096) == before)
    _ = try LockFile(path: path, breaking: true)
    #expect(directory.names.isEmpty)
  }

  /// A lock that nobody holds on this kernel is free: after a crash or a restart of the host, and
  /// when a container, which has a name of its own, was killed.
  @Test func whatACrashHereLeftIsTaken() throws {
    for (host, bootID) in [
      (here.host, here.bootID), (here.host, "before-the-restart"), ("container", here.bootID),
    ] {
      try leave(host: host, bootID: bootID)
      try LockFile.check(path: path)
      _ = try LockFile(path: path)
      #expect(directory.names.isEmpty, "\(host) \(bootID)")
    }
  }

  @Test func anyContentsAreEndured() throws {
    let least = #"{"host":"\u001b[2Jx","pid":-1,"boot_id":"","started":-9223372036854775808}"#
    let most = #"{"host":"x","pid":2147483647,"boot_id":"y","started":9223372036854775807}"#
    for text in [least, most] {
      try leave(text)
      let failure = try #require(throws: LockFile.Failure.self) { try LockFile(path: path) }
      guard case .foreign(let owner) = failure else {
        Issue.record("\(failure)")
        return
      }
      #expect(owner.description.hasSuffix("x, begun 0 min ago"))
      #expect(!owner.description.contains("\u{1b}") && !owner.isRunningHere)
    }
    // Nobody can be named by these: nobody holds them either.
    for text in ["", "{", "[]", #"{"host":"x"}"#, String(repeating: "z", count: 100_000)] {
      try leave(text)
      _ = try LockFile(path: path)
      #expect(directory.names.isEmpty, "\(text.prefix(20))")
    }
  }

  /// Where a file system has no locks, the line in the file decides.
  @Test func aProcessIsKnownByItsNumberAndBoot() {
    #expect(here.isRunningHere && here.isOfThisHost)
    var other = here
    other.bootID = "before-the-restart"
    #expect(!other.isRunningHere && other.isOfThisHost)
    other = here
    for pid: Int32 in [0, -1, .min, .max] {
      other.pid = pid
      #expect(!other.isRunningHere, "\(pid)")
    }
  }

  @Test func whatIsNoPlainFileIsRefused() throws {
    try replaceFile(directory.path("file"), with: [1])
    symlink(directory.path("file"), directory.path("link"))
    mkfifo(directory.path("pipe"), 0o644)
    for name in ["link", "pipe", ".", "file/lock", "absent/lock"] {
      let failure = try #require(throws: LockFile.Failure.self) {
        try LockFile(path: directory.path(name))
      }
      guard case .file = failure else {
        Issue.record("\(name): \(failure)")
        continue
      }
    }
    #expect(directory.names == ["file", "link", "pipe"])
    #expect(try readFile(directory.path("file"), limit: 9) == [1])
    for name in ["absent", "absent/lock", "file/lock"] {
      try LockFile.check(path: directory.path(name))
    }
  }
}
