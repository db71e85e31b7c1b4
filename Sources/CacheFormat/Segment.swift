import FileIO
import Glibc

/// One stored array as it lies in a mapped segment: its header and the bytes after it.
///
/// The bytes are valid as long as the segment is.
struct Block {
  let header: BlockHeader
  let stored: UnsafeRawBufferPointer
}

/// A sealed segment, mapped and checked but for the arrays themselves. Thread-safe.
final class Segment: Sendable {
  let path: String
  let number: Int
  let prompts: Range<Int>
  private let file: MappedFile
  private let key: PlanKey
  private let plan: CachePlan
  private let indexOffset: Int

  /// Maps the segment and checks its size, header, trailer and index.
  ///
  /// - Parameter listed: what the manifest says of it.
  init(
    directory: String, number: Int, firstPrompt: Int, listed: Manifest.Segment, plan: CachePlan,
    key: PlanKey
  ) throws(CacheError) {
    path = directory + "/" + SegmentLayout.fileName(number)
    self.number = number
    self.plan = plan
    self.key = key
    prompts = firstPrompt..<firstPrompt + listed.prompts
    file = try Segment.map(path)
    guard file.count == listed.size, let base = file.bytes.baseAddress,
      file.count >= 2 * Record.size
    else { throw .wrongSize(file: path, expected: listed.size, found: file.count) }
    try Segment.checkHeader(
      base, path: path,
      expected: SegmentHeader(
        format: UInt32(CachePlan.currentFormat), segment: UInt32(number),
        firstPrompt: UInt32(firstPrompt), promptCount: UInt32(listed.prompts),
        hookCount: UInt32(plan.hooks.count), plan: key.bytes))
    indexOffset = try Segment.checkedIndexOffset(
      file.bytes, path: path, number: number, hooks: plan.hooks.count, listed: listed, key: key)
    try checkIndex(tokens: listed.tokens)
  }

  private static func map(_ path: String) throws(CacheError) -> MappedFile {
    do throws(FileError) {
      return try MappedFile(path: path, followLinks: false)
    } catch {
      if error.operation == .open, error.errno == ENOENT { throw .missingSegment(file: path) }
      // What O_NOFOLLOW answers for a symbolic link.
      if error.operation == .open, error.errno == ELOOP {
        throw .unreadable(FileError(.notPlainFile, path, errno: ELOOP))
      }
      throw .unreadable(error)
    }
  }

  private static func checkHeader(
    _ base: UnsafeRawPointer, path: String, expected: SegmentHeader
  ) throws(CacheError) {
    guard let header = SegmentHeader.decode(base) else {
      throw .badSegmentHeader(file: path, what: "its checksum fails")
    }
    guard header.format <= expected.format else {
      throw .newerFormat(file: path, found: Int(header.format))
    }
    guard header.plan == expected.plan else {
      throw .badSegmentHeader(file: path, what: "the segment belongs to another capture")
    }
    guard header == expected else {
      throw .badSegmentHeader(
        file: path,
        what: "it is segment \(header.segment) with \(header.promptCount) prompts from "
          + "\(header.firstPrompt) on, not segment \(expected.segment) with "
          + "\(expected.promptCount) from \(expected.firstPrompt) on")
    }
  }

  private static func checkedIndexOffset(
    _ bytes: UnsafeRawBufferPointer, path: String, number: Int, hooks: Int,
    listed: Manifest.Segment, key: PlanKey
  ) throws(CacheError) -> Int {
    guard let base = bytes.baseAddress,
      let trailer = SegmentTrailer.decode(base + (bytes.count - Record.size))
    else { throw .badTrailer(file: path, what: "its checksum fails") }
    guard trailer.plan == key.prefix, trailer.segment == UInt32(number) else {
      throw .badTrailer(file: path, what: "it belongs to another segment")
    }
    guard let length = SegmentLayout.indexLength(hooks: hooks, prompts: listed.prompts),
      let padded = Alignment.rounded(length), padded <= bytes.count - 2 * Record.size
    else { throw .badIndex(file: path, what: "the segment is too short for it") }
    let offset = bytes.count - Record.size - padded
    guard trailer.fileSize == UInt64(bytes.count), trailer.indexLength == UInt64(length),
      trailer.indexOffset == UInt64(offset)
    else { throw .badTrailer(file: path, what: "its lengths are not those of the segment") }
    let index = UnsafeRawBufferPointer(start: base + offset, count: length)
    let checksum = checksum(index)
    guard checksum == trailer.indexChecksum, hexadecimal(checksum) == listed.index else {
      throw .badIndex(file: path, what: "its checksum fails")
    }
    guard Record.areZero(base, offset + length..<offset + padded) else {
      throw .badIndex(file: path, what: "the bytes after it are not zero")
    }
    return offset
  }

  /// Blocks must follow one another without hole or overlap up to the index, and the prompts'
  /// positions must add up.
  private func checkIndex(tokens: Int) throws(CacheError) {
    var next = Record.size
    for array in 0..<plan.hooks.count * prompts.count {
      let entry = entry(array)
      guard entry.offset == UInt64(next), next <= indexOffset - Record.size,
        let padded = Alignment.rounded(Int(entry.storedLength)),
        padded <= indexOffset - Record.size - next
      else { throw .badIndex(file: path, what: "entry \(array) does not follow the one before") }
      next += Record.size + padded
    }
    guard next == indexOffset else {
      throw .badIndex(file: path, what: "there is a gap before it")
    }
    var sum = 0
    for prompt in prompts {
      let T = positions(prompt: prompt)
      guard T <= Limits.positions else {
        throw .badIndex(file: path, what: "prompt \(prompt) has \(T) positions")
      }
      sum += T
    }
    guard sum == tokens else {
      throw .badIndex(file: path, what: "its prompts have \(sum) tokens, not \(tokens)")
    }
  }

  private func entry(_ array: Int) -> IndexEntry {
    // In range: `array` is below the number of arrays, whose entries were found to be in the file.
    guard let base = file.bytes.baseAddress else {
      return IndexEntry(offset: 0, storedLength: 0, headerChecksum: 0)
    }
    return IndexEntry.decode(base + indexOffset + array * IndexEntry.size)
  }

  /// The number of tokens of a prompt of this segment.
  func positions(prompt: Int) -> Int {
    guard let base = file.bytes.baseAddress else { return 0 }
    let table = indexOffset + plan.hooks.count * prompts.count * IndexEntry.size
    return Int(Record.word(base, table + 4 * (prompt - prompts.lowerBound)))
  }

  /// The array of one hook and prompt of this segment, its header checked, its bytes not.
  func block(hook: Int, prompt: Int) throws(CacheError) -> Block {
    do throws(BlockProblem) {
      return try checkedBlock(hook: hook, prompt: prompt)
    } catch {
      throw badBlock(hook: hook, prompt: prompt, error)
    }
  }

  func badBlock(hook: Int, prompt: Int, _ problem: BlockProblem) -> CacheError {
    .badBlock(file: path, prompt: prompt, hook: plan.hooks[hook].name, problem: problem)
  }

  private func checkedBlock(hook: Int, prompt: Int) throws(BlockProblem) -> Block {
    let entry = entry(hook * prompts.count + prompt - prompts.lowerBound)
    // The index was checked when the segment was opened; a file that changed since must not make
    // this read outside the mapping.
    guard let base = file.bytes.baseAddress, let offset = Int(exactly: entry.offset),
      offset >= Record.size, offset <= indexOffset - Record.size,
      let padded = Alignment.rounded(Int(entry.storedLength)),
      padded <= indexOffset - Record.size - offset
    else { throw .impossible("a place outside the segment") }
    let header = try BlockHeader.decode(base + offset)
    try checkIdentity(header, hook: hook, prompt: prompt)
    guard Record.word(base + offset, Record.checkedBytes) == entry.headerChecksum else {
      throw .identity("the same array of another capture")
    }
    guard header.storedLength == entry.storedLength else {
      throw .impossible("\(header.storedLength) stored bytes, the index \(entry.storedLength)")
    }
    try checkLengths(header, hook: hook, prompt: prompt)
    let stored = UnsafeRawBufferPointer(
      start: base + offset + Record.size, count: Int(header.storedLength))
    return Block(header: header, stored: stored)
  }

  private func checkIdentity(_ header: BlockHeader, hook: Int, prompt: Int) throws(BlockProblem) {
    guard header.plan == key.prefix else { throw .identity("an array of another capture") }
    guard header.segment == UInt32(number), header.hook == UInt32(hook),
      header.prompt == UInt32(prompt)
    else {
      let found = Int(header.hook)
      let name = found < plan.hooks.count ? plan.hooks[found].name : "hook \(found)"
      throw .identity("prompt \(header.prompt), \(name) of segment \(header.segment)")
    }
  }

  private func checkLengths(_ header: BlockHeader, hook: Int, prompt: Int) throws(BlockProblem) {
    let T = positions(prompt: prompt)
    guard header.positions == UInt32(T) else {
      throw .impossible("\(header.positions) positions, the index \(T)")
    }
    guard header.elementType == plan.elementType else {
      throw .impossible("\(header.elementType) elements, the plan \(plan.elementType)")
    }
    let raw = plan.byteCount(hook: hook, positions: T)
    guard let raw, header.rawLength == UInt32(exactly: raw) else {
      throw .impossible("\(header.rawLength) bytes where the shape has \(raw ?? -1)")
    }
    let stored = Int(header.storedLength)
    switch header.encoding.codec {
    case .none:
      guard stored == raw else { throw .impossible("\(stored) bytes stored of \(raw) raw ones") }
    case .lz4:
      // LZ4 expands at most 255 times; nothing longer than its source is stored compressed.
      guard stored < raw, raw / 255 <= stored else {
        throw .impossible("\(raw) bytes from \(stored) stored ones")
      }
    }
  }

  /// Checks a block's stored bytes and the zeros after them.
  static func checkStored(_ block: Block) throws(BlockProblem) {
    guard checksum(block.stored) == block.header.storedChecksum else { throw .storedChecksum }
    let zeros = (Alignment.bytes - block.stored.count % Alignment.bytes) % Alignment.bytes
    guard let base = block.stored.baseAddress,
      Record.areZero(base, block.stored.count..<block.stored.count + zeros)
    else { throw .padding }
  }
}
