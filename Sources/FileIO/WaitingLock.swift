import Glibc

/// A lock of flock(2) that is waited for, held as long as the object lives.
///
/// It is the lock that Python's filelock takes on the same file, and so the one that Hugging Face's
/// programs and Patchbay share. The file stays, but some versions of filelock remove it when they let
/// go: whoever waited for it then holds a lock that nobody else can meet, and takes the new file's.
public final class WaitingLock: Sendable {
  private let descriptor: Int32

  /// Takes the lock, however long another process holds it.
  ///
  /// - Parameter waiting: called once if the lock is not free.
  /// - Throws: `FileError`; a file system without such locks answers `ENOSYS` or `ENOLCK`.
  public init(path: String, waiting: () -> Void) throws(FileError) {
    var hasWaited = false
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
      guard descriptor >= 0 else { throw FileError(.lock, path, errno: errno) }
      var isHeld = flock(descriptor, LOCK_EX | LOCK_NB) == 0
      if !isHeld, errno == EWOULDBLOCK {
        if !hasWaited { waiting() }
        hasWaited = true
        repeat { isHeld = flock(descriptor, LOCK_EX) == 0 } while !isHeld && errno == EINTR
      }
      guard isHeld else {
        let reason = errno
        close(descriptor)
        throw FileError(.lock, path, errno: reason)
      }
      var status = stat()
      if fstat(descriptor, &status) == 0, status.st_nlink > 0 {
        self.descriptor = descriptor
        return
      }
      close(descriptor)
    }
  }

  deinit { close(descriptor) }
}
