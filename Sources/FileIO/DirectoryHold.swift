import Glibc
import Synchronization

/// What this process holds, by device and inode.
private let held = Mutex<Set<[UInt]>>([])

/// Keeps a directory from other processes that ask for it in the same way, until this one ends, however it ends.
///
/// It is an advisory lock of flock(2) on the directory itself, so that no file is left behind. A file system
/// without such locks keeps nobody away.
///
/// - Throws: `FileError` of `.lock`, with `EWOULDBLOCK` where another process holds it.
public func holdDirectory(_ path: String) throws(FileError) {
  let (descriptor, status) = try openFile(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  let key = [UInt(status.st_dev), UInt(status.st_ino)]
  let isNew = held.withLock { $0.insert(key).inserted }
  guard isNew else {
    close(descriptor)
    return
  }
  if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
  let reason = errno
  close(descriptor)
  held.withLock { _ = $0.remove(key) }
  if reason == EWOULDBLOCK { throw FileError(.lock, path, errno: reason) }
}
