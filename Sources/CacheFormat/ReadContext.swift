/// What one thread needs while it reads arrays: memory that is used over and over.
///
/// Unchecked, because one thread at a time uses it: the reader hands it out and takes it back.
final class ReadContext: @unchecked Sendable {
  let decoder = BlockDecoder()
  let scratch = ScratchPool()
  /// Blocks of segments that are not mapped.
  let block = ByteBuffer(capacity: 0)

  /// The last array whose elements were kept for those that share rows with it, and the block it was
  /// in where segments are not mapped.
  private let base = ByteBuffer(capacity: 0)
  private let baseBlock = ByteBuffer(capacity: 0)
  private var basePlace: (hook: Int, prompt: Int)?
  /// The last array that was stored whole.
  private var lastWhole: (hook: Int, prompt: Int)?
  /// Whether arrays were read right before others that share rows with them, as when one hook is
  /// read prompt after prompt: then their elements are kept, and need not be decoded again.
  private var keepsElements = false

  /// What of which array a sum is.
  struct SumPlace: Equatable {
    let hook: Int
    let prompt: Int
    /// nil for all rows.
    let rows: Range<Int>?
  }

  /// The last sum that was derived. Reading the residual stream of one layer after the other then
  /// adds one term at a time, instead of beginning with the embedding again.
  private let sum = ByteBuffer(capacity: 0)
  private var kept: (place: SumPlace, count: Int)?

  /// The prompt of the kept sum.
  var keptPrompt: Int? { kept?.place.prompt }

  /// The first elements of a block's array, where they are had without it: the rows that it leaves
  /// out, or all that were just decoded to be kept. None for most. Valid until the next call.
  ///
  /// - Throws: `CacheError.badBlock` of the block's array.
  func knownElements(of block: Block, in segment: Segment, checksums: Bool) throws(CacheError)
    -> UnsafeRawBufferPointer
  {
    let (hook, prompt) = (Int(block.header.hook), Int(block.header.prompt))
    switch block.header.encoding.packing {
    case .sharedRows(let number, _):
      try findBase(hook: hook, prompt: Int(number), of: prompt, in: segment, checksums: checksums)
      return UnsafeRawBufferPointer(
        start: base.base, count: Int(block.header.rawLength) - block.packedLength)
    case .none where keepsElements:
      do throws(BlockProblem) {
        try keepElements(of: block)
      } catch {
        throw segment.badBlock(hook: hook, prompt: prompt, error)
      }
      lastWhole = (hook, prompt)
      return UnsafeRawBufferPointer(start: base.base, count: Int(block.header.rawLength))
    default:
      lastWhole = (hook, prompt)
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }

  private func findBase(
    hook: Int, prompt: Int, of other: Int, in segment: Segment, checksums: Bool
  ) throws(CacheError) {
    if let basePlace, basePlace == (hook, prompt) { return }
    keepsElements = lastWhole.map { $0 == (hook, prompt) } ?? false
    do throws(CacheError) {
      try decodeBase(hook: hook, prompt: prompt, in: segment, checksums: checksums)
    } catch {
      guard case .badBlock(_, _, _, let problem) = error else { throw error }
      throw segment.badBlock(hook: hook, prompt: other, .base(prompt: prompt, problem: problem))
    }
  }

  private func keepElements(of block: Block) throws(BlockProblem) {
    basePlace = nil
    base.reserve(Int(block.header.rawLength))
    try decoder.decodeElements(block, into: base.base)
    basePlace = (Int(block.header.hook), Int(block.header.prompt))
  }

  private func decodeBase(hook: Int, prompt: Int, in segment: Segment, checksums: Bool)
    throws(CacheError)
  {
    guard case .stored(let entry) = segment.place(hook: hook, prompt: prompt) else {
      throw segment.badBlock(hook: hook, prompt: prompt, .impossible("nothing"))
    }
    var block = try segment.block(hook: hook, prompt: prompt, at: entry, room: baseBlock)
    do throws(BlockProblem) {
      guard block.header.encoding.packing == .none else {
        throw .impossible("shared rows, so that it cannot be a base")
      }
      if checksums { try block.checkStored() }
      try keepElements(of: block)
    } catch {
      throw segment.badBlock(hook: hook, prompt: prompt, error)
    }
  }

  /// The kept sum, if it is that of a place.
  func keptSum(_ place: SumPlace) -> UnsafeMutableBufferPointer<Float>? {
    guard let kept, kept.place == place else { return nil }
    return sum.values(kept.count)
  }

  /// Memory for a sum: the kept one is forgotten, but its values stay there if they are as many.
  func beginSum(count: Int) -> UnsafeMutableBufferPointer<Float> {
    kept = nil
    sum.reserve(4 * count)
    return sum.values(count)
  }

  /// Says what the memory of the sum now holds.
  func keepSum(_ place: SumPlace, count: Int) { kept = (place, count) }
}
