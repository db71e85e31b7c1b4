import Glibc

/// A plain file mapped read-only into memory.
///
/// The bytes stay valid as long as the object lives. Thread-safe: nothing changes after `init`.
/// A file that another process truncates while it is mapped raises SIGBUS on access, which
/// `reportBusErrors` turns into a message; Patchbay never truncates or rewrites a file that it has
/// published.
public final class MappedFile: Sendable {
  public let path: String
  public let count: Int
  private let base: UInt
  private let registration: Int?

  /// Maps the whole of `path`.
  ///
  /// - Parameter followLinks: whether the last component may be a symbolic link.
  public convenience init(path: String, followLinks: Bool = true) throws(FileError) {
    let (descriptor, size) = try openPlainFile(path, followLinks: followLinks)
    defer { close(descriptor) }
    try self.init(descriptor, path: path, count: size)
  }

  /// Maps an open file.
  ///
  /// - Parameter descriptor: may be closed afterwards.
  init(_ descriptor: Int32, path: String, count: Int) throws(FileError) {
    self.path = path
    self.count = count
    // mmap refuses an empty range; an empty file needs no mapping.
    guard count > 0 else {
      base = 0
      registration = nil
      return
    }
    let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let address, address != MAP_FAILED else { throw FileError(.map, path, errno: errno) }
    base = UInt(bitPattern: address)
    registration = MappingTable.shared.add(base: base, count: count, path: path)
  }

  deinit {
    if let registration { MappingTable.shared.remove(registration) }
    if base != 0 { munmap(UnsafeMutableRawPointer(bitPattern: base), count) }
  }

  /// Unmaps what has been read so far; the next access maps it again, with the same bytes.
  func givePagesBack() {
    // Advice: where the system does not take it, pages stay.
    if base != 0 { madvise(UnsafeMutableRawPointer(bitPattern: base), count, MADV_DONTNEED) }
  }

  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: base), count: count)
  }
}
