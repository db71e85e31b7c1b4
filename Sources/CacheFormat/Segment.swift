import FileIO
import Glibc

/// One stored array as it lies in a segment: its header and the bytes after it.
///
/// The bytes are valid as long as the segment is, or until the memory that they were read into is
/// used again.
struct Block {
  let header: BlockHeader
  /// Bytes before filter and codec, after packing.
  let packedLength: Int
  let stored: UnsafeRawBufferPointer
  let chunking: Chunking
  /// Whether chunks are checked when they are decoded.
  private(set) var checksChunks = false
  /// The bytes up to the next block, which must be zero; none where they were not read.
  var padding: UnsafeRawBufferPointer

  /// Where some rows of the array lie among its bytes after packing; nil if they are not all there, or
  /// the packing does not leave rows.
  ///
  /// - Parameter rows: of the header's positions.
  func part(_ rows: Range<Int>) -> Range<Int>? {
    let row = Int(header.rawLength) / max(1, Int(header.positions))
    var left = 0
    switch header.encoding.packing {
    case .none: break
    case .triangle: return nil
    case .sharedRows(_, let count): left = Int(count)
    }
    guard rows.lowerBound >= left else { return nil }
    return (rows.lowerBound - left) * row..<(rows.upperBound - left) * row
  }

  /// Where the chunks lie among the stored bytes that hold a part of those after packing; nil if all
  /// stored bytes are needed, or the table is none.
  ///
  /// - Parameter part: not empty.
  func chunks(holding part: Range<Int>) -> Range<Int>? {
    var end = chunking.tableBytes(of: packedLength)
    guard chunking.hasChecksums, header.encoding.codec != .none, end <= stored.count,
      let base = stored.baseAddress
    else { return nil }
    var start = end
    for chunk in 0...(part.upperBound - 1) / chunking.bytes {
      if chunk <= part.lowerBound / chunking.bytes { start = end }
      end += Int(Record.word(base, chunking.entryBytes * chunk))
    }
    return end <= stored.count ? start..<end : nil
  }

  /// Checks the stored bytes and the zeros after them; chunks that have checksums of their own are left
  /// to the decoder.
  mutating func checkStored() throws(BlockProblem) {
    checksChunks = chunking.hasChecksums
    let count = chunking.headerCovers(
      header.encoding, packed: packedLength, stored: stored.count)
    guard count <= stored.count else { throw .undecodable }
    guard checksum(.init(rebasing: stored[..<count])) == header.storedChecksum else {
      throw .storedChecksum
    }
    guard padding.allSatisfy({ $0 == 0 }) else { throw .padding }
  }
}

/// A sealed segment, open and checked but for the arrays themselves. Thread-safe.
final class Segment: Sendable {
  /// Of a mapped cache the first so many segments keep their files open, well below the number of files
  /// that a process may have.
  private static let mostFiles = 256

  let path: String
  let number: Int
  let prompts: Range<Int>
  private let source: SegmentSource
  private let index: SegmentIndex
  private let key: PlanKey
  private let plan: CachePlan
  private let sizes: [HookSize]

  /// Opens the segment and checks its size, header, trailer and index.
  ///
  /// - Parameter listed: what the manifest says of it.
  init(
    directory: String, number: Int, firstPrompt: Int, listed: Manifest.Segment, plan: CachePlan,
    graph: HookGraph, key: PlanKey, files: SegmentFiles
  ) throws(CacheError) {
    path = directory + "/" + SegmentLayout.fileName(number)
    self.number = number
    self.plan = plan
    sizes = graph.sizes
    self.key = key
    prompts = firstPrompt..<firstPrompt + listed.prompts
    source = try Segment.open(path, files, keepsFile: number < Segment.mostFiles)
    guard source.count == listed.size, source.count >= 2 * Record.size else {
      throw .wrongSize(file: path, expected: listed.size, found: source.count)
    }
    let room = ByteBuffer(capacity: 0)
    let header = try Segment.bytes(of: source, at: 0, count: Record.size, room: room)
    try Segment.checkHeader(
      header, path: path,
      expected: SegmentHeader(
        format: UInt32(plan.formatVersion), segment: UInt32(number),
        firstPrompt: UInt32(firstPrompt), promptCount: UInt32(listed.prompts),
        hookCount: UInt32(plan.hooks.count), plan: key.bytes))
    index = try Segment.readIndex(
      of: source, path: path, number: number, listed: listed, graph: graph, key: key, room: room)
  }

  private static func open(
    _ path: String, _ files: SegmentFiles, keepsFile: Bool
  ) throws(CacheError) -> SegmentSource {
    do throws(FileError) {
      return try SegmentSource(path: path, files, keepsFile: keepsFile)
    } catch {
      if error.operation == .open, error.errno == ENOENT { throw .missingSegment(file: path) }
      // What O_NOFOLLOW answers for a symbolic link.
      if error.operation == .open, error.errno == ELOOP {
        throw .unreadable(FileError(.notPlainFile, path, errno: ELOOP))
      }
      throw .unreadable(error)
    }
  }

  private static func bytes(of source: SegmentSource, at offset: Int, count: Int, room: ByteBuffer)
    throws(CacheError) -> UnsafeRawBufferPointer
  {
    do throws(FileError) {
      return try source.bytes(at: offset, count: count, room: room)
    } catch {
      throw .unreadable(error)
    }
  }

  private static func checkHeader(
    _ bytes: UnsafeRawBufferPointer, path: String, expected: SegmentHeader
  ) throws(CacheError) {
    guard let base = bytes.baseAddress, let header = SegmentHeader.decode(base) else {
      throw .badSegmentHeader(file: path, what: "its checksum fails")
    }
    guard header.format <= UInt32(CachePlan.currentFormat) else {
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

  private static func readIndex(
    of source: SegmentSource, path: String, number: Int, listed: Manifest.Segment,
    graph: HookGraph, key: PlanKey, room: ByteBuffer
  ) throws(CacheError) -> SegmentIndex {
    let end = source.count - Record.size
    let last = try bytes(of: source, at: end, count: Record.size, room: room)
    guard let base = last.baseAddress, let trailer = SegmentTrailer.decode(base) else {
      throw .badTrailer(file: path, what: "its checksum fails")
    }
    guard trailer.plan == key.prefix, trailer.segment == UInt32(number) else {
      throw .badTrailer(file: path, what: "it belongs to another segment")
    }
    guard
      let length = SegmentLayout.indexLength(hooks: graph.steps.count, prompts: listed.prompts),
      let padded = Alignment.rounded(length), padded <= end - Record.size
    else { throw .badIndex(file: path, what: "the segment is too short for it") }
    let offset = end - padded
    guard trailer.fileSize == UInt64(source.count), trailer.indexLength == UInt64(length),
      trailer.indexOffset == UInt64(offset)
    else { throw .badTrailer(file: path, what: "its lengths are not those of the segment") }
    let index = try bytes(of: source, at: offset, count: padded, room: room)
    let checksum = checksum(.init(rebasing: index[..<length]))
    guard checksum == trailer.indexChecksum, hexadecimal(checksum) == listed.index else {
      throw .badIndex(file: path, what: "its checksum fails")
    }
    guard index[length...].allSatisfy({ $0 == 0 }) else {
      throw .badIndex(file: path, what: "the bytes after it are not zero")
    }
    do throws(SegmentIndexProblem) {
      return try SegmentIndex(
        Array(UnsafeRawBufferPointer(rebasing: index[..<length])), offset: offset,
        prompts: listed.prompts, tokens: listed.tokens,
        steps: graph.steps)
    } catch {
      throw .badIndex(file: path, what: error.what)
    }
  }

  /// The number of tokens of a prompt of this segment.
  func positions(prompt: Int) -> Int { index.positions(prompt: prompt - prompts.lowerBound) }

  /// Where the array of one hook and prompt of this segment is.
  func place(hook: Int, prompt: Int) -> SegmentIndex.Place {
    index.place(hook: hook, prompt: prompt - prompts.lowerBound)
  }

  /// A stored array, its header checked, its bytes not.
  ///
  /// - Parameters:
  ///   - entry: its place, from `place(hook:prompt:)`.
  ///   - room: memory for it where the segment is not mapped.
  func block(hook: Int, prompt: Int, at entry: IndexEntry, room: ByteBuffer) throws(CacheError)
    -> Block
  {
    // In range: the index was found to describe blocks one after the other up to itself.
    let offset = Int(entry.offset)
    let length = Int(entry.storedLength)
    let bytes = try Segment.bytes(
      of: source, at: offset, count: Record.size + (Alignment.rounded(length) ?? length), room: room
    )
    do throws(BlockProblem) {
      return try checkedBlock(bytes, hook: hook, prompt: prompt, entry: entry)
    } catch {
      throw badBlock(hook: hook, prompt: prompt, error)
    }
  }

  /// The same for some rows of it: only the chunks that hold them are read, if that can be.
  ///
  /// - Parameter rows: of the array's positions, not empty.
  func block(
    hook: Int, prompt: Int, at entry: IndexEntry, rows: Range<Int>, room: ByteBuffer
  ) throws(CacheError) -> Block {
    guard let file = source.parts else {
      var block = try block(hook: hook, prompt: prompt, at: entry, room: room)
      if let part = block.part(rows), block.chunks(holding: part) != nil {
        block.padding = .init(start: nil, count: 0)
      }
      return block
    }
    let count = Record.size + (Alignment.rounded(Int(entry.storedLength)) ?? 0)
    let T = positions(prompt: prompt)
    let table = chunking(hook: hook, positions: T).tableBytes(
      of: sizes[hook].byteCount(positions: T, of: plan.elementType) ?? 0)
    let head = min(count, Record.size + table)
    room.reserve(count)
    func read(_ range: Range<Int>) throws(CacheError) {
      do throws(FileError) {
        try file.read(
          at: Int(entry.offset) + range.lowerBound,
          into: .init(start: room.base + range.lowerBound, count: range.count))
      } catch {
        throw .unreadable(error)
      }
    }
    try read(0..<head)
    var block: Block
    do throws(BlockProblem) {
      block = try checkedBlock(
        .init(start: room.base, count: count), hook: hook, prompt: prompt, entry: entry)
    } catch {
      throw badBlock(hook: hook, prompt: prompt, error)
    }
    // The table is that of the packed bytes, of which there are not more than in all.
    if let part = block.part(rows), let chunks = block.chunks(holding: part) {
      block.padding = .init(start: nil, count: 0)
      try read(Record.size + chunks.lowerBound..<Record.size + chunks.upperBound)
    } else {
      try read(head..<count)
    }
    return block
  }

  func badBlock(hook: Int, prompt: Int, _ problem: BlockProblem) -> CacheError {
    .badBlock(file: path, prompt: prompt, hook: plan.hooks[hook].name, problem: problem)
  }

  private func checkedBlock(
    _ bytes: UnsafeRawBufferPointer, hook: Int, prompt: Int, entry: IndexEntry
  ) throws(BlockProblem) -> Block {
    guard let base = bytes.baseAddress else { throw .header }
    let header = try BlockHeader.decode(base, format: plan.formatVersion)
    try checkIdentity(header, hook: hook, prompt: prompt)
    guard Record.word(base, Record.checkedBytes) == entry.checksum else {
      throw .identity("the same array of another capture")
    }
    guard header.storedLength == entry.storedLength else {
      throw .impossible("\(header.storedLength) stored bytes, the index \(entry.storedLength)")
    }
    let packedLength = try checkLengths(header, hook: hook, prompt: prompt)
    let end = Record.size + Int(header.storedLength)
    return Block(
      header: header, packedLength: packedLength,
      stored: .init(rebasing: bytes[Record.size..<end]),
      chunking: chunking(hook: hook, positions: Int(header.positions)),
      padding: .init(rebasing: bytes[end...]))
  }

  private func chunking(hook: Int, positions T: Int) -> Chunking {
    sizes[hook].chunking(positions: T, of: plan.elementType, format: plan.formatVersion)
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

  /// Answers the length after packing.
  private func checkLengths(_ header: BlockHeader, hook: Int, prompt: Int) throws(BlockProblem)
    -> Int
  {
    let T = positions(prompt: prompt)
    guard header.positions == UInt32(T) else {
      throw .impossible("\(header.positions) positions, the index \(T)")
    }
    guard header.elementType == plan.elementType else {
      throw .impossible("\(header.elementType) elements, the plan \(plan.elementType)")
    }
    let raw = sizes[hook].byteCount(positions: T, of: plan.elementType)
    guard let raw, header.rawLength == UInt32(exactly: raw) else {
      throw .impossible("\(header.rawLength) bytes where the shape has \(raw ?? -1)")
    }
    try checkPacking(header, hook: hook, prompt: prompt)
    let packed = header.encoding.packedLength(of: raw, positions: T, size: plan.elementType.size)
    let stored = Int(header.storedLength)
    switch header.encoding.codec {
    case .none:
      guard stored == packed else {
        throw .impossible("\(stored) bytes stored of \(packed) raw ones")
      }
    case .lz4:
      // LZ4 expands at most 255 times; nothing longer than its source is stored compressed.
      guard stored < packed, packed / 255 <= stored else {
        throw .impossible("\(packed) bytes from \(stored) stored ones")
      }
    }
    return packed
  }

  private func checkPacking(_ header: BlockHeader, hook: Int, prompt: Int) throws(BlockProblem) {
    let T = positions(prompt: prompt)
    switch header.encoding.packing {
    case .none: return
    case .triangle:
      guard sizes[hook].isSquare, T >= 2 else {
        throw .impossible("a triangle where the shape has none")
      }
    case .sharedRows(let base, let count):
      guard sizes[hook].isRows, header.rawLength > 0 else {
        throw .impossible("shared rows where the shape has none")
      }
      guard (prompts.lowerBound..<prompt).contains(Int(base)) else {
        throw .impossible("rows of prompt \(base), which is no earlier one of the segment")
      }
      guard count >= 1, Int(count) <= min(T, positions(prompt: Int(base))) else {
        throw .impossible("\(count) shared rows, which the two prompts do not have")
      }
    }
  }
}
