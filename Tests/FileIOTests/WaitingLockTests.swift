import Glibc
import Testing

@testable import FileIO

@Suite struct WaitingLockTests {
  /// Some versions of filelock remove the file when they let go; the lock must be on the one that has
  /// the name then.
  @Test func aRemovedFileIsNoLock() throws {
    let directory = try Directory()
    let path = directory.path("a.lock")
    let other = open(path, O_RDWR | O_CREAT, 0o666)
    try #require(other >= 0 && flock(other, LOCK_EX | LOCK_NB) == 0)
    var waits = 0
    let lock = try WaitingLock(path: path) {
      waits += 1
      unlink(path)
      close(other)
    }
    #expect(waits == 1)
    let late = open(path, O_RDWR)
    try #require(late >= 0)
    #expect(flock(late, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    close(late)
    withExtendedLifetime(lock) {}
  }
}
