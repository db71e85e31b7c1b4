import Glibc

/// What a system call answered instead of success.
public struct SystemError: Error, Equatable, Sendable {
  public let errno: Int32
  public init(errno: Int32) { self.errno = errno }
}

/// The calls that durable writing makes of the operating system, one method a call, nothing
/// retried and nothing added. A test puts its own in place to make the n-th call fail.
///
/// Methods are called from several threads.
public protocol FileSystem: Sendable {
  /// Creates a file that must not exist and opens it for writing.
  func create(_ path: String) throws(SystemError) -> Int32
  /// Writes some of `bytes`, which are not empty; answers how many.
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int
  /// Asks the disk to hold what was written, and the file's size.
  func synchronize(_ descriptor: Int32) throws(SystemError)
  func close(_ descriptor: Int32) throws(SystemError)
  /// Gives `old` the name `new`, in place of whatever had it.
  func rename(_ old: String, _ new: String) throws(SystemError)
  func remove(_ path: String) throws(SystemError)
  func makeDirectory(_ path: String) throws(SystemError)
  func openDirectory(_ path: String) throws(SystemError) -> Int32
  /// Asks the disk to hold the names in a directory.
  func synchronizeDirectory(_ descriptor: Int32) throws(SystemError)
  /// The names in a directory, without `.` and `..`, in no order.
  func list(_ path: String) throws(SystemError) -> [String]
}

/// The operating system itself.
public struct SystemCalls: FileSystem {
  public init() {}

  public func create(_ path: String) throws(SystemError) -> Int32 {
    try checked(Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o666))
  }

  public func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError)
    -> Int
  {
    let written = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
    guard written >= 0 else { throw SystemError(errno: errno) }
    return written
  }

  public func synchronize(_ descriptor: Int32) throws(SystemError) {
    try checked(Glibc.fdatasync(descriptor))
  }

  public func close(_ descriptor: Int32) throws(SystemError) {
    try checked(Glibc.close(descriptor))
  }

  public func rename(_ old: String, _ new: String) throws(SystemError) {
    try checked(Glibc.rename(old, new))
  }

  public func remove(_ path: String) throws(SystemError) {
    try checked(Glibc.unlink(path))
  }

  public func makeDirectory(_ path: String) throws(SystemError) {
    try checked(Glibc.mkdir(path, 0o777))
  }

  /// Removes a directory that is empty.
  public func removeDirectory(_ path: String) throws(SystemError) {
    try checked(Glibc.rmdir(path))
  }

  public func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    try checked(Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
  }

  public func synchronizeDirectory(_ descriptor: Int32) throws(SystemError) {
    try checked(Glibc.fsync(descriptor))
  }

  public func list(_ path: String) throws(SystemError) -> [String] {
    guard let directory = opendir(path) else { throw SystemError(errno: errno) }
    defer { closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        guard errno == 0 else { throw SystemError(errno: errno) }
        return names
      }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
  }

  @discardableResult
  private func checked(_ result: Int32) throws(SystemError) -> Int32 {
    guard result >= 0 else { throw SystemError(errno: errno) }
    return result
  }
}

extension FileSystem {
  /// Makes the names in a directory durable.
  ///
  /// Some network and FUSE file systems cannot do it and say so with EINVAL or ENOTSUP: there, a
  /// rename is as durable as they make it.
  public func makeNamesDurable(in directory: String) throws(FileError) {
    do throws(SystemError) {
      let descriptor = try openDirectory(directory)
      do throws(SystemError) {
        try synchronizeDirectory(descriptor)
      } catch {
        try? close(descriptor)
        guard error.errno == EINVAL || error.errno == ENOTSUP else { throw error }
        return
      }
      try close(descriptor)
    } catch {
      throw FileError(.sync, directory, errno: error.errno)
    }
  }
}
