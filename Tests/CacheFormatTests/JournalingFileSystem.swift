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

    var changesNames: Bool {
      switch self {
      case .create, .rename, .remove: true
      default: false
      }
    }
  }

  /// What of the data that was not yet synchronised is on disk.
  enum Unsynced: CaseIterable {
    /// All: the process died, the system lived on.
    case kept
    case dropped
    /// Some sectors of 512 bytes, zeros for the others, and any length.
    case torn
  }

  /// What of the changes of names since the directory was last synchronised is on disk.
  enum Names: CaseIterable {
    case none, all
    /// Those of the last call alone: the system wrote them in another order.
    case newest
    /// Of each name some of its changes: a rename may show with its old name, its new one, both or
    /// neither.
    case some
  }

  private struct State {
    var journal: [Operation] = []
    var files: [Int32: Int] = [:]
    var count = 0
    var limit = Int.max
  }

  private let real = UnsyncedFileSystem()
  private let state = Mutex(State())

  var journal: [Operation] { state.withLock { $0.journal } }

  /// Does nothing any more once the journal has this length, as after `kill -9`; nil for a new
  /// process, which finds the files as they are.
  func die(after count: Int?) { state.withLock { $0.limit = count ?? .max } }

  private func beAlive() throws(SystemError) {
    guard state.withLock({ $0.journal.count < $0.limit }) else { throw SystemError(errno: EIO) }
  }

  private func note(_ operation: Operation) { state.withLock { $0.journal.append(operation) } }

  private func last(_ path: String) -> String { String(path.split(separator: "/").last ?? "") }

  func create(_ path: String) throws(SystemError) -> Int32 {
    try beAlive()
    let descriptor = try real.create(path)
    state.withLock {
      $0.files[descriptor] = $0.count
      $0.journal.append(.create(file: $0.count, name: last(path)))
      $0.count += 1
    }
    return descriptor
  }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    try beAlive()
    // In pieces, so that a crash can fall between them.
    let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(700))
    let written = try real.write(descriptor, piece)
    state.withLock {
      $0.journal.append(
        .write(file: $0.files[descriptor] ?? -1, bytes: Array(piece.prefix(written))))
    }
    return written
  }
  func synchronize(_ descriptor: Int32) throws(SystemError) {
    try beAlive()
    state.withLock { $0.journal.append(.synchronize(file: $0.files[descriptor] ?? -1)) }
  }
  func close(_ descriptor: Int32) throws(SystemError) {
    // The system closes the files of a dead process.
    try real.close(descriptor)
    try beAlive()
    note(.other)
  }
  func rename(_ old: String, _ new: String) throws(SystemError) {
    try beAlive()
    try real.rename(old, new)
    note(.rename(from: last(old), to: last(new)))
  }
  func remove(_ path: String) throws(SystemError) {
    try beAlive()
    try real.remove(path)
    note(.remove(name: last(path)))
  }
  func makeDirectory(_ path: String) throws(SystemError) {
    try beAlive()
    try real.makeDirectory(path)
    note(.other)
  }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    try beAlive()
    return try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) throws(SystemError) {
    try beAlive()
    note(.synchronizeDirectory)
  }
  func list(_ path: String) throws(SystemError) -> [String] {
    try beAlive()
    return try real.list(path)
  }

  /// The files that there may be after some calls.
  static func crash(
    after journal: ArraySlice<Operation>, unsynced: Unsynced, names: Names,
    using generator: inout SeededGenerator
  ) -> [String: [UInt8]] {
    var data: [Int: [UInt8]] = [:]
    var synced: [Int: Int] = [:]
    /// The names that are on disk for good, and those that the running system shows.
    var durable: [String: Int] = [:]
    var current: [String: Int] = [:]
    /// What each name has become since the directory was synchronised, in order.
    var pending: [String: [Int?]] = [:]
    var newest: Set<String> = []
    func change(_ name: String, _ file: Int?) {
      current[name] = file
      pending[name, default: []].append(file)
      newest.insert(name)
    }
    for operation in journal {
      if operation.changesNames { newest = [] }
      switch operation {
      case .create(let file, let name):
        data[file] = []
        change(name, file)
      case .write(let file, let bytes): data[file, default: []] += bytes
      case .synchronize(let file): synced[file] = data[file]?.count
      case .rename(let from, let to):
        change(to, current[from])
        change(from, nil)
      case .remove(let name): change(name, nil)
      case .synchronizeDirectory:
        durable = current
        pending = [:]
      case .other: break
      }
    }
    for (name, changes) in pending.sorted(by: { $0.key < $1.key }) {
      let count =
        switch names {
        case .none: 0
        case .all: changes.count
        case .newest: newest.contains(name) ? changes.count : 0
        case .some: Int.random(in: 0...changes.count, using: &generator)
        }
      if count > 0 { durable[name] = changes[count - 1] }
    }
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
