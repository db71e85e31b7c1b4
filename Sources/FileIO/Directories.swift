import Glibc

/// Makes a directory and those above it that are not there.
public func makeDirectories(_ path: String) throws(FileError) {
  if isDirectory(path) { return }
  let parent = directory(of: path)
  if parent != path, parent != "." { try makeDirectories(parent) }
  do throws(SystemError) {
    try SystemCalls().makeDirectory(path)
  } catch {
    // Another process may have made it in between.
    guard error.errno == EEXIST, isDirectory(path) else {
      throw FileError(.create, path, errno: error.errno)
    }
  }
}

/// Gives `path` to a symbolic link that holds `target`, in place of what has the name.
public func replaceLink(_ path: String, to target: String) throws(FileError) {
  let new = "\(path).\(getpid()).new"
  unlink(new)
  guard symlink(target, new) == 0 else { throw FileError(.link, path, errno: errno) }
  guard rename(new, path) == 0 else {
    let reason = errno
    unlink(new)
    throw FileError(.rename, path, errno: reason)
  }
}
