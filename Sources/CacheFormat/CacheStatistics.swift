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
  /// The largest and the root mean square difference of what is read from what was captured, over
  /// all prompts too; nil where nothing is rounded or where it is not known.
  public var worstError: Float?
  public var rmsError: Double?

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
        encodings: totals[hook].encodings, worstError: totals[hook].worstError,
        rmsError: totals[hook].rmsError)
    }
    var tokens = 0
    var done = 0
    try parallelForEach(prompts.count, threads: threads) { (index) throws(CacheError) in
      try arrays(hooks: hooks, prompt: prompts.lowerBound + index)
    } then: { (read: PromptRead) throws(CacheError) in
      for (place, array) in read.arrays.enumerated() { found[place].addArray(array) }
      tokens += read.positions
      done += 1
      progress(done)
    }
    return CacheStatistics(
      directory: directory, planDigest: planDigest, elementType: plan.elementType,
      firstPrompt: prompts.lowerBound, prompts: prompts.count, tokens: tokens, hooks: found,
      kinds: addedUpByKind(found))
  }

  private func arrays(hooks: [Int], prompt: Int) throws(CacheError) -> PromptRead {
    let T = try positions(prompt: prompt)
    var arrays: [ArrayRead] = []
    for hook in hooks { arrays.append(try array(hook: hook, prompt: prompt, positions: T)) }
    return PromptRead(positions: T, arrays: arrays)
  }

  private func array(hook: Int, prompt: Int, positions T: Int) throws(CacheError) -> ArrayRead {
    let spec = plan.hooks[hook]
    let start = DispatchTime.now().uptimeNanoseconds
    return try withValues(hook: hook, prompt: prompt) { values in
      let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
      var statistics = ValueStatistics()
      statistics.add(
        values, rowLength: spec.rowLength(positions: T),
        causalSide: spec.isAttentionScores ? T : nil)
      return ArrayRead(values: statistics, seconds: seconds)
    }
  }
}

/// The arrays of one prompt, once they were read.
private struct PromptRead: Sendable {
  let positions: Int
  let arrays: [ArrayRead]
}

private struct ArrayRead: Sendable {
  let values: ValueStatistics
  let seconds: Double
}

extension HookSpec {
  /// The number of values that belong to one position, as `HookArray.rowLength`.
  fileprivate func rowLength(positions T: Int) -> Int {
    let first = shape.firstIndex(of: .positions).map { $0 + 1 } ?? 0
    return product(dimensions(positions: T)[first...])
  }

  /// Whether −∞ above the diagonal is by design.
  fileprivate var isAttentionScores: Bool {
    name.hasSuffix("hook_attn_scores") && isSquare
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
    addErrors(of: other)
    rawBytes = saturatingSum([rawBytes, other.rawBytes])
    storedBytes = saturatingSum([storedBytes, other.storedBytes])
    encodings.merge(other.encodings, uniquingKeysWith: { saturatingSum([$0, $1]) })
  }
}

extension HookStatistics {
  /// As bytes are in proportion to values, so are the weights of the two mean squares.
  private mutating func addErrors(of other: HookStatistics) {
    guard let worst = worstError, let otherWorst = other.worstError, let rms = rmsError,
      let otherRMS = other.rmsError
    else {
      worstError = nil
      rmsError = nil
      return
    }
    let (weight, otherWeight) = (Double(rawBytes), Double(other.rawBytes))
    worstError = max(worst, otherWorst)
    rmsError =
      ((rms * rms * weight + otherRMS * otherRMS * otherWeight) / max(1, weight + otherWeight))
      .squareRoot()
  }
}

extension HookStatistics: Encodable {
  private enum Key: String, CodingKey {
    case name, shape, hooks, arrays, readBytes, readSeconds, rawBytes, storedBytes, encodings
    case worstError, rmsError
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
    try container.encodeIfPresent(worstError, forKey: .worstError)
    try container.encodeIfPresent(rmsError, forKey: .rmsError)
  }
}
