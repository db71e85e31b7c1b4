import Glibc

/// A file that is written once, from front to back, and then published under its name.
///
/// After the first failure the file is dead: every later call throws that failure again. A failed
/// synchronisation above all is never tried a second time, because the kernel may have dropped the
/// pages that it could not write and would then answer success. Used by one thread at a time.
public final class DurableFile {
  public let path: String
  public private(set) var count = 0
  private let fileSystem: any FileSystem
  private var descriptor: Int32
  private var failure: FileError?

  /// Creates `path`, in place of what an interrupted run may have left under that name.
  public init(creating path: String, in fileSystem: any FileSystem = SystemCalls())
    throws(FileError)
  {
    self.path = path
    self.fileSystem = fileSystem
    do throws(SystemError) {
      do throws(SystemError) {
        descriptor = try fileSystem.create(path)
      } catch {
        guard error.errno == EEXIST else { throw error }
        try fileSystem.remove(path)
        descriptor = try fileSystem.create(path)
      }
    } catch {
      throw FileError(.create, path, errno: error.errno)
    }
  }

  /// Opens `path` to write on where an interrupted run stopped, or creates it.
  ///
  /// `count` begins with the bytes that are there.
  public init(appendingTo path: String) throws(FileError) {
    let descriptor = open(
      path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o666)
    guard descriptor >= 0 else { throw FileError(.create, path, errno: errno) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      Glibc.close(descriptor)
      throw FileError(.notPlainFile, path, errno: EINVAL)
    }
    self.path = path
    self.descriptor = descriptor
    count = Int(status.st_size)
    fileSystem = SystemCalls()
  }

  deinit {
    if descriptor >= 0 { try? fileSystem.close(descriptor) }
  }

  /// Appends all of `bytes`. Short and interrupted writes are continued.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(FileError) {
    var rest = bytes
    while rest.count > 0 {
      let written = try attempt(.write) { () throws(SystemError) in try writeSome(of: rest) }
      rest = UnsafeRawBufferPointer(rebasing: rest[min(written, rest.count)...])
      count += written
    }
  }

  /// Makes the contents durable, gives the file the name `name` in the same directory, in place of
  /// what had it, and makes the name durable.
  public func publish(as name: String) throws(FileError) {
    try attempt(.sync) { () throws(SystemError) in try fileSystem.synchronize(descriptor) }
    // A failure to close counts: network file systems report lost writes here.
    let closing = descriptor
    descriptor = -1
    try attempt(.close) { () throws(SystemError) in try fileSystem.close(closing) }
    try attempt(.rename) { () throws(SystemError) in try fileSystem.rename(path, name) }
    try fileSystem.makeNamesDurable(in: directory(of: name))
  }

  /// Removes an unpublished file. What cannot be removed stays; no reader ever looks at it.
  public func discard() {
    if descriptor >= 0 { try? fileSystem.close(descriptor) }
    descriptor = -1
    failure = failure ?? FileError(.write, path, errno: EBADF)
    try? fileSystem.remove(path)
  }

  private func writeSome(of bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    do throws(SystemError) {
      return try fileSystem.write(descriptor, bytes)
    } catch {
      guard error.errno == EINTR else { throw error }
      return 0
    }
  }

  private func attempt<Result>(
    _ operation: FileError.Operation, _ call: () throws(SystemError) -> Result
  ) throws(FileError) -> Result {
    if let failure { throw failure }
    do throws(SystemError) {
      return try call()
    } catch {
      let failure = FileError(operation, path, errno: error.errno)
      self.failure = failure
      throw failure
    }
  }
}

/// Puts a file with these contents in place of `path`, or leaves `path` as it was: a reader sees
/// the old file or the new one, never a part.
///
/// The contents are written under the name `path` + `.new` first.
public func replaceFile(
  _ path: String, with contents: [UInt8], in fileSystem: any FileSystem = SystemCalls()
) throws(FileError) {
  let file = try DurableFile(creating: path + ".new", in: fileSystem)
  do throws(FileError) {
    try contents.withUnsafeBufferPointer { (bytes) throws(FileError) in
      try file.write(UnsafeRawBufferPointer(bytes))
    }
    try file.publish(as: path)
  } catch {
    file.discard()
    throw error
  }
}

/// The directory that holds `path`: what stands before the last slash.
public func directory(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}
