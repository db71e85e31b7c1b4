import Glibc

/// How the files of a cache are read.
public enum FileAccess: String, Sendable, CaseIterable {
  /// Mapped, but read piece by piece on file systems where a mapping is unwise.
  case automatic = "auto"
  case mapped = "map"
  case pread

  /// `mapped` or `pread`.
  ///
  /// - Parameter fileSystem: the type of the files' file system, if it is known.
  public func resolved(on fileSystem: String?) -> FileAccess {
    guard self == .automatic else { return self }
    return FileAccess.isRemote(fileSystem ?? "") ? .pread : .mapped
  }

  /// The type of the file system that a file is on, such as "ext4"; nil where the system does not say.
  public static func fileSystem(of path: String) -> String? {
    var status = stat()
    guard stat(path, &status) == 0, let mounts = try? readProcFile("/proc/self/mountinfo") else {
      return nil
    }
    // dev_t of Linux: twelve bits of major number in the middle, the minor number around them.
    let major = status.st_dev >> 8 & 0xFFF
    let minor = status.st_dev & 0xFF | status.st_dev >> 12 & ~0xFF
    return fileSystem(ofDevice: "\(major):\(minor)", mounts: mounts)
  }

  /// The type of the file system on a device, such as "ext4".
  ///
  /// - Parameter mounts: the text of /proc/self/mountinfo.
  static func fileSystem(ofDevice device: String, mounts: String) -> String? {
    for line in mounts.split(separator: "\n") {
      // number, parent, device, root, place, options, any number of tags, "-", type, …
      let fields = line.split(separator: " ")
      guard fields.count > 2, fields[2] == device, let dash = fields.firstIndex(of: "-"),
        dash + 1 < fields.count
      else { continue }
      return String(fields[dash + 1])
    }
    return nil
  }

  /// Whether files can change or fail under a mapping on a file system of this type.
  static func isRemote(_ kind: String) -> Bool {
    let known: Set<Substring> = [
      "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "beegfs", "gpfs",
      "coda", "panfs", "pvfs2", "ocfs2", "gfs2", "fuse", "fuseblk", "virtiofs",
    ]
    return known.contains(kind.prefix { $0 != "." })
  }
}

/// The text of a file that has no size of its own.
func readProcFile(_ path: String) throws(FileError) -> String {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw FileError(.open, path, errno: errno) }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 16 << 10)
  while bytes.count < 1 << 20 {
    let count = read(descriptor, &piece, piece.count)
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { break }
    bytes += piece[..<count]
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// Bytes that an unprivileged user may still write to the file system of `path`, or of the nearest
/// directory above it that is there; nil where the system does not say.
public func freeSpace(at path: String) -> Int? {
  var path = path
  var status = statvfs()
  while statvfs(path, &status) != 0 {
    guard errno == ENOENT, path != ".", path != "/" else { return nil }
    path = directory(of: path)
  }
  // File systems of the kernel's own, such as /proc, have no blocks at all.
  guard status.f_blocks > 0 else { return nil }
  let (bytes, overflow) = UInt64(status.f_bavail).multipliedReportingOverflow(
    by: UInt64(status.f_frsize))
  return overflow ? .max : Int(clamping: bytes)
}
