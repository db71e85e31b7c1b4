import Glibc

/// Whether `path` is a directory, or a link to one.
public func isDirectory(_ path: String) -> Bool { kind(of: path) == S_IFDIR }

/// Whether `path` is a plain file, or a link to one that is there.
public func isPlainFile(_ path: String) -> Bool { kind(of: path) == S_IFREG }

/// Whether there is something at `path`, a link that leads nowhere too.
public func isTaken(_ path: String) -> Bool {
  var status = stat()
  return lstat(path, &status) == 0
}

private func kind(of path: String) -> mode_t? {
  var status = stat()
  return stat(path, &status) == 0 ? status.st_mode & S_IFMT : nil
}
