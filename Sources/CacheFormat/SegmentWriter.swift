import FileIO
import Glibc

/// A segment that is on disk under its final name but not yet in the manifest.
public struct SealedSegment: Sendable {
  public let number: Int
  public let prompts: Range<Int>
  public let tokens: Int
  /// Bytes of the file.
  public let size: Int
  let indexChecksum: UInt32
  let hooks: [Manifest.HookTotals]
}

/// Writes one segment. Used by one thread.
///
/// Arrays come hook after hook, within a hook prompt after prompt, derived hooks too: of those only
/// the checksum is kept, and some are compared with what their recipe gives. The others are encoded
/// as they come, by the calling thread, and written a megabyte at a time, while the core's cache
/// still has it; besides that buffer, what the proofs need and the rows that later prompts may share
/// only the index is in memory. After an error the segment is lost; what it had written is removed.
public final class SegmentWriter {
  private static let bufferBytes = 1 << 20

  public let number: Int
  public let prompts: Range<Int>

  private let context: WriteContext
  private let file: DurableFile
  private let path: String
  private let positions: [Int]
  private let shared: SharedRows
  private let encoder: BlockEncoder
  private let prover: RecipeProver
  private let buffer = ByteBuffer(capacity: SegmentWriter.bufferBytes)
  private var index: [UInt8] = []
  private var hooks: [Manifest.HookTotals]
  /// The encoding of the hook that is being written, once its first stored array has been seen.
  private var encoding: EncodingChoice?
  /// Whether the recipe of the hook that is being written has failed.
  private var recipeFailed = false
  private let rounded = ByteBuffer(capacity: 0)
  private let joined = ByteBuffer(capacity: 0)
  private var nextHook = 0
  private var nextPrompt: Int
  private var isSealed = false

  /// - Parameter tokens: those of each prompt of `prompts`.
  init(number: Int, prompts: Range<Int>, tokens: [[Int32]], context: WriteContext)
    throws(CacheError)
  {
    self.number = number
    self.prompts = prompts
    positions = tokens.map(\.count)
    shared = SharedRows(firstPrompt: prompts.lowerBound, tokens: tokens)
    self.context = context
    path = context.path(SegmentLayout.fileName(number))
    encoder = BlockEncoder(elementType: context.plan.elementType)
    prover = RecipeProver(
      plan: context.plan, graph: context.graph, segment: number, prompts: prompts)
    hooks = Array(repeating: .init(), count: context.plan.hooks.count)
    nextPrompt = prompts.lowerBound
    do throws(FileError) {
      file = try DurableFile(creating: path + ".open", in: context.fileSystem)
    } catch {
      throw context.failure(error)
    }
    let header = SegmentHeader(
      format: UInt32(context.plan.formatVersion), segment: UInt32(number),
      firstPrompt: UInt32(prompts.lowerBound), promptCount: UInt32(prompts.count),
      hookCount: UInt32(context.plan.hooks.count), plan: context.key.bytes)
    buffer.append(header.encoded())
  }

  deinit {
    if !isSealed { file.discard() }
  }

  /// Adds the array of one hook and prompt.
  ///
  /// - Parameters:
  ///   - hook: its place in the plan's hook table.
  ///   - prompt: its number in the cache.
  ///   - values: in row-major order, piece after piece, in all as many as the hook's shape has for
  ///     the prompt's tokens.
  public func append(hook: Int, prompt: Int, values: [UnsafeBufferPointer<Float>])
    throws(CacheError)
  {
    guard hook == nextHook, prompt == nextPrompt, hook < context.plan.hooks.count else {
      throw .outOfOrder(
        what: "prompt \(prompt) of hook \(hook) came to segment \(number) where prompt "
          + "\(nextPrompt) of hook \(nextHook) was due")
    }
    let spec = context.plan.hooks[hook]
    let T = positions[prompt - prompts.lowerBound]
    guard let rawLength = context.plan.byteCount(hook: hook, positions: T) else {
      throw .arrayTooLarge(hook: spec.name, positions: T)
    }
    let count = values.reduce(0) { $0 + $1.count }
    guard count * context.plan.elementType.size == rawLength else {
      throw .wrongCount(
        hook: spec.name, prompt: prompt,
        expected: rawLength / context.plan.elementType.size, given: count)
    }
    hooks[hook].raw += rawLength
    let whole = prover.covers(prompt: prompt) ? inOnePiece(values) : nil
    if let step = context.graph.steps[hook], isDerived(step, prompt, T, values, whole) {
      hooks[hook].blocks[Manifest.HookTotals.derived, default: 0] += 1
    } else {
      let chunking = context.graph.sizes[hook].chunking(
        positions: T, of: context.plan.elementType, format: context.plan.formatVersion)
      try makeRoom(
        2 * Record.size + BlockEncoder.bound(rawLength: rawLength, chunking: chunking))
      appendBlock(hook: hook, prompt: prompt, positions: T, chunking: chunking, values: values)
      if let whole {
        let read = asRead(whole)
        note(read, instead: whole)
        prover.keep(read, hook: hook, prompt: prompt)
      }
    }
    nextPrompt += 1
    if nextPrompt == prompts.upperBound {
      prover.finish(hook: hook)
      shared.removeAll()
      nextHook += 1
      nextPrompt = prompts.lowerBound
      encoding = nil
      recipeFailed = false
    }
  }

  /// Puts a derived array into the index, unless its recipe is found to fail.
  ///
  /// - Parameter whole: the values in one piece where the recipe is to be proved.
  private func isDerived(
    _ step: HookGraph.Step, _ prompt: Int, _ T: Int, _ values: [UnsafeBufferPointer<Float>],
    _ whole: UnsafeBufferPointer<Float>?
  ) -> Bool {
    if recipeFailed { return false }
    let sum: UInt32
    if let whole {
      let read = prover.derive(step, prompt: prompt, positions: T, count: whole.count)
      recipeFailed = context.plan.elementType == .f32 && !haveEqualBits(read, whole)
      if recipeFailed { return false }
      sum = checksum(UnsafeRawBufferPointer(read))
      note(read, instead: whole)
      prover.keep(read, hook: nextHook, prompt: prompt)
    } else {
      sum = PiecedBytes(values).checksum
    }
    IndexEntry(offset: 0, storedLength: 0, checksum: sum).append(to: &index)
    return true
  }

  private func inOnePiece(_ values: [UnsafeBufferPointer<Float>]) -> UnsafeBufferPointer<Float> {
    PiecedBytes(values).joined(in: joined).assumingMemoryBound(to: Float.self)
  }

  private func haveEqualBits(
    _ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>
  ) -> Bool {
    guard let left = a.baseAddress, let right = b.baseAddress else { return true }
    return memcmp(left, right, 4 * a.count) == 0
  }

  /// A stored array as a reader will have it. Valid until the next call.
  private func asRead(_ values: UnsafeBufferPointer<Float>) -> UnsafeBufferPointer<Float> {
    let type = context.plan.elementType
    guard type != .f32 else { return values }
    let bytes = values.count * 4
    rounded.reserve(2 * bytes)
    let elements = rounded.base + bytes
    type.narrow(values, to: elements)
    let read = rounded.values(values.count)
    if let target = read.baseAddress { type.widen(elements, to: target, count: values.count) }
    return UnsafeBufferPointer(read)
  }

  /// Records how far a cache of rounded values is off.
  private func note(
    _ read: UnsafeBufferPointer<Float>, instead values: UnsafeBufferPointer<Float>
  ) {
    guard context.plan.elementType != .f32 else { return }
    let error = RoundingError(of: read, from: values)
    hooks[nextHook].add(.init(worst: error.worst, squares: error.squares))
  }

  /// Encodes behind the place of the header, then fills in the header.
  private func appendBlock(
    hook: Int, prompt: Int, positions: Int, chunking: Chunking,
    values: [UnsafeBufferPointer<Float>]
  ) {
    let offset = file.count + buffer.count
    let payload = buffer.end + Record.size
    let spec = context.plan.hooks[hook]
    let result = encoder.encode(
      values, side: spec.isSquare ? positions : nil,
      base: spec.isRows ? shared.base(of: prompt) : nil, chunking: chunking, as: &encoding,
      to: payload)
    if spec.isRows { shared.keep(result.raw, of: prompt) }
    let header = BlockHeader(
      plan: context.key.prefix, segment: UInt32(number), hook: UInt32(hook),
      prompt: UInt32(prompt), positions: UInt32(positions), encoding: result.encoding,
      elementType: context.plan.elementType, rawLength: UInt32(result.raw.count),
      storedLength: UInt32(result.storedLength),
      storedChecksum: checksum(.init(start: payload, count: result.checkedLength)),
      rawChecksum: result.rawChecksum)
    let record = header.encoded()
    buffer.append(record)
    buffer.advance(result.storedLength)
    buffer.pad()
    IndexEntry(
      offset: UInt64(offset), storedLength: UInt32(result.storedLength), checksum: record.checksum
    ).append(to: &index)
    hooks[hook].stored += result.storedLength
    hooks[hook].blocks[result.encoding.name, default: 0] += 1
  }

  /// Writes the index and makes the segment durable under its final name.
  public func seal() throws(CacheError) -> SealedSegment {
    guard nextHook == context.plan.hooks.count, !isSealed else {
      throw .outOfOrder(
        what: "segment \(number) was sealed where prompt \(nextPrompt) of hook \(nextHook) was due")
    }
    for T in positions {
      withUnsafeBytes(of: UInt32(T).littleEndian) { index.append(contentsOf: $0) }
    }
    let indexOffset = file.count + buffer.count
    let indexChecksum = index.withUnsafeBytes { checksum($0) }
    try makeRoom(index.count + 2 * Record.size)
    index.withUnsafeBytes { source in
      UnsafeMutableRawBufferPointer(start: buffer.end, count: source.count).copyMemory(from: source)
    }
    buffer.advance(index.count)
    buffer.pad()
    let size = file.count + buffer.count + Record.size
    let trailer = SegmentTrailer(
      indexOffset: UInt64(indexOffset), indexLength: UInt64(index.count), fileSize: UInt64(size),
      plan: context.key.prefix, segment: UInt32(number), indexChecksum: indexChecksum)
    buffer.append(trailer.encoded())
    try flush()
    do throws(FileError) {
      try file.publish(as: path)
    } catch {
      throw context.failure(error)
    }
    isSealed = true
    return SealedSegment(
      number: number, prompts: prompts, tokens: positions.reduce(0, +), size: size,
      indexChecksum: indexChecksum, hooks: hooks)
  }

  private func makeRoom(_ count: Int) throws(CacheError) {
    guard buffer.room < count else { return }
    try flush()
    buffer.reserve(count)
  }

  private func flush() throws(CacheError) {
    do throws(FileError) {
      try file.write(buffer.bytes)
    } catch {
      throw context.failure(error)
    }
    buffer.removeAll()
  }
}
