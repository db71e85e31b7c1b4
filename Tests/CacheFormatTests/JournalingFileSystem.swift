import FileIO
import Glibc
import Synchronization
import TestSupport

/// A file system that remembers every call, so that a test can make what a crash or a loss of power
/// after any of them may leave.
final class JournalingFileSystem: FileSystem {
  enum Operation: Sendable {
    /// Names count for the last component only: a cache is one directory.
    case create(file: Int, name: String)
    case write(file: Int, bytes: [UInt8])
    case synchronize(file: Int)
    case rename(from: String, to: String)
    case remove(name: String)
    case synchronizeDirectory
    case other
  }

  /// What of the data that was not yet synchronised is on disk.
  enum Unsynced: CaseIterable {
    /// All: the process died, the system lived on.
    case kept
    case dropped
    /// Some sectors of 512 bytes, zeros for the others, and any length.
    case torn
  }

  private struct State {
    var journal: [Operation] = []
    var files: [Int32: Int] = [:]
    var count = 0
  }

  private let real = UnsyncedFileSystem()
  private let state = Mutex(State())

  var journal: [Operation] { state.withLock { $0.journal } }

  private func note(_ operation: Operation) { state.withLock { $0.journal.append(operation) } }

  private func last(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

  func create(_ path: String) throws(SystemError) -> Int32 {
    let descriptor = try real.create(path)
    state.withLock {
      $0.files[descriptor] = $0.count
      $0.journal.append(.create(file: $0.count, name: last(path)))
      $0.count += 1
    }
    return descriptor
  }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    // In pieces, so that a crash can fall between them.
    let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(700))
    let written = try real.write(descriptor, piece)
    state.withLock {
      $0.journal.append(
        .write(file: $0.files[descriptor] ?? -1, bytes: Array(piece.prefix(written))))
    }
    return written
  }
  func synchronize(_ descriptor: Int32) {
    state.withLock { $0.journal.append(.synchronize(file: $0.files[descriptor] ?? -1)) }
  }
  func close(_ descriptor: Int32) throws(SystemError) {
    note(.other)
    try real.close(descriptor)
  }
  func rename(_ old: String, _ new: String) throws(SystemError) {
    try real.rename(old, new)
    note(.rename(from: last(old), to: last(new)))
  }
  func remove(_ path: String) throws(SystemError) {
    try real.remove(path)
    note(.remove(name: last(path)))
  }
  func makeDirectory(_ path: String) throws(SystemError) {
    try real.makeDirectory(path)
    note(.other)
  }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) { note(.synchronizeDirectory) }
  func list(_ path: String) throws(SystemError) -> [String] { try real.list(path) }

  /// The files that there may be after the first `count` calls.
  ///
  /// - Parameters:
  ///   - unsynced: what becomes of data that was not synchronised.
  ///   - names: how many of the changes of names since the directory was last synchronised are on
  ///     disk, as a fraction of them.
  static func crash(
    after journal: ArraySlice<Operation>, unsynced: Unsynced, names: Double,
    using generator: inout SeededGenerator
  ) -> [String: [UInt8]] {
    var data: [Int: [UInt8]] = [:]
    var synced: [Int: Int] = [:]
    var durable: [String: Int] = [:]
    var pending: [Operation] = []
    func apply(_ operation: Operation) {
      switch operation {
      case .create(let file, let name): durable[name] = file
      case .rename(let from, let to): durable[to] = durable.removeValue(forKey: from)
      case .remove(let name): durable[name] = nil
      default: break
      }
    }
    for operation in journal {
      switch operation {
      case .create(let file, _):
        data[file] = []
        pending.append(operation)
      case .write(let file, let bytes): data[file, default: []] += bytes
      case .synchronize(let file): synced[file] = data[file]?.count
      case .rename, .remove: pending.append(operation)
      case .synchronizeDirectory:
        pending.forEach(apply)
        pending = []
      case .other: break
      }
    }
    pending.prefix(Int((Double(pending.count) * names).rounded())).forEach(apply)
    return durable.mapValues { file in
      let bytes = data[file] ?? []
      let safe = synced[file] ?? 0
      switch unsynced {
      case .kept: return bytes
      case .dropped: return Array(bytes.prefix(safe))
      case .torn:
        var torn = Array(bytes.prefix(Int.random(in: safe...bytes.count, using: &generator)))
        for sector in stride(from: safe, to: torn.count, by: 512)
        where Bool.random(using: &generator) {
          for index in sector..<min(sector + 512, torn.count) { torn[index] = 0 }
        }
        return torn
      }
    }
  }
}
