import Glibc

/// Opens a plain file for reading; answers its descriptor and size.
///
/// - Parameter followLinks: whether the last component may be a symbolic link.
func openPlainFile(_ path: String, followLinks: Bool) throws(FileError) -> (Int32, size: Int) {
  // Without O_NONBLOCK the opening of a pipe would wait for a writer.
  let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (followLinks ? 0 : O_NOFOLLOW)
  let (descriptor, status) = try openFile(path, flags)
  guard status.st_mode & S_IFMT == S_IFREG else {
    close(descriptor)
    throw FileError(.notPlainFile, path, errno: EINVAL)
  }
  return (descriptor, Int(status.st_size))
}

/// Opens whatever has the name; answers its descriptor and what it is.
func openFile(_ path: String, _ flags: Int32) throws(FileError) -> (Int32, stat) {
  let descriptor = open(path, flags)
  guard descriptor >= 0 else { throw FileError(.open, path, errno: errno) }
  var status = stat()
  guard fstat(descriptor, &status) == 0 else {
    let reason = errno
    close(descriptor)
    throw FileError(.stat, path, errno: reason)
  }
  return (descriptor, status)
}
