import Dispatch
import Parallel

/// What the values of a cache are like, hook by hook. Encodes as what `cachedump stats --json`
/// prints.
public struct CacheStatistics: Encodable, Sendable {
  public var directory: String
  public var planDigest: String
  public var elementType: ElementType
  /// Which prompts were read: the first, and how many.
  public var firstPrompt: Int
  public var prompts: Int
  public var tokens: Int
  public var hooks: [HookStatistics]
  /// The hooks added up by kind.
  public var kinds: [HookStatistics]
  /// Bytes of float32 that were read, and how fast a core did it, in this run.
  public var readBytes: Int { hooks.reduce(0) { $0 + $1.readBytes } }
  public var readSeconds: Double { hooks.reduce(0) { $0 + $1.readSeconds } }
}

/// Statistics of a hook, or of all hooks of a kind.
public struct HookStatistics: Sendable {
  /// The name, with `*` for the layer if it is of several hooks.
  public var name: String
  public var shape: [Dimension]
  /// How many hooks they are of, and how many arrays.
  public var hooks = 1
  public var arrays = 0
  public var values = ValueStatistics()
  /// Bytes of float32 that were read, and the seconds that reading and decoding them took in this
  /// run, added up over its threads.
  public var readBytes = 0
  public var readSeconds = 0.0
  /// Of all prompts of the cache, whichever were read: bytes before encoding and as stored, and the
  /// number of arrays by encoding.
  public var rawBytes: Int
  public var storedBytes: Int
  public var encodings: [String: Int]

  /// Bytes a second of one core.
  public var readRate: Double? { readSeconds > 0 ? Double(readBytes) / readSeconds : nil }
}

extension CacheReader {
  /// Reads arrays and says what their values are like. The statistics, though not the times, are the
  /// same for any number of threads; memory does not grow with the number of prompts.
  ///
  /// - Parameters:
  ///   - hooks: their places in the plan's table.
  ///   - prompts: which to read; all must be there.
  ///   - progress: called with the number of prompts that were gone through.
  public func statistics(
    hooks: [Int], prompts: Range<Int>, threads: Int, progress: (Int) -> Void = { _ in }
  ) throws(CacheError) -> CacheStatistics {
    let totals = summary().hooks
    var found = hooks.map { hook in
      HookStatistics(
        name: plan.hooks[hook].name, shape: plan.hooks[hook].shape,
        rawBytes: totals[hook].rawBytes, storedBytes: totals[hook].storedBytes,
        encodings: totals[hook].encodings)
    }
    var tokens = 0
    var done = 0
    try parallelForEach(prompts.count, threads: threads, with: FloatRoom.init) {
      (index, room) throws(CacheError) in
      let prompt = prompts.lowerBound + index
      let T = try positions(prompt: prompt)
      return (
        T,
        try hooks.map { hook throws(CacheError) in
          try statistics(hook: hook, prompt: prompt, positions: T, room: room)
        }
      )
    } then: { (T, ofPrompt) throws(CacheError) in
      for (place, more) in ofPrompt.enumerated() { found[place].addArray(more) }
      tokens += T
      done += 1
      progress(done)
    }
    return CacheStatistics(
      directory: directory, planDigest: planDigest, elementType: plan.elementType,
      firstPrompt: prompts.lowerBound, prompts: prompts.count, tokens: tokens, hooks: found,
      kinds: addedUpByKind(found))
  }

  private func statistics(hook: Int, prompt: Int, positions T: Int, room: FloatRoom)
    throws(CacheError) -> ArrayRead
  {
    let spec = plan.hooks[hook]
    guard let count = spec.count(positions: T), count <= Limits.arrayBytes / 4 else {
      throw .arrayTooLarge(hook: spec.name, positions: T)
    }
    let values = room.values(count)
    let start = DispatchTime.now().uptimeNanoseconds
    try read(hook: hook, prompt: prompt, into: values)
    let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
    var statistics = ValueStatistics()
    statistics.add(
      UnsafeBufferPointer(values), rowLength: spec.rowLength(positions: T),
      causalSide: spec.isAttentionScores ? T : nil)
    return ArrayRead(values: statistics, seconds: seconds)
  }
}

/// One array, once it was read.
private struct ArrayRead: Sendable {
  let values: ValueStatistics
  let seconds: Double
}

/// Memory for one array, used again for the next. Used by one thread.
final class FloatRoom {
  private let buffer = ByteBuffer(capacity: 0)

  func values(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
    buffer.reserve(4 * count)
    return UnsafeMutableBufferPointer(
      start: buffer.base.assumingMemoryBound(to: Float.self), count: count)
  }
}

extension HookSpec {
  /// The number of values that belong to one position, as `HookArray.rowLength`.
  fileprivate func rowLength(positions T: Int) -> Int {
    let first = shape.firstIndex(of: .positions).map { $0 + 1 } ?? 0
    return dimensions(positions: T)[first...].reduce(1, *)
  }

  /// Whether −∞ above the diagonal is by design.
  fileprivate var isAttentionScores: Bool {
    name.hasSuffix("hook_attn_scores") && shape.count >= 2
      && shape.suffix(2) == [.positions, .positions]
  }
}

extension HookStatistics: HookReport {
  fileprivate mutating func addArray(_ array: ArrayRead) {
    arrays += 1
    values.merge(array.values)
    readBytes += 4 * array.values.count
    readSeconds += array.seconds
  }

  mutating func add(_ other: HookStatistics) {
    hooks += other.hooks
    arrays += other.arrays
    values.merge(other.values)
    readBytes += other.readBytes
    readSeconds += other.readSeconds
    rawBytes = saturatingSum([rawBytes, other.rawBytes])
    storedBytes = saturatingSum([storedBytes, other.storedBytes])
    encodings.merge(other.encodings, uniquingKeysWith: { saturatingSum([$0, $1]) })
  }
}

extension HookStatistics: Encodable {
  private enum Key: String, CodingKey {
    case name, shape, hooks, arrays, readBytes, readSeconds, rawBytes, storedBytes, encodings
  }

  /// The statistics of the values stand beside the other facts.
  public func encode(to encoder: any Encoder) throws {
    try values.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(name, forKey: .name)
    try container.encode(shape, forKey: .shape)
    try container.encode(hooks, forKey: .hooks)
    try container.encode(arrays, forKey: .arrays)
    try container.encode(readBytes, forKey: .readBytes)
    try container.encode(readSeconds, forKey: .readSeconds)
    try container.encode(rawBytes, forKey: .rawBytes)
    try container.encode(storedBytes, forKey: .storedBytes)
    try container.encode(encodings, forKey: .encodings)
  }
}
