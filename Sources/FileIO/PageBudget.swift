import Glibc
import Synchronization

/// Keeps what is mapped of files small.
///
/// Pages that were read from a mapping count to the memory of a process for as long as they stay
/// mapped. Once there are many, all are given back: the next access finds them in the system's cache
/// again, or reads the file. Thread-safe; bytes that are being read while pages are given back stay
/// what they are.
public final class PageBudget: Sendable {
  /// The bytes of mapped pages above which all are given back.
  private let limit: Int
  private let files = Mutex<[MappedFile]>([])
  private let bytesSinceLook = Atomic(0)
  /// Mapped pages of other files, such as weights: what was left when pages were given back last.
  private let others = Atomic(0)

  /// Bytes that are read from one look at the number of mapped pages to the next. A fault maps pages
  /// around it as well, so that more than that may have been mapped.
  private let step: Int

  /// - Parameter limit: bytes.
  public init(limit: Int) {
    self.limit = limit
    step = max(1 << 20, limit / 8)
  }

  /// Counts a file's pages from now on.
  public func add(_ file: MappedFile) {
    files.withLock { $0.append(file) }
  }

  /// Notes that so many bytes are about to be read from the files.
  public func note(_ count: Int) {
    guard bytesSinceLook.wrappingAdd(count, ordering: .relaxed).newValue >= step else {
      return
    }
    bytesSinceLook.store(0, ordering: .relaxed)
    let others = others.load(ordering: .relaxed)
    // Fewer than the others were: some of those are gone, and how many are left is seen below.
    if let mapped = mappedBytes(), mapped >= others, mapped - others <= limit { return }
    for file in files.withLock({ $0 }) { file.givePagesBack() }
    self.others.store(mappedBytes() ?? 0, ordering: .relaxed)
  }
}

/// Bytes of all files' pages that are mapped by this process; nil where the system does not say.
private func mappedBytes() -> Int? {
  // /proc/self/statm: size, resident, shared, … in pages; shared are those of files and of RAM disks.
  guard let text = try? readProcFile("/proc/self/statm") else { return nil }
  let fields = text.split(separator: " ")
  guard fields.count > 2, let pages = Int(fields[2]) else { return nil }
  return pages.multipliedReportingOverflow(by: sysconf(Int32(_SC_PAGESIZE))).partialValue
}
