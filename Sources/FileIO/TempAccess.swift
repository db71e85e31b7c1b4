import Glibc
public enum FileAccess: Sendable {
  case mapped, pread, automatic
  public func resolved(for path: String) -> FileAccess { self == .automatic ? .mapped : self }
}
public final class RandomAccessFile: Sendable {
  public let path: String; public let count: Int; let fd: Int32
  public init(path: String, followLinks: Bool = true) throws(FileError) {
    fd = open(path, O_RDONLY | (followLinks ? 0 : O_NOFOLLOW)); self.path = path
    guard fd >= 0 else { throw FileError(.open, path, errno: errno) }
    var s = stat(); fstat(fd, &s); count = Int(s.st_size)
  }
  deinit { close(fd) }
  public func read(at offset: Int, into m: UnsafeMutableRawBufferPointer) throws(FileError) {
    var done = 0
    while done < m.count {
      let n = pread(fd, m.baseAddress! + done, m.count - done, offset + done)
      guard n > 0 else { throw FileError(.read, path, errno: EIO) }; done += n
    }
  }
}
