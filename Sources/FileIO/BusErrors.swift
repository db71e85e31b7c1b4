@preconcurrency import Glibc
import Synchronization

/// Which files are mapped where, readable from a signal handler: fixed memory, no locks, nothing
/// allocated while it is read.
final class MappingTable: Sendable {
  static let shared = MappingTable()

  /// Mappings beyond this number are not named when they fail.
  static let capacity = 4096

  private struct Entry: ~Copyable {
    /// First address and the one after the last; 0 where the entry is free.
    let first = Atomic<UInt>(0)
    let end = Atomic<UInt>(0)
    /// The path as a C string of its own.
    let path = Atomic<UInt>(0)
  }

  /// Never given back: the table lives as long as the process.
  nonisolated(unsafe) private let entries: UnsafeMutablePointer<Entry>
  private let used = Atomic(0)
  private let lock = Mutex(())

  private init() {
    entries = .allocate(capacity: MappingTable.capacity)
    for index in 0..<MappingTable.capacity { (entries + index).initialize(to: Entry()) }
  }

  /// Answers the entry's number, nil if there is no room.
  func add(base: UInt, count: Int, path: String) -> Int? {
    lock.withLock { _ in
      for index in 0..<MappingTable.capacity
      where entries[index].first.load(ordering: .relaxed) == 0 {
        guard let copy = strdup(path) else { return nil }
        entries[index].path.store(UInt(bitPattern: copy), ordering: .relaxed)
        entries[index].end.store(base + UInt(count), ordering: .relaxed)
        entries[index].first.store(base, ordering: .releasing)
        if used.load(ordering: .relaxed) <= index { used.store(index + 1, ordering: .releasing) }
        return index
      }
      return nil
    }
  }

  func remove(_ index: Int) {
    lock.withLock { _ in
      entries[index].first.store(0, ordering: .releasing)
      free(UnsafeMutablePointer<CChar>(bitPattern: entries[index].path.load(ordering: .relaxed)))
    }
  }

  /// The path of the file that is mapped at an address. Safe in a signal handler.
  func path(at address: UInt) -> UnsafePointer<CChar>? {
    for index in 0..<used.load(ordering: .acquiring) {
      let first = entries[index].first.load(ordering: .acquiring)
      guard first != 0, address >= first, address < entries[index].end.load(ordering: .relaxed)
      else { continue }
      return UnsafePointer(bitPattern: entries[index].path.load(ordering: .relaxed))
    }
    return nil
  }
}

/// What the signal handler writes around the path; set before the handler is installed.
nonisolated(unsafe) private var messageStart: UnsafePointer<CChar>?
nonisolated(unsafe) private var messageEnd: UnsafePointer<CChar>?
nonisolated(unsafe) private var table: MappingTable?

/// Ends the process with one sentence and the status of an I/O error when a mapped file turns out
/// to have become shorter or to be unreadable, instead of by a bare SIGBUS.
///
/// - Parameter name: the program's, which the sentence begins with.
public func reportBusErrors(name: String) {
  messageStart = UnsafePointer(strdup("\n\(name): "))
  messageEnd = UnsafePointer(
    strdup(
      " got shorter or could not be read while it was mapped; restore it from a copy, "
        + "or read it with --io pread where files change\n"))
  table = MappingTable.shared
  var action = sigaction()
  action.sa_flags = SA_SIGINFO | Int32(bitPattern: UInt32(SA_RESETHAND))
  action.__sigaction_handler.sa_sigaction = { _, information, _ in
    guard let information,
      let path = table?.path(at: UInt(bitPattern: information.pointee._sifields._sigfault.si_addr))
    else {
      // The handler is gone by now: the process ends as it would without.
      raise(SIGBUS)
      return
    }
    for text in [messageStart, path, messageEnd] {
      if let text { _ = write(STDERR_FILENO, text, strlen(text)) }
    }
    _exit(SysExit.ioError.rawValue)
  }
  sigaction(SIGBUS, &action, nil)
}
