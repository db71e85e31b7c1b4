import Glibc

/// The size of a plain file. A symbolic link, directory or device is refused.
public func plainFileSize(_ path: String) throws(FileError) -> Int {
  var status = stat()
  guard lstat(path, &status) == 0 else { throw FileError(.stat, path, errno: errno) }
  guard status.st_mode & S_IFMT == S_IFREG else {
    throw FileError(.notPlainFile, path, errno: EINVAL)
  }
  return Int(status.st_size)
}
