import CKernels
import CacheFormat
import Dispatch
import FileIO
import Glibc

/// What has been computed of sweeps that have not come to their end, in a directory `unfinished`, so
/// that the same command goes on where an interrupted one stopped.
///
/// Every few seconds the runs that were patched since the last time are written as a file of their
/// own, whole and synchronised before it has its name. Part N, little-endian: the eight bytes
/// `PBCELLS1`, the identity of the sweeps (64 digits), then as UInt32 the sweep's number, the number of
/// metrics and of runs; for each run its cell, its pair, whether it was unchanged, and its metrics as
/// Float; at last the CRC-32C of all that. A part that is damaged counts as not written.
public final class UnfinishedSweeps {
  private let directory: String
  private let identity: String
  private let metrics: Int
  private var found: [Int: [CellValues]] = [:]
  private var waiting: [Int: [CellValues]] = [:]
  private var nextPart = 0
  private var lastWrite = DispatchTime.now().uptimeNanoseconds

  /// How long results wait before they are written, in nanoseconds.
  private static let patience: UInt64 = 2_000_000_000
  private static let magic = Array("PBCELLS1".utf8)
  private static let largestPart = 1 << 30

  /// Reads what an interrupted command left.
  ///
  /// - Parameters:
  ///   - parent: where the results will be; it is there.
  ///   - identity: what determines the results, in any words.
  /// - Throws: `PatchingError.otherSweeps`, `FileError`.
  public init(in parent: String, identity: String, metrics: Int) throws {
    directory = parent + "/unfinished"
    var identity = identity
    self.identity = identity.withUTF8 { sha256(UnsafeRawBufferPointer($0)) }
    self.metrics = metrics
    for name in try names() {
      nextPart = max(nextPart, (number(of: name) ?? 0) + 1)
      let bytes = try readFile(
        directory + "/" + name, limit: UnfinishedSweeps.largestPart, followLinks: false)
      try read(bytes, name)
    }
  }

  /// The patched runs of a sweep that are known already.
  public func known(ofSweep sweep: Int) -> [CellValues] { found[sweep] ?? [] }

  /// Notes runs of a sweep, and writes them if the last time is a while ago.
  ///
  /// - Throws: `FileError`.
  public func note(_ values: [CellValues], ofSweep sweep: Int) throws {
    waiting[sweep, default: []] += values
    let now = DispatchTime.now().uptimeNanoseconds
    guard now - lastWrite >= UnfinishedSweeps.patience else { return }
    try write()
    lastWrite = DispatchTime.now().uptimeNanoseconds
  }

  /// Writes what is waiting.
  func write() throws {
    if nextPart == 0, !waiting.isEmpty {
      do throws(SystemError) {
        try SystemCalls().makeDirectory(directory)
      } catch {
        guard error.errno == EEXIST else {
          throw FileError(.create, directory, errno: error.errno)
        }
      }
    }
    for (sweep, runs) in waiting.sorted(by: { $0.key < $1.key }) {
      try replaceFile(directory + "/part-\(nextPart)", with: part(sweep, runs))
      nextPart += 1
    }
    waiting = [:]
  }

  /// Removes all of it, once the results are written.
  public func remove() {
    // With what a killed command was about to write. What cannot be removed stays, and does no harm.
    let names = (try? SystemCalls().list(directory)) ?? []
    for name in names where name.hasPrefix("part-") {
      try? SystemCalls().remove(directory + "/" + name)
    }
    try? SystemCalls().removeDirectory(directory)
  }

  private func names() throws -> [String] {
    do throws(SystemError) {
      return try SystemCalls().list(directory).filter { number(of: $0) != nil }
    } catch {
      guard error.errno == ENOENT else { throw FileError(.read, directory, errno: error.errno) }
      return []
    }
  }

  private func number(of name: String) -> Int? {
    guard name.hasPrefix("part-"), let number = Int(name.dropFirst(5)), number >= 0 else {
      return nil
    }
    return number
  }

  private func part(_ sweep: Int, _ runs: [CellValues]) -> [UInt8] {
    var bytes = UnfinishedSweeps.magic + Array(identity.utf8)
    func add(_ value: UInt32) {
      for shift in stride(from: 0, to: 32, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(shift)))
      }
    }
    add(UInt32(clamping: sweep))
    add(UInt32(clamping: metrics))
    add(UInt32(clamping: runs.count))
    for run in runs {
      add(UInt32(clamping: run.cell))
      add(UInt32(clamping: run.pair))
      add(run.isUnchanged ? 1 : 0)
      for value in run.values { add(value.bitPattern) }
    }
    add(crc32c(0, bytes, bytes.count))
    return bytes
  }

  private func read(_ bytes: [UInt8], _ name: String) throws {
    let head = UnfinishedSweeps.magic.count + identity.utf8.count
    guard bytes.count >= head + 16, bytes.starts(with: UnfinishedSweeps.magic) else { return }
    func value(_ index: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[head + 4 * index + $1]) << UInt32(8 * $1) }
    }
    let fields = (bytes.count - head) / 4
    let sum = bytes.withUnsafeBytes { crc32c(0, $0.baseAddress, bytes.count - 4) }
    guard (bytes.count - head) % 4 == 0, value(fields - 1) == sum else { return }
    guard bytes[UnfinishedSweeps.magic.count..<head].elementsEqual(identity.utf8) else {
      throw PatchingError.otherSweeps(directory: directory)
    }
    let (size, count) = (3 + metrics, Int(value(2)))
    guard value(1) == UInt32(clamping: metrics), count <= fields, fields == 4 + count * size
    else { return }
    found[Int(value(0)), default: []] += (0..<count).map { run in
      let first = 3 + run * size
      return CellValues(
        cell: Int(value(first)), pair: Int(value(first + 1)),
        values: (0..<metrics).map { Float(bitPattern: value(first + 3 + $0)) },
        isUnchanged: value(first + 2) == 1)
    }
  }
}
