import Glibc

/// A plain file mapped read-only into memory.
///
/// The bytes stay valid as long as the object lives. Thread-safe: nothing changes after `init`.
/// A file that another process truncates while it is mapped raises SIGBUS on access; Patchbay
/// never truncates or rewrites a file that it has published.
public final class MappedFile: Sendable {
  public let path: String
  public let count: Int
  private let base: UInt

  /// Maps the whole of `path`.
  ///
  /// - Parameter followLinks: whether the last component may be a symbolic link.
  public init(path: String, followLinks: Bool = true) throws(FileError) {
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (followLinks ? 0 : O_NOFOLLOW)
    let descriptor = open(path, flags)
    guard descriptor >= 0 else { throw FileError(.open, path, errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileError(.stat, path, errno: errno) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw FileError(.notPlainFile, path, errno: EINVAL)
    }
    self.path = path
    count = Int(status.st_size)
    // mmap refuses an empty range; an empty file needs no mapping.
    guard count > 0 else {
      base = 0
      return
    }
    let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let address, address != MAP_FAILED else { throw FileError(.map, path, errno: errno) }
    base = UInt(bitPattern: address)
  }

  deinit {
    if base != 0 { munmap(UnsafeMutableRawPointer(bitPattern: base), count) }
  }

  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: base), count: count)
  }
}
