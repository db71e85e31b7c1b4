import FoundationEssentials
import Glibc

/// A file that one process at a time holds, with a line that says who.
///
/// The lock belongs to the open file (fcntl's open file description locks, or the process's own where
/// the system has none), so that it goes with the process whatever becomes of it. The file itself stays
/// after a crash; on this host that does not matter. Locks of another host do not always show, so a
/// file that names another host counts as held until the user says otherwise.
public final class LockFile: Sendable {
  /// Who holds a lock.
  public struct Owner: Codable, Sendable, Equatable, CustomStringConvertible {
    public var host: String
    public var pid: Int32
    /// Of the host's kernel, new at every start.
    public var bootID: String
    /// Seconds since 1970.
    public var started: Int

    enum CodingKeys: String, CodingKey {
      case host, pid
      case bootID = "boot_id"
      case started
    }

    public var description: String {
      let minutes = max(0, time(nil) - started) / 60
      let age = minutes < 120 ? "\(minutes) min" : "\(minutes / 60) h"
      return "process \(pid) on \(host), begun \(age) ago"
    }
  }

  public enum Failure: Error, Equatable {
    /// Another process holds it; nil if it does not say who.
    case held(Owner?)
    /// It is not held here, but was left by a process of another host, which may be alive.
    case foreign(Owner)
    case file(FileError)
  }

  private let path: String
  private let descriptor: Int32

  /// Takes the lock.
  ///
  /// - Parameter breaking: whether to take what a process of another host left.
  public init(path: String, breaking: Bool = false) throws(Failure) {
    self.path = path
    descriptor = try LockFile.openLocked(path)
    do throws(Failure) {
      let here = LockFile.ownerHere()
      if let before = LockFile.readOwner(descriptor), before.host != here.host, !breaking {
        throw .foreign(before)
      }
      try LockFile.write(here, to: descriptor, path: path)
    } catch {
      // The file is not ours to remove.
      close(descriptor)
      throw error
    }
  }

  deinit {
    unlink(path)
    close(descriptor)
  }

  /// Opens and locks the file that has the name `path` when it is locked: its last owner may have
  /// removed it in between.
  private static func openLocked(_ path: String) throws(Failure) -> Int32 {
    for _ in 0..<100 {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o666)
      guard descriptor >= 0 else { throw .file(FileError(.lock, path, errno: errno)) }
      guard lock(descriptor) else {
        let reason = errno
        let owner = readOwner(descriptor)
        close(descriptor)
        guard [EAGAIN, EACCES, EWOULDBLOCK].contains(reason) else {
          throw .file(FileError(.lock, path, errno: reason))
        }
        throw .held(owner)
      }
      var opened = stat()
      var named = stat()
      if fstat(descriptor, &opened) == 0, lstat(path, &named) == 0,
        opened.st_ino == named.st_ino, opened.st_dev == named.st_dev
      {
        return descriptor
      }
      close(descriptor)
    }
    throw .file(FileError(.lock, path, errno: EAGAIN))
  }

  private static func lock(_ descriptor: Int32) -> Bool {
    let setOpenFileLock: Int32 = 37  // F_OFD_SETLK, which is not in Glibc's module
    var range = flock()
    range.l_type = Int16(F_WRLCK)
    range.l_whence = Int16(SEEK_SET)
    if fcntl(descriptor, setOpenFileLock, &range) == 0 { return true }
    guard errno == EINVAL || errno == ENOTSUP else { return false }
    return fcntl(descriptor, F_SETLK, &range) == 0
  }

  private static func readOwner(_ descriptor: Int32) -> Owner? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = pread(descriptor, &bytes, bytes.count, 0)
    guard count > 0 else { return nil }
    return try? JSONDecoder().decode(Owner.self, from: Data(bytes[..<count]))
  }

  private static func write(_ owner: Owner, to descriptor: Int32, path: String) throws(Failure) {
    guard let text = try? JSONEncoder().encode(owner) else { return }
    let line = [UInt8](text) + [UInt8(ascii: "\n")]
    guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, line, line.count, 0) == line.count
    else {
      throw .file(FileError(.lock, path, errno: errno))
    }
  }

  private static func ownerHere() -> Owner {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, name.count - 1)
    let boot = (try? readProcFile("/proc/sys/kernel/random/boot_id")) ?? ""
    return Owner(
      host: String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self),
      pid: getpid(), bootID: boot.filter { !$0.isNewline }, started: time(nil))
  }
}
