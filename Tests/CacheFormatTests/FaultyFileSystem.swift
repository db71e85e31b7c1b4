import FileIO
import Glibc
import Synchronization

/// A file system of which one call fails.
final class FaultyFileSystem: FileSystem {
  enum Fault: Sendable, CaseIterable {
    /// The call fails with this error and does nothing.
    case noSpace, inputOutput
    /// The same, and so does every call after it.
    case inputOutputForever
    /// A write is interrupted before or after some bytes; other calls succeed.
    case interrupted, shortWrite
  }

  /// The call that fails, counted from 0; nil for none.
  private let failing: Int?
  private let fault: Fault
  private let calls = Mutex<[String]>([])
  private let real = UnsyncedFileSystem()

  init(failing: Int? = nil, fault: Fault = .inputOutput) {
    self.failing = failing
    self.fault = fault
  }

  /// The names of the calls so far, and of what they were about.
  var log: [String] { calls.withLock { $0 } }

  /// Counts a call; true when it is the one to be a short write.
  private func count(_ call: String) throws(SystemError) -> Bool {
    let number = calls.withLock {
      $0.append(call)
      return $0.count - 1
    }
    guard let failing, number == failing || fault == .inputOutputForever && number > failing else {
      return false
    }
    switch fault {
    case .noSpace: throw SystemError(errno: ENOSPC)
    case .inputOutput, .inputOutputForever: throw SystemError(errno: EIO)
    case .interrupted:
      if call == "write" { throw SystemError(errno: EINTR) }
      return false
    case .shortWrite: return call == "write"
    }
  }

  func create(_ path: String) throws(SystemError) -> Int32 {
    _ = try count("create \(path)")
    return try real.create(path)
  }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    let short = try count("write")
    return try real.write(descriptor, short ? .init(rebasing: bytes.prefix(1)) : bytes)
  }
  func synchronize(_ descriptor: Int32) throws(SystemError) {
    _ = try count("synchronize \(descriptor)")
    real.synchronize(descriptor)
  }
  /// A descriptor is gone even when closing it fails.
  func close(_ descriptor: Int32) throws(SystemError) {
    do throws(SystemError) {
      _ = try count("close")
    } catch {
      try? real.close(descriptor)
      throw error
    }
    try real.close(descriptor)
  }
  func rename(_ old: String, _ new: String) throws(SystemError) {
    _ = try count("rename \(new)")
    try real.rename(old, new)
  }
  func remove(_ path: String) throws(SystemError) {
    _ = try count("remove \(path)")
    try real.remove(path)
  }
  func makeDirectory(_ path: String) throws(SystemError) {
    _ = try count("makeDirectory")
    try real.makeDirectory(path)
  }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    _ = try count("openDirectory")
    return try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) throws(SystemError) {
    _ = try count("synchronizeDirectory")
    real.synchronizeDirectory(descriptor)
  }
  func list(_ path: String) throws(SystemError) -> [String] {
    _ = try count("list")
    return try real.list(path)
  }
}
