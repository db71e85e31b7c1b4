import Glibc

/// A plain file that is read piece by piece, where a mapping is unwise: on a network file system a
/// mapped read that fails ends the process, here it is an error. Thread-safe.
///
/// A descriptor is open as long as the object lives. The first one takes the process's limit of open
/// files up to what the system allows: a large cache has more segments than the 1,024 files that most
/// processes begin with.
public final class RandomAccessFile: Sendable {
  public let path: String
  /// Bytes when it was opened.
  public let count: Int
  private let descriptor: Int32

  /// - Parameter followLinks: whether the last component may be a symbolic link.
  public init(path: String, followLinks: Bool = true) throws(FileError) {
    self.path = path
    RandomAccessFile.raiseLimit
    (descriptor, count) = try openPlainFile(path, followLinks: followLinks)
  }

  deinit { close(descriptor) }

  /// Where the system does not take it, opening one file too many is an error that says so.
  private static let raiseLimit: Void = {
    let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(files, &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(files, &limit)
  }()

  /// The whole file in memory too.
  public func mapped() throws(FileError) -> MappedFile {
    try MappedFile(descriptor, path: path, count: count)
  }

  /// Fills `bytes` from `offset` on.
  ///
  /// - Throws: `FileError` with the operation `.truncated` when the file ends before.
  public func read(at offset: Int, into bytes: UnsafeMutableRawBufferPointer) throws(FileError) {
    var done = 0
    while done < bytes.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[done...])
      let read = pread(descriptor, rest.baseAddress, rest.count, offset + done)
      if read < 0, errno == EINTR { continue }
      guard read >= 0 else { throw FileError(.read, path, errno: errno) }
      guard read > 0 else { throw FileError(.truncated, path, errno: EIO) }
      done += read
    }
  }
}
