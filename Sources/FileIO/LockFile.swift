import FoundationEssentials
import Glibc

/// A file that one process at a time holds, with a line that says who.
///
/// The lock belongs to the open file (fcntl's open file description locks), so that it goes with the
/// process whatever becomes of it. The file itself stays after a crash; on this host that does not
/// matter. Locks of another host do not always show, so a file that names another host counts as
/// held until the user says otherwise. On a file system without locks the line alone decides.
public final class LockFile: Sendable {
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
    let descriptor = try LockFile.openLocked(path)
    do throws(Failure) {
      try LockFile.refuseForeign(descriptor, breaking: breaking)
      try LockFile.write(.here(), to: descriptor, path: path)
    } catch {
      close(descriptor)
      throw error
    }
    // Not set before: from here on the file is removed when the object goes, also if this fails.
    self.path = path
    self.descriptor = descriptor
  }

  deinit {
    unlink(path)
    close(descriptor)
  }

  /// Looks whether the lock could be taken, and changes nothing.
  public static func check(path: String, breaking: Bool = false) throws(Failure) {
    let descriptor: Int32
    do throws(FileError) {
      (descriptor, _) = try openPlainFile(path, followLinks: false)
    } catch {
      guard error.errno == ENOENT || error.errno == ENOTDIR else { throw .file(error) }
      return
    }
    defer { close(descriptor) }
    try lock(descriptor, path: path, onlyAsking: true)
    try refuseForeign(descriptor, breaking: breaking)
  }

  /// Opens and locks the file that has the name `path` when it is locked: its last owner may have
  /// removed it in between.
  private static func openLocked(_ path: String) throws(Failure) -> Int32 {
    for _ in 0..<100 {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o666)
      guard descriptor >= 0 else { throw .file(FileError(.lock, path, errno: errno)) }
      var opened = stat()
      var named = stat()
      do throws(Failure) {
        guard fstat(descriptor, &opened) == 0, opened.st_mode & S_IFMT == S_IFREG else {
          throw .file(FileError(.notPlainFile, path, errno: EINVAL))
        }
        try lock(descriptor, path: path)
      } catch {
        close(descriptor)
        throw error
      }
      if lstat(path, &named) == 0, opened.st_ino == named.st_ino, opened.st_dev == named.st_dev {
        return descriptor
      }
      close(descriptor)
    }
    throw .file(FileError(.lock, path, errno: EAGAIN))
  }

  /// - Parameter onlyAsking: whether to leave the lock to others if it is free.
  private static func lock(_ descriptor: Int32, path: String, onlyAsking: Bool = false)
    throws(Failure)
  {
    // F_OFD_GETLK and F_OFD_SETLK, which are not in Glibc's module.
    let command: Int32 = onlyAsking ? 36 : 37
    var range = flock()
    range.l_type = Int16(F_WRLCK)
    range.l_whence = Int16(SEEK_SET)
    if fcntl(descriptor, command, &range) == 0 {
      if onlyAsking, range.l_type != Int16(F_UNLCK) { throw .held(readOwner(descriptor)) }
      return
    }
    switch errno {
    case EAGAIN, EACCES: throw .held(readOwner(descriptor))
    case EINVAL, ENOTSUP, ENOSYS, ENOLCK:
      // Lustre mounted without them, NFS without its lock service, some of FUSE.
      if let owner = readOwner(descriptor), owner.isRunningHere { throw .held(owner) }
    default: throw .file(FileError(.lock, path, errno: errno))
    }
  }

  private static func refuseForeign(_ descriptor: Int32, breaking: Bool) throws(Failure) {
    if !breaking, let owner = readOwner(descriptor), !owner.isOfThisHost { throw .foreign(owner) }
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
}

extension LockFile {
  /// Who holds a lock.
  public struct Owner: Codable, Sendable, Equatable, CustomStringConvertible {
    public var host: String
    public var pid: Int32
    /// Of the host's kernel, new at every start. Containers of one host share it.
    public var bootID: String
    /// Seconds since 1970.
    public var started: Int

    public init(host: String, pid: Int32, bootID: String, started: Int) {
      self.host = host
      self.pid = pid
      self.bootID = bootID
      self.started = started
    }

    enum CodingKeys: String, CodingKey {
      case host, pid
      case bootID = "boot_id"
      case started
    }

    /// This process.
    public static func here() -> Owner {
      var name = [CChar](repeating: 0, count: 256)
      gethostname(&name, name.count - 1)
      let boot = (try? readProcFile("/proc/sys/kernel/random/boot_id")) ?? ""
      return Owner(
        host: String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self),
        pid: getpid(), bootID: boot.filter { !$0.isNewline }, started: time(nil))
    }

    /// Whether a lock that it holds would show here.
    public var isOfThisHost: Bool {
      let here = Owner.here()
      return host == here.host || !bootID.isEmpty && bootID == here.bootID
    }

    /// Whether the process is there, as far as that can be known without a lock: its number may be
    /// another's by now.
    public var isRunningHere: Bool {
      let here = Owner.here()
      guard host == here.host, bootID == here.bootID, pid > 0 else { return false }
      return kill(pid, 0) == 0 || errno == EPERM
    }

    /// For a sentence. What stands in the file may be anything.
    public var description: String {
      let name = host.filter { $0.isLetter || $0.isNumber || "-._".contains($0) }.prefix(64)
      let (seconds, overflow) = time(nil).subtractingReportingOverflow(started)
      let minutes = overflow ? 0 : max(0, seconds) / 60
      let age = minutes < 120 ? "\(minutes) min" : "\(minutes / 60) h"
      return "process \(pid) on \(name), begun \(age) ago"
    }
  }
}
