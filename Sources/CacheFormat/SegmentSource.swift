import FileIO

/// How the segments of a cache are read.
struct SegmentFiles: Sendable {
  let areMapped: Bool
  /// What counts the pages of those that are mapped.
  let pages: PageBudget

  /// - Parameters:
  ///   - directory: of the segments, which are no links.
  ///   - mappedBytes: how much stays mapped, about.
  init(directory: String, access: FileAccess, mappedBytes: Int) {
    areMapped = access.resolved(on: FileAccess.fileSystem(of: directory)) == .mapped
    pages = PageBudget(limit: mappedBytes)
  }
}

/// A sealed segment's bytes: mapped, or read piece by piece where a mapping is unwise.
///
/// Of segments that are mapped a part of an array is read from the file as well: to map pages that hold
/// much else takes longer than to copy the part (docs/benchmarks.md).
enum SegmentSource: Sendable {
  case mapped(MappedFile, PageBudget, parts: RandomAccessFile?)
  case pieces(RandomAccessFile)

  /// - Parameter keepsFile: whether a mapped segment may keep its file open.
  init(path: String, _ files: SegmentFiles, keepsFile: Bool) throws(FileError) {
    let file = try RandomAccessFile(path: path, followLinks: false)
    if files.areMapped {
      let mapping = try file.mapped()
      files.pages.add(mapping)
      self = .mapped(mapping, files.pages, parts: keepsFile ? file : nil)
    } else {
      self = .pieces(file)
    }
  }

  /// Bytes of the file.
  var count: Int {
    switch self {
    case .mapped(let file, _, _): file.count
    case .pieces(let file): file.count
    }
  }

  /// What parts of arrays are read from; nil where that is the mapping.
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
