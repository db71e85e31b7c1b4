import FileIO
import Glibc

/// A row-major float32 matrix without padding, owned or viewed in a mapped file.
///
/// The values of an owned matrix start at zero, on an address that is a multiple of 64. A view
/// keeps its file mapped and must not be written to: the mapping is read-only.
///
/// Thread safety: reading is safe from any thread. Whoever writes to an owned matrix makes sure
/// that nobody else uses the same elements meanwhile; nothing writes to a model's weights once
/// they are loaded.
public final class Matrix: @unchecked Sendable {
  public let rows: Int
  public let columns: Int
  public let pointer: UnsafeMutablePointer<Float>
  private let memory: Memory

  private enum Memory {
    case heap
    case pages(byteCount: Int)
    case file(MappedFile)
  }

  /// Matrices from this size on are given pages of their own, huge ones where the system has them.
  private static let pageThreshold = 2 << 20

  /// A matrix of zeros.
  ///
  /// - Precondition: sizes are not negative, and the matrix fits into memory. Sizes that come from
  ///   a file are checked by whoever read them.
  public init(rows: Int, columns: Int) {
    precondition(rows >= 0 && columns >= 0, "a matrix cannot have a negative size")
    self.rows = rows
    self.columns = columns
    let byteCount = rows * columns * MemoryLayout<Float>.stride
    let pages = byteCount >= Matrix.pageThreshold ? Matrix.zeroedPages(byteCount) : nil
    if let pages {
      memory = .pages(byteCount: byteCount)
      pointer = pages.bindMemory(to: Float.self, capacity: rows * columns)
    } else {
      let raw = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 64), alignment: 64)
      memset(raw, 0, byteCount)
      memory = .heap
      pointer = raw.bindMemory(to: Float.self, capacity: rows * columns)
    }
  }

  /// A matrix of the given values, row after row.
  public convenience init(rows: Int, columns: Int, values: [Float]) {
    precondition(values.count == rows * columns, "a matrix needs rows × columns values")
    self.init(rows: rows, columns: columns)
    values.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      pointer.update(from: base, count: source.count)
    }
  }

  /// A view of values that lie in a mapped file.
  ///
  /// - Precondition: `address` is aligned for a Float, and rows × columns values lie in the file
  ///   from there on.
  init(rows: Int, columns: Int, at address: UnsafeRawPointer, in file: MappedFile) {
    self.rows = rows
    self.columns = columns
    memory = .file(file)
    pointer = UnsafeMutablePointer(
      mutating: address.bindMemory(to: Float.self, capacity: rows * columns))
  }

  deinit {
    switch memory {
    case .heap: pointer.deallocate()
    case .pages(let byteCount): munmap(pointer, byteCount)
    case .file: break
    }
  }

  public var count: Int { rows * columns }

  /// Whether the values lie in a mapped file.
  public var isView: Bool {
    if case .file = memory { true } else { false }
  }

  /// All values, row after row. Valid as long as the matrix lives.
  public var values: UnsafeBufferPointer<Float> {
    UnsafeBufferPointer(start: pointer, count: count)
  }

  /// The first value of a row. Valid as long as the matrix lives.
  public func row(_ index: Int) -> UnsafeMutablePointer<Float> {
    precondition(index >= 0 && index < rows, "a matrix has no such row")
    return pointer + index * columns
  }

  /// The value at a row and column.
  public subscript(row: Int, column: Int) -> Float {
    precondition(column >= 0 && column < columns, "a matrix has no such column")
    return self.row(row)[column]
  }

  private static func zeroedPages(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    let pages = mmap(
      nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let pages, pages != MAP_FAILED else { return nil }
    madvise(pages, byteCount, MADV_HUGEPAGE)
    return pages
  }
}
