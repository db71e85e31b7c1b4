import FileIO
import Synchronization

/// Reads a cache: any array of any prompt that is in it. Thread-safe.
///
/// Opening reads the manifest and the plan; a segment is mapped and checked when the first array of
/// it is asked for. A cache whose capture was interrupted opens too: `committedPrompts` says how
/// far it got, and asking for more is an error.
public final class CacheReader: Sendable {
  public let directory: String
  public let plan: CachePlan
  /// SHA-256 of `plan.json`.
  public let planDigest: String
  /// Prompts 0 ..< this are there, each with all its arrays.
  public let committedPrompts: Int
  /// The number of tokens of all prompts that are there.
  public let committedTokens: Int
  public let isComplete: Bool
  let manifest: Manifest
  private let checksums: Bool
  private let key: PlanKey
  private let hookIndices: [String: Int]
  /// The first prompt of each segment.
  private let firstPrompts: [Int]
  private let segments: [LazySegment]
  private let decoders = Mutex<[BlockDecoder]>([])

  /// - Parameter checksums: whether every array's stored bytes are checked each time they are read.
  public init(directory: String, checksums: Bool = true) throws(CacheError) {
    let directory = withoutTrailingSlash(directory)
    let manifest = try Manifest.read(directory: directory)
    let plan = try CachePlan.read(directory: directory, digest: manifest.plan)
    let path = directory + "/" + Manifest.fileName
    guard let key = PlanKey(manifest.plan), manifest.hooks.count == plan.hooks.count,
      manifest.prompts <= plan.promptCount,
      !manifest.complete || manifest.prompts == plan.promptCount
    else { throw .badManifest(file: path, what: "it does not fit the plan") }
    self.directory = directory
    self.manifest = manifest
    self.plan = plan
    self.key = key
    self.checksums = checksums
    planDigest = manifest.plan
    committedPrompts = manifest.prompts
    committedTokens = manifest.tokens
    isComplete = manifest.complete
    hookIndices = Dictionary(
      plan.hooks.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { $1 })
    var first = 0
    firstPrompts = manifest.segments.map { segment in
      defer { first += segment.prompts }
      return first
    }
    segments = manifest.segments.map { _ in LazySegment() }
  }

  public func prompts() throws(CacheError) -> [Prompt] {
    try readLines(
      Prompt.self, path: directory + "/" + PromptFiles.prompts, digest: plan.promptsDigest,
      count: plan.promptCount)
  }

  /// One prompt of the plan, whether its arrays are there or not.
  public func prompt(_ number: Int) throws(CacheError) -> Prompt {
    guard number >= 0, number < plan.promptCount else {
      throw .noSuchPrompt(
        directory: directory, prompt: number, committed: committedPrompts,
        planned: plan.promptCount)
    }
    let found = try readLines(
      Prompt.self, path: directory + "/" + PromptFiles.prompts, digest: plan.promptsDigest,
      count: plan.promptCount, only: number)
    return found[0]
  }

  public func pairs() throws(CacheError) -> [PromptPair] {
    try readLines(
      PromptPair.self, path: directory + "/" + PromptFiles.pairs, digest: plan.pairsDigest,
      count: plan.pairCount)
  }

  /// The place of a hook in the plan's table.
  public func hookIndex(_ name: String) -> Int? { hookIndices[name] }

  /// The number of tokens of a prompt.
  public func positions(prompt: Int) throws(CacheError) -> Int {
    try segment(holding: prompt).positions(prompt: prompt)
  }

  /// Reads the array of one hook and prompt, widened to float32, in row-major order.
  ///
  /// - Parameter values: as many as the hook's shape has for the prompt's tokens.
  public func read(hook: Int, prompt: Int, into values: UnsafeMutableBufferPointer<Float>)
    throws(CacheError)
  {
    let segment = try segment(holding: prompt)
    let block = try block(hook: hook, prompt: prompt, in: segment)
    try decode(block, into: values, hook: hook, prompt: prompt, segment: segment)
  }

  /// The same into an array of its own.
  public func read(hook: Int, prompt: Int) throws(CacheError) -> [Float] {
    let segment = try segment(holding: prompt)
    let block = try block(hook: hook, prompt: prompt, in: segment)
    let count = Int(block.header.rawLength) / plan.elementType.size
    var failure: CacheError?
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(CacheError) {
        try decode(
          block, into: .init(rebasing: buffer[..<count]), hook: hook, prompt: prompt,
          segment: segment)
        initialized = count
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return values
  }

  private func decode(
    _ block: Block, into values: UnsafeMutableBufferPointer<Float>, hook: Int, prompt: Int,
    segment: Segment
  ) throws(CacheError) {
    let count = Int(block.header.rawLength) / plan.elementType.size
    guard values.count == count else {
      throw .wrongCount(
        hook: plan.hooks[hook].name, prompt: prompt, expected: count, given: values.count)
    }
    let decoder = decoders.withLock { $0.popLast() } ?? BlockDecoder()
    defer { decoders.withLock { $0.append(decoder) } }
    do throws(BlockProblem) {
      if checksums { try Segment.checkStored(block) }
      try decoder.decode(block, into: values)
    } catch {
      throw segment.badBlock(hook: hook, prompt: prompt, error)
    }
  }

  private func block(hook: Int, prompt: Int, in segment: Segment) throws(CacheError) -> Block {
    guard plan.hooks.indices.contains(hook) else {
      throw .noSuchHook(directory: directory, hook: "number \(hook)")
    }
    return try segment.block(hook: hook, prompt: prompt)
  }

  private func segment(holding prompt: Int) throws(CacheError) -> Segment {
    guard prompt >= 0, prompt < committedPrompts else {
      throw .noSuchPrompt(
        directory: directory, prompt: prompt, committed: committedPrompts,
        planned: plan.promptCount)
    }
    var low = 0
    var high = firstPrompts.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if firstPrompts[middle] <= prompt { low = middle } else { high = middle }
    }
    return try segment(low)
  }

  /// Maps and checks a segment, once.
  func segment(_ number: Int) throws(CacheError) -> Segment {
    try segments[number].value { () throws(CacheError) in
      try Segment(
        directory: directory, number: number, firstPrompt: firstPrompts[number],
        listed: manifest.segments[number], plan: plan, key: key)
    }
  }
}

/// A segment that is opened when it is first needed.
private final class LazySegment: Sendable {
  private let segment = Mutex<Segment?>(nil)

  func value(_ open: () throws(CacheError) -> Segment) throws(CacheError) -> Segment {
    try segment.withLock { (segment) throws(CacheError) in
      if let segment { return segment }
      let opened = try open()
      segment = opened
      return opened
    }
  }
}

/// `path` as it is, but for slashes at its end.
func withoutTrailingSlash(_ path: String) -> String {
  var path = path
  while path.count > 1, path.hasSuffix("/") { path.removeLast() }
  return path
}
