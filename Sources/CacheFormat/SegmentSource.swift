import FileIO

/// A sealed segment's bytes: mapped, or read piece by piece where a mapping is unwise.
///
/// Of mapped segments a part of an array is read from the file as well: to map pages that hold much else
/// takes longer than to copy the part (docs/benchmarks.md).
enum SegmentSource: Sendable {
  case mapped(MappedFile, PageBudget, parts: RandomAccessFile?)
  case pieces(RandomAccessFile)

  /// - Parameters:
  ///   - pages: what counts the pages of mapped segments.
  ///   - keepsFile: whether a mapped segment may keep its file open.
  init(path: String, access: FileAccess, pages: PageBudget, keepsFile: Bool) throws(FileError) {
    switch access.resolved(for: path) {
    case .pread: self = .pieces(try RandomAccessFile(path: path, followLinks: false))
    default:
      let file = try RandomAccessFile(path: path, followLinks: false)
      let mapping = try file.mapped()
      pages.add(mapping)
      self = .mapped(mapping, pages, parts: keepsFile ? file : nil)
    }
  }

  /// Bytes of the file.
  var count: Int {
    switch self {
    case .mapped(let file, _, _): file.count
    case .pieces(let file): file.count
    }
  }

  /// What parts of arrays are read from; nil if it is the mapping.
  var parts: RandomAccessFile? {
    switch self {
    case .mapped(_, _, let file): file
    case .pieces(let file): file
    }
  }

  /// `count` bytes from `offset` on, which must lie within the file: in the mapping, or read into
  /// `room`. Valid as long as the segment is, or until `room` is used again.
  func bytes(at offset: Int, count: Int, room: ByteBuffer) throws(FileError)
    -> UnsafeRawBufferPointer
  {
    switch self {
    case .mapped(let file, let pages, _):
      pages.note(count)
      return UnsafeRawBufferPointer(rebasing: file.bytes[offset..<offset + count])
    case .pieces(let file):
      room.reserve(count)
      try file.read(at: offset, into: .init(start: room.base, count: count))
      return UnsafeRawBufferPointer(start: room.base, count: count)
    }
  }
}
