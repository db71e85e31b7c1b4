import FileIO

/// A sealed segment's bytes: mapped, or read piece by piece where a mapping is unwise.
enum SegmentSource: Sendable {
  case mapped(MappedFile, PageBudget)
  case pieces(RandomAccessFile)

  /// - Parameter pages: what counts the pages of mapped segments.
  init(path: String, access: FileAccess, pages: PageBudget) throws(FileError) {
    switch access.resolved(for: path) {
    case .pread: self = .pieces(try RandomAccessFile(path: path, followLinks: false))
    default:
      let file = try MappedFile(path: path, followLinks: false)
      pages.add(file)
      self = .mapped(file, pages)
    }
  }

  /// Bytes of the file.
  var count: Int {
    switch self {
    case .mapped(let file, _): file.count
    case .pieces(let file): file.count
    }
  }

  /// `count` bytes from `offset` on, which must lie within the file: in the mapping, or read into
  /// `room`. Valid as long as the segment is, or until `room` is used again.
  func bytes(at offset: Int, count: Int, room: ByteBuffer) throws(FileError)
    -> UnsafeRawBufferPointer
  {
    switch self {
    case .mapped(let file, let pages):
      pages.note(count)
      return UnsafeRawBufferPointer(rebasing: file.bytes[offset..<offset + count])
    case .pieces(let file):
      room.reserve(count)
      try file.read(at: offset, into: .init(start: room.base, count: count))
      return UnsafeRawBufferPointer(start: room.base, count: count)
    }
  }
}
