import FileIO

/// What a cache is and holds, from its manifest and plan alone. Encodes as what
/// `cachedump --json` prints.
public struct CacheSummary: Codable, Sendable {
  public var directory: String
  public var formatVersion: Int
  public var tool: String
  public var model: ModelIdentity
  public var weights: String
  public var prependBOS: Bool
  public var kernel: String
  public var planDigest: String
  public var promptFileName: String
  public var promptFileDigest: String
  /// What was done to the runs, in words; nil where nothing was.
  public var patched: String?
  public var store: String
  public var elementType: ElementType
  public var prompts: Int
  public var plannedPrompts: Int
  public var pairs: Int
  public var tokens: Int
  public var isComplete: Bool
  public var segments: Int
  /// Bytes of all arrays before encoding and as stored, and of all segment files.
  public var rawBytes: Int
  public var storedBytes: Int
  public var segmentFileBytes: Int
  /// What is wrong with the files at a glance, without reading the arrays; empty when nothing is.
  public var problems: [String]
  public var hooks: [HookSummary]
}

/// What a cache holds of one hook.
public struct HookSummary: Codable, Sendable {
  public var name: String
  public var shape: [Dimension]
  public var rawBytes: Int
  public var storedBytes: Int
  /// How many arrays there are by encoding, such as "raw", "lz4+bitshuffle",
  /// "triangle+lz4+bitshuffle", "shared+lz4+bitshuffle", or "derived".
  public var encodings: [String: Int]
  /// The largest and the root mean square difference of what is read from what was captured, over
  /// all values; nil where nothing is rounded.
  public var worstError: Float?
  public var rmsError: Double?
}

/// Hooks of one kind and shape, over the layers.
public struct HookGroup: Codable, Sendable {
  /// The hooks' name with `*` for the layer.
  public var name: String
  public var count: Int
  public var shape: [Dimension]
  public var rawBytes: Int
  public var storedBytes: Int
  public var encodings: [String: Int]
}

extension CacheReader {
  /// Sums up the cache. Looks at the size of each segment file and opens none.
  public func summary() -> CacheSummary {
    let hooks = zip(plan.hooks, manifest.hooks).map { spec, totals in
      HookSummary(
        name: spec.name, shape: spec.shape, rawBytes: totals.raw, storedBytes: totals.stored,
        encodings: totals.blocks, worstError: totals.worst,
        rmsError: totals.squares.map {
          ($0 / Double(max(1, totals.raw / plan.elementType.size))).squareRoot()
        })
    }
    return CacheSummary(
      directory: directory, formatVersion: plan.formatVersion, tool: plan.tool, model: plan.model,
      weights: plan.weights, prependBOS: plan.prependBOS, kernel: plan.kernel,
      planDigest: planDigest, promptFileName: plan.promptFileName,
      promptFileDigest: plan.promptFileDigest, patched: plan.patched?.what, store: plan.store,
      elementType: plan.elementType,
      prompts: committedPrompts, plannedPrompts: plan.promptCount, pairs: plan.pairCount,
      tokens: committedTokens, isComplete: isComplete, segments: manifest.segments.count,
      rawBytes: saturatingSum(hooks.map(\.rawBytes)),
      storedBytes: saturatingSum(hooks.map(\.storedBytes)),
      segmentFileBytes: saturatingSum(manifest.segments.map(\.size)), problems: problemsAtAGlance(),
      hooks: hooks)
  }

  private func problemsAtAGlance() -> [String] {
    manifest.segments.compactMap { listed in
      let path = directory + "/" + listed.name
      do throws(FileError) {
        let size = try plainFileSize(path)
        return size == listed.size
          ? nil : "\(CacheError.wrongSize(file: path, expected: listed.size, found: size))"
      } catch {
        return error.operation == .stat
          ? "\(CacheError.missingSegment(file: path))" : "\(error)"
      }
    }
  }
}

extension CacheSummary {
  /// The hooks grouped by kind, in order of first appearance.
  public var groups: [HookGroup] {
    addedUpByKind(
      hooks.map {
        HookGroup(
          name: $0.name, count: 1, shape: $0.shape, rawBytes: $0.rawBytes,
          storedBytes: $0.storedBytes, encodings: $0.encodings)
      })
  }
}

extension HookGroup: HookReport {
  mutating func add(_ other: HookGroup) {
    count += other.count
    rawBytes = saturatingSum([rawBytes, other.rawBytes])
    storedBytes = saturatingSum([storedBytes, other.storedBytes])
    encodings.merge(other.encodings, uniquingKeysWith: { saturatingSum([$0, $1]) })
  }
}
