import FileIO
import FoundationEssentials
import Glibc

/// The one file of a cache that changes: which segments are in it. Swapped whole at each commit.
struct Manifest: Equatable, Sendable {
  static let fileName = "manifest"

  struct Segment: Equatable, Sendable, Codable {
    var name: String
    var size: Int
    var prompts: Int
    var tokens: Int
    /// The checksum of the segment's index, eight hexadecimal digits.
    var index: String
  }

  /// Of one hook, over all segments.
  struct HookTotals: Equatable, Sendable, Codable {
    /// The name of derived arrays among the encodings.
    static let derived = "derived"

    /// Bytes of all arrays in the element type, and bytes stored, headers and padding left out.
    var raw = 0
    var stored = 0
    /// How many arrays there are by encoding; derived ones have none.
    var blocks: [String: Int] = [:]
    /// The largest difference of what is read from what was captured, and the sum of the squares of
    /// the finite ones; nil where nothing is rounded.
    var worst: Float?
    var squares: Double?

    mutating func add(_ other: HookTotals) {
      // Where it is not known of these arrays, after a repair, it cannot be known of all.
      let isKnown = blocks.isEmpty || other.blocks.isEmpty || worst != nil
      raw += other.raw
      stored += other.stored
      blocks.merge(other.blocks, uniquingKeysWith: +)
      guard isKnown else { return }
      if let more = other.worst { worst = max(worst ?? 0, more) }
      if let more = other.squares { squares = (squares ?? 0) + more }
    }
  }

  var format = CachePlan.currentFormat
  /// SHA-256 of `plan.json`.
  var plan: String
  /// Grows by one at each change.
  var generation = 0
  /// Whether every prompt of the plan is there.
  var complete = false
  var prompts = 0
  var tokens = 0
  var hooks: [HookTotals]
  var segments: [Segment] = []

  /// Whether it lists the segments that the plan and the prompts' lengths give.
  func fits(_ plan: CachePlan, tokenCounts: [Int]) -> Bool {
    let ranges = plan.segmentRanges(tokenCounts: tokenCounts)
    return hooks.count == plan.hooks.count && segments.count <= ranges.count
      && zip(segments, ranges).allSatisfy { segment, range in
        segment.prompts == range.count && segment.tokens == tokenCounts[range].reduce(0, +)
      } && prompts == segments.reduce(0) { $0 + $1.prompts }
      && (!complete || prompts == plan.promptCount)
  }

  /// The manifest with one more segment at its end.
  func adding(_ segment: SealedSegment) -> Manifest {
    var next = self
    next.generation += 1
    next.prompts += segment.prompts.count
    next.tokens += segment.tokens
    for (hook, totals) in segment.hooks.enumerated() { next.hooks[hook].add(totals) }
    next.segments.append(
      Segment(
        name: SegmentLayout.fileName(segment.number), size: segment.size,
        prompts: segment.prompts.count, tokens: segment.tokens,
        index: hexadecimal(segment.indexChecksum)))
    return next
  }

  /// JSON, a line for each hook and segment, then a line with the checksum of what stands before.
  func encoded() -> [UInt8] {
    let hookLines = hooks.map { hook in
      let blocks = hook.blocks.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }
      return "{\"raw\":\(hook.raw),\"stored\":\(hook.stored),"
        + "\"blocks\":{\(blocks.joined(separator: ","))}"
        + (hook.worst.map { ",\"worst\":\($0)" } ?? "")
        + (hook.squares.map { ",\"squares\":\($0)" } ?? "") + "}"
    }
    let segmentLines = segments.map {
      "{\"name\":\"\($0.name)\",\"size\":\($0.size),\"prompts\":\($0.prompts),"
        + "\"tokens\":\($0.tokens),\"index\":\"\($0.index)\"}"
    }
    let text = """
      {"format":\(format),"plan":"\(plan)","generation":\(generation),"complete":\(complete),\
      "prompts":\(prompts),"tokens":\(tokens),
      "hooks":[
      \(hookLines.joined(separator: ",\n"))],
      "segments":[
      \(segmentLines.joined(separator: ",\n"))]}

      """
    return Manifest.signed(Array(text.utf8))
  }

  /// `body` and the line that checks it.
  static func signed(_ body: [UInt8]) -> [UInt8] {
    body + Array("crc32c \(hexadecimal(body.withUnsafeBytes { checksum($0) }))\n".utf8)
  }

  private static let signatureLength = 16

  /// Reads the manifest of `directory` and checks all that can be known without the plan.
  static func read(directory: String) throws(CacheError) -> Manifest {
    let path = directory + "/" + fileName
    let bytes: [UInt8]
    do throws(FileError) {
      bytes = try readFile(path, limit: Limits.manifestBytes, followLinks: false)
    } catch {
      guard error.operation == .open, error.errno == ENOENT || error.errno == ENOTDIR else {
        throw .unreadable(error)
      }
      throw .notACache(directory: directory)
    }
    return try decode(bytes, path: path)
  }

  static func decode(_ bytes: [UInt8], path: String) throws(CacheError) -> Manifest {
    let body = Array(bytes.dropLast(signatureLength))
    guard signed(body) == bytes else {
      throw .badManifest(file: path, what: "its checksum fails")
    }
    let decoder = JSONDecoder()
    let data = Data(body)
    guard let version = try? decoder.decode(Version.self, from: data) else {
      throw .badManifest(file: path, what: "it does not say which format it has")
    }
    guard version.format <= CachePlan.currentFormat else {
      throw .newerFormat(file: path, found: version.format)
    }
    guard version.format >= 1, let manifest = try? decoder.decode(Manifest.self, from: data) else {
      throw .badManifest(file: path, what: "it is not a manifest of format \(version.format)")
    }
    try manifest.validate(path: path)
    return manifest
  }

  private struct Version: Decodable {
    var format: Int
  }

  private func validate(path: String) throws(CacheError) {
    func require(_ condition: Bool, _ what: String) throws(CacheError) {
      guard condition else { throw .badManifest(file: path, what: what) }
    }
    try require(PlanKey(plan) != nil, "its plan digest is not a SHA-256")
    // So far below Int.max that those of further segments can be added.
    let totals = 0...(Int.max >> 2)
    try require(
      totals.contains(generation)
        && hooks.allSatisfy {
          totals.contains($0.raw) && totals.contains($0.stored)
            && $0.blocks.values.allSatisfy(totals.contains)
        }, "a total is impossible")
    var promptSum = 0
    var tokenSum = 0
    var sizeSum = 0
    for (number, segment) in segments.enumerated() {
      let name = SegmentLayout.fileName(number)
      try require(segment.name == name, "segment \(number) is not named \(name)")
      try require(
        segment.size >= 2 * Record.size && segment.size % Alignment.bytes == 0
          && segment.size <= totals.upperBound - sizeSum,
        "the size of \(name) is impossible")
      try require(
        segment.prompts > 0 && segment.prompts <= Limits.prompts - promptSum,
        "the number of prompts of \(name) is impossible")
      try require(
        segment.tokens >= 0 && segment.tokens <= totals.upperBound - tokenSum,
        "the number of tokens of \(name) is impossible")
      try require(
        bytes(hexadecimal: segment.index)?.count == 4, "the index checksum of \(name) is not one")
      promptSum += segment.prompts
      tokenSum += segment.tokens
      sizeSum += segment.size
    }
    try require(
      promptSum == prompts && tokenSum == tokens, "its segments do not add up to its prompts")
  }
}

extension Manifest: Decodable {}
