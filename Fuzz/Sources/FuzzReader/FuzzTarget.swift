import CacheFormat
import Foundation

/// A small sound cache, and what becomes of it under the changes that an input describes.
///
/// Byte 0 of an input chooses the file; by its highest bit whether checksums are made to fit again,
/// so that a lie gets past them to the checks behind; by the next whether segments are read into
/// memory of their own, whose ends AddressSanitizer guards, or mapped. Then come changes of four
/// bytes: place (two, little-endian, of the file's length), what to do, and with which byte. A find
/// is a trap, an access outside a buffer that AddressSanitizer sees, a value that differs although
/// the checksums were left alone, or memory beyond libFuzzer's limit.
final class FuzzTarget: Sendable {
  static let shared = FuzzTarget()

  private let names: [String]
  private let files: [String: [UInt8]]
  private let hookCount: Int
  private let promptCount: Int
  /// By hook and prompt, as bit patterns.
  private let expected: [[[UInt32]]]
  private let folder: String

  private init() {
    let source = ProcessInfo.processInfo.environment["PATCHBAY_FUZZ_CACHE"] ?? "cache"
    guard let reader = try? CacheReader(directory: source),
      let names = try? FileManager.default.contentsOfDirectory(atPath: source)
    else { fatalError("PATCHBAY_FUZZ_CACHE must name a sound cache, not \(source)") }
    self.names = names.sorted()
    files = names.reduce(into: [:]) {
      $0[$1] = FileManager.default.contents(atPath: "\(source)/\($1)").map { [UInt8]($0) }
    }
    hookCount = reader.plan.hooks.count
    promptCount = reader.committedPrompts
    expected = reader.plan.hooks.indices.map { hook in
      (0..<reader.committedPrompts).map { prompt in
        ((try? reader.read(hook: hook, prompt: prompt)) ?? []).map(\.bitPattern)
      }
    }
    let memory = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
    folder = "\(memory)/patchbay-fuzz-\(getpid())"
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    for (name, bytes) in files { write(name, bytes) }
  }

  func test(_ input: [UInt8]) {
    guard input.count >= 5 else { return }
    let name = names[Int(input[0] & 0x3F) % names.count]
    let isMended = input[0] & 0x80 != 0
    guard let original = files[name] else { return }
    var bytes = original
    for at in stride(from: 1, to: input.count - 3, by: 4) {
      change(Array(input[at..<at + 4]), &bytes)
    }
    write(name, bytes)
    if isMended { mend(name, bytes) }
    readEverything(inPieces: input[0] & 0x40 != 0, mayDiffer: isMended)
    for (name, bytes) in files where name == "manifest" || name == "plan.json" {
      write(name, bytes)
    }
    write(name, original)
  }

  private func change(_ what: [UInt8], _ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    // Sixteen bits reach every place of a small file; the ends of a segment by the third mode.
    let place = (Int(what[0]) | Int(what[1]) << 8) % bytes.count
    switch what[2] & 7 {
    case 0: bytes[place] ^= what[3]
    case 1: bytes[place] = what[3]
    case 2: bytes[bytes.count - 1 - place] = what[3]
    case 3: bytes[place] &+= what[3]
    case 4: for i in place..<min(place + 8, bytes.count) { bytes[i] = what[3] }
    case 5: bytes.removeLast(min(bytes.count, place % 129))
    case 6: bytes.insert(what[3], at: place)
    default: bytes.remove(at: place)
    }
  }

  private func readEverything(inPieces: Bool, mayDiffer: Bool) {
    guard let reader = try? CacheReader(directory: folder, access: inPieces ? .pread : .mapped)
    else { return }
    for hook in 0..<reader.plan.hooks.count {
      for prompt in 0..<reader.committedPrompts {
        let row = lastRow(reader, hook: hook, prompt: prompt)
        precondition(
          row == nil || mayDiffer || expected[hook][prompt].suffix(row?.count ?? 0) == row?[...],
          "another last row of prompt \(prompt), hook \(hook), and no error")
        guard let values = try? reader.read(hook: hook, prompt: prompt), !mayDiffer else {
          continue
        }
        precondition(
          values.map(\.bitPattern) == expected[hook][prompt],
          "other values of prompt \(prompt), hook \(hook), and no error")
      }
    }
    _ = try? reader.verify()
    _ = reader.summary()
    _ = try? reader.prompts()
    _ = try? reader.pairs()
  }

  /// Read without the others, where the hook has rows.
  private func lastRow(_ reader: CacheReader, hook: Int, prompt: Int) -> [UInt32]? {
    guard reader.plan.hooks[hook].isRows, let T = try? reader.positions(prompt: prompt), T > 0
    else { return nil }
    return try? reader.withRows(T - 1..<T, hook: hook, prompt: prompt) { $0.map(\.bitPattern) }
  }

  private func write(_ name: String, _ bytes: [UInt8]) {
    FileManager.default.createFile(atPath: "\(folder)/\(name)", contents: Data(bytes))
  }

  /// Makes every checksum fit a changed file.
  private func mend(_ name: String, _ bytes: [UInt8]) {
    var manifest = String(decoding: files["manifest"]?.dropLast(16) ?? [], as: UTF8.self)
    if name == "manifest" {
      manifest = String(decoding: bytes.dropLast(16), as: UTF8.self)
    } else if name == "plan.json" {
      let old = (files["plan.json"] ?? []).withUnsafeBytes { sha256($0) }
      manifest = manifest.replacingOccurrences(of: old, with: bytes.withUnsafeBytes { sha256($0) })
    } else if name.hasSuffix(".jsonl") {
      let plan = String(decoding: files["plan.json"] ?? [], as: UTF8.self)
      let old = (files[name] ?? []).withUnsafeBytes { sha256($0) }
      let changed = plan.replacingOccurrences(of: old, with: bytes.withUnsafeBytes { sha256($0) })
      write("plan.json", Array(changed.utf8))
      mend("plan.json", Array(changed.utf8))
      return
    } else {
      let segment = mendedSegment(bytes, of: files[name] ?? [])
      write(name, segment)
      for line in manifest.split(separator: "\n") where line.contains(name) {
        let index = hex(word(segment, max(0, segment.count - 20)))
        let fields = line.replacing(/"index":"[0-9a-f]{8}"/, with: "\"index\":\"\(index)\"")
          .replacing(/"size":[0-9]+/, with: "\"size\":\(segment.count)")
        manifest = manifest.replacingOccurrences(of: line, with: fields)
      }
    }
    write("manifest", Array(manifest.utf8) + Array("crc32c \(hex(crc(manifest.utf8)))\n".utf8))
  }

  /// Checksums of the header, of the blocks that the index names and their chunks, of the index and the
  /// trailer.
  private func mendedSegment(_ bytes: [UInt8], of original: [UInt8]) -> [UInt8] {
    var bytes = bytes
    guard bytes.count >= 192 else { return bytes }
    seal(&bytes, 0)
    let prompts = Int(word(bytes, 20))
    guard prompts < 100 else { return bytes }
    let length = 16 * hookCount * prompts + 4 * prompts
    let index = bytes.count - 64 - (length + 63) / 64 * 64
    guard index >= 64 else { return bytes }
    for entry in stride(from: index, to: index + 16 * hookCount * prompts, by: 16) {
      let block = Int(word(bytes, entry))
      guard block >= 64, block + 64 <= index else { continue }
      let end = block + 64 + Int(word(bytes, block + 40))
      if end <= index {
        let covered = mendChunks(&bytes, block, end, of: original)
        put(crc(bytes[block + 64..<covered]), block + 44, &bytes)
      }
      seal(&bytes, block)
      put(word(bytes, block + 60), entry + 12, &bytes)
    }
    put(crc(bytes[index..<index + length]), bytes.count - 20, &bytes)
    seal(&bytes, bytes.count - 64)
    return bytes
  }

  /// Checksums of the chunks of a compressed block, as far as their lengths leave them in it; answers where
  /// that in the block's header ends.
  private func mendChunks(_ bytes: inout [UInt8], _ block: Int, _ end: Int, of original: [UInt8])
    -> Int
  {
    let table = block + 64
    guard bytes[block + 32] == 1,
      let count = chunkCount(bytes, table, end) ?? chunkCount(original, table, end)
    else { return end }
    var start = table + 8 * count
    for entry in stride(from: table, to: min(start, end - 7), by: 8) {
      let stop = start + Int(word(bytes, entry))
      guard stop <= end else { break }
      put(crc(bytes[start..<stop]), entry + 4, &bytes)
      start = stop
    }
    return min(table + 8 * count, end)
  }

  /// How many chunks have a length in the table, by the lengths; nil where they do not fill the block.
  private func chunkCount(_ bytes: [UInt8], _ table: Int, _ end: Int) -> Int? {
    var (count, rest) = (0, end - table)
    while rest > 0 {
      rest -= 8 + Int(word(bytes, table + 8 * count))
      count += 1
    }
    return rest == 0 ? count : nil
  }

  private func seal(_ bytes: inout [UInt8], _ record: Int) {
    put(crc(bytes[record..<record + 60]), record + 60, &bytes)
  }

  private func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    guard at + 4 <= bytes.count else { return 0 }
    return bytes[at..<at + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }

  private func put(_ value: UInt32, _ at: Int, _ bytes: inout [UInt8]) {
    for k in 0..<4 { bytes[at + k] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(k))) }
  }

  private func hex(_ word: UInt32) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  private func crc(_ bytes: some Sequence<UInt8>) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { $0 >> 8 ^ FuzzTarget.remainders[Int(($0 ^ UInt32($1)) & 0xFF)] }
  }

  private static let remainders = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc >> 1 ^ (crc & 1) * 0x82F6_3B78 }
  }
}
