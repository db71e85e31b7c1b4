import Glibc

/// What the operating system refused to do with a file.
public struct FileError: ReportableError, Equatable {
  public enum Operation: String, Sendable {
    case open, stat, map, read, write, sync, close, rename, link, remove, create, list, lock
    /// The path names a directory, device, pipe or link where a plain file is expected.
    case notPlainFile
    /// The file ends before what was to be read of it.
    case truncated
    /// The file is larger than the caller accepts; `errno` is `EFBIG`.
    case tooLarge
  }

  public let operation: Operation
  public let path: String
  public let errno: Int32

  public init(_ operation: Operation, _ path: String, errno: Int32) {
    self.operation = operation
    self.path = path
    self.errno = errno
  }

  /// The operating system's own words for `errno`, such as "No space left on device".
  public var reason: String { String(cString: strerror(errno)) }

  public var description: String {
    switch operation {
    case .notPlainFile: "\(path) is not a plain file"
    case .truncated: "\(path) got shorter while it was read; restore it from a copy"
    case .tooLarge: "\(path) is larger than a file of this kind may be"
    case .open where errno == ENOENT: "there is no file \(path)"
    case .create where errno == ENOENT:
      "cannot create \(path): there is no directory \(directory(of: path)); make it first"
    case .create where errno == ENOTDIR:
      "cannot create \(path): \(directory(of: path)) is not a directory"
    case .list where errno == ENOTDIR: "\(path) is not a directory"
    default: "cannot \(operation.rawValue) \(path): \(reason)"
    }
  }

  /// Whether nothing is said of the file itself: the process may not open it, or has no room to.
  public var isRefusal: Bool {
    operation != .notPlainFile && [EMFILE, ENFILE, ENOMEM, EACCES, EPERM].contains(errno)
  }

  public var exitCode: SysExit {
    switch operation {
    case .notPlainFile, .tooLarge: .badData
    case .open where errno == ENOENT || errno == EACCES: .noInput
    case .create, .lock: .cannotCreate
    default: .ioError
    }
  }
}
