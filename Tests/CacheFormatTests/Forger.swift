import CacheFormat
import Foundation

/// Changes a segment and the other files of a cache and, where asked, makes all checksums fit again, so
/// that a lie gets past them to the checks behind.
struct Forger {
  let directory: String
  let hooks: Int
  /// Those of the segment.
  let prompts: Int
  let segment: Int
  /// How many entries of length and checksum stand before the chunks of each block, hook by hook; nil where
  /// there are none.
  private var chunkCounts: [Int?] = []

  private var segmentName: String { "segment-00000\(segment).pbs" }
  var segmentPath: String { "\(directory)/\(segmentName)" }
  var manifestPath: String { directory + "/manifest" }
  var planPath: String { directory + "/plan.json" }

  /// Writes `capture`, of which one segment will be changed.
  init(_ capture: Capture, in directory: String, segment: Int = 0) throws {
    try capture.write(to: directory)
    self.directory = directory
    self.segment = segment
    hooks = capture.plan.hooks.count
    prompts =
      capture.plan.segmentRanges(tokenCounts: capture.prompts.map(\.tokens.count))[segment]
      .count
    let bytes = try contents(segmentPath)
    for hook in 0..<hooks {
      chunkCounts += (0..<prompts).map { chunkCount(hook: hook, prompt: $0, in: bytes) }
    }
  }

  /// Where the block of an array starts, as its bytes in the index say; prompts are counted from the
  /// segment's first.
  func offset(hook: Int, prompt: Int, in segment: [UInt8]) -> Int {
    let entry = indexOffset(segment) + 16 * (hook * prompts + prompt)
    return Int(truncatingIfNeeded: number(segment, entry, 8))
  }

  /// Where the index starts, from the length that it must have.
  func indexOffset(_ segment: [UInt8]) -> Int {
    let length = 16 * hooks * prompts + 4 * prompts
    return segment.count - 64 - (length + 63) / 64 * 64
  }

  func number(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> UInt64 {
    bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Changes the segment and makes the checksums of blocks, index, trailer and manifest fit.
  func forgeSegment(_ change: (inout [UInt8]) -> Void) throws {
    var segment = try contents(segmentPath)
    change(&segment)
    sign(&segment)
    try overwrite(segmentPath, segment)
    try forgeManifest { text in
      let index = eightDigits(UInt32(number(segment, segment.count - 64 + 44, 4)))
      replaceValue(of: "\"index\":\"", after: segmentName, with: index, in: &text)
      replaceValue(of: "\"size\":", after: segmentName, with: "\(segment.count)", in: &text)
    }
  }

  private func replaceValue(
    of key: String, after place: String = "", with value: String, in text: inout String
  ) {
    let from = text.range(of: place)?.upperBound ?? text.startIndex
    guard let start = text.range(of: key, range: from..<text.endIndex)?.upperBound,
      let end = text[start...].firstIndex(where: { "\",}".contains($0) })
    else { return }
    text.replaceSubrange(start..<end, with: value)
  }

  private func chunkCount(hook: Int, prompt: Int, in segment: [UInt8]) -> Int? {
    let block = offset(hook: hook, prompt: prompt, in: segment)
    guard block > 0, segment[block + 32] == 1 else { return nil }
    var (count, rest) = (0, Int(number(segment, block + 40, 4)))
    while rest > 0 {
      rest -= 8 + Int(number(segment, block + 64 + 8 * count, 4))
      count += 1
    }
    return count
  }

  /// Signs the chunks of a block, as far as their lengths leave them in it; answers the table's bytes.
  private func signChunks(_ count: Int, of stored: Range<Int>, in segment: inout [UInt8]) -> Int {
    var start = stored.lowerBound + 8 * count
    for entry in 0..<count {
      let place = stored.lowerBound + 8 * entry
      guard place + 8 <= stored.upperBound else { break }
      let end = start + Int(number(segment, place, 4))
      guard end <= stored.upperBound else { break }
      put(crc(segment[start..<end]), at: place + 4, in: &segment)
      start = end
    }
    return min(8 * count, stored.count)
  }

  private func sign(_ segment: inout [UInt8]) {
    guard segment.count >= 192 else { return }
    seal(&segment, 0)
    for hook in 0..<hooks {
      for prompt in 0..<prompts {
        let block = offset(hook: hook, prompt: prompt, in: segment)
        // A derived array has no block.
        guard block >= 64, block <= segment.count - 128 else { continue }
        let stored = Int(number(segment, block + 40, 4))
        if block + 64 + stored <= segment.count {
          var signed = block + 64..<block + 64 + stored
          if let chunks = chunkCounts[hook * prompts + prompt], segment[block + 32] == 1 {
            signed = signed.prefix(signChunks(chunks, of: signed, in: &segment))
          }
          put(crc(segment[signed]), at: block + 44, in: &segment)
        }
        seal(&segment, block)
        let entry = indexOffset(segment) + 16 * (hook * prompts + prompt)
        put(crc(segment[block..<block + 60]), at: entry + 12, in: &segment)
      }
    }
    let index = indexOffset(segment)
    let length = 16 * hooks * prompts + 4 * prompts
    put(crc(segment[index..<index + length]), at: segment.count - 64 + 44, in: &segment)
    seal(&segment, segment.count - 64)
  }

  private func seal(_ bytes: inout [UInt8], _ record: Int) {
    put(crc(bytes[record..<record + 60]), at: record + 60, in: &bytes)
  }

  /// CRC-32C, byte by byte.
  private func crc(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc = ~UInt32(0)
    for byte in bytes { crc = crc >> 8 ^ Forger.remainders[Int((crc ^ UInt32(byte)) & 0xFF)] }
    return ~crc
  }

  private static let remainders = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc >> 1 ^ (crc & 1) * 0x82F6_3B78 }
  }

  private func eightDigits(_ word: UInt32) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  func put(_ value: some FixedWidthInteger, at offset: Int, in bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { source in
      for (index, byte) in source.enumerated() { bytes[offset + index] = byte }
    }
  }

  /// Changes the manifest's text and signs it.
  func forgeManifest(_ change: (inout String) -> Void) throws {
    var text = String(decoding: try contents(manifestPath).dropLast(16), as: UTF8.self)
    change(&text)
    try overwrite(manifestPath, Array("\(text)crc32c \(eightDigits(crc(text.utf8)))\n".utf8))
  }

  /// Changes the plan's text and makes its digest in the manifest fit.
  func forgePlan(_ change: (inout String) -> Void) throws {
    let old = try contents(planPath)
    var text = String(decoding: old, as: UTF8.self)
    change(&text)
    try overwrite(planPath, Array(text.utf8))
    try forgeManifest { manifest in
      let digest = Array(text.utf8).withUnsafeBytes { sha256($0) }
      replaceValue(of: "\"plan\":\"", with: digest, in: &manifest)
    }
  }
}

extension String {
  mutating func replaceFirst(_ old: String, with new: String) {
    guard let range = firstRange(of: old) else { return }
    replaceSubrange(range, with: new)
  }
}

/// What a cache does when it is opened, verified and read, whatever is wrong with it.
enum Outcome: Equatable {
  /// It could not be opened, or verification found something.
  case caught(CacheError?)
  case sound

  /// - Parameter capture: what the cache was made of; a value that is read and differs is recorded
  ///   as silent corruption.
  static func of(_ directory: String, _ capture: Capture) -> (outcome: Outcome, silent: Bool) {
    let reader: CacheReader
    do throws(CacheError) {
      reader = try CacheReader(directory: directory)
    } catch {
      return (.caught(error), false)
    }
    var first: CacheError?
    var silent = false
    for hook in capture.plan.hooks.indices {
      for prompt in capture.prompts.indices {
        do throws(CacheError) {
          let values = try reader.read(hook: hook, prompt: prompt)
          if bits(values) != bits(capture.arrays[hook][prompt]) { silent = true }
        } catch {
          first = first ?? error
        }
      }
    }
    do throws(CacheError) {
      return (try reader.verify().isHealthy ? .sound : .caught(first), silent)
    } catch {
      return (.caught(error), silent)
    }
  }
}
