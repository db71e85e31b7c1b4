import FileIO
import Synchronization

/// Reads a cache: any array of any prompt that is in it. Thread-safe.
///
/// Opening reads the manifest and the plan; a segment is mapped and checked when the first array of
/// it is asked for. A cache whose capture was interrupted opens too: `committedPrompts` says how
/// far it got, and asking for more is an error.
public final class CacheReader: Sendable {
  /// Bytes of segments that stay mapped, about, where nothing else is asked for.
  public static let mostMapped = 512 << 20

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
  let graph: HookGraph
  let checksums: Bool
  private let files: SegmentFiles
  private let key: PlanKey
  private let hookIndices: [String: Int]
  /// The first prompt of each segment.
  private let firstPrompts: [Int]
  private let segments: [LazySegment]
  private let contexts = Mutex<[ReadContext]>([])

  /// - Parameters:
  ///   - checksums: whether every array is checked each time it is read: the stored bytes of stored
  ///     ones, the values of derived ones.
  ///   - access: how segments are read; by default they are mapped where that is wise.
  ///   - mappedBytes: how much of the segments stays mapped, about. Pages that are mapped again and again
  ///     cost a scan a third of its speed, and those that stay count to the memory of the process.
  public convenience init(
    directory: String, checksums: Bool = true, access: FileAccess = .automatic,
    mappedBytes: Int = CacheReader.mostMapped
  ) throws(CacheError) {
    let directory = withoutTrailingSlash(directory)
    let manifest = try Manifest.read(directory: directory)
    let (plan, graph) = try CachePlan.read(
      directory: directory, digest: manifest.plan, format: manifest.format)
    guard manifest.hooks.count == plan.hooks.count, manifest.prompts <= plan.promptCount,
      !manifest.complete || manifest.prompts == plan.promptCount
    else {
      throw .badManifest(
        file: directory + "/" + Manifest.fileName, what: "it does not fit the plan")
    }
    try self.init(
      directory: directory, manifest: manifest, plan: plan, graph: graph, checksums: checksums,
      access: access, mappedBytes: mappedBytes)
  }

  /// - Parameter manifest: one that fits the plan, whether it is on disk or not.
  init(
    directory: String, manifest: Manifest, plan: CachePlan, graph: HookGraph, checksums: Bool,
    access: FileAccess, mappedBytes: Int = CacheReader.mostMapped
  ) throws(CacheError) {
    guard let key = PlanKey(manifest.plan) else {
      throw .badManifest(
        file: directory + "/" + Manifest.fileName, what: "its plan digest is not a SHA-256")
    }
    self.directory = directory
    self.manifest = manifest
    self.plan = plan
    self.graph = graph
    self.key = key
    self.checksums = checksums
    files = SegmentFiles(directory: directory, access: access, mappedBytes: mappedBytes)
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

  /// Calls `body` with the arrays of a prompt.
  ///
  /// - Throws: `CacheError` of the prompt or its segment, and what `body` throws.
  public func withPrompt<Result>(
    _ prompt: Int, _ body: (PromptArrays) throws(CacheError) -> Result
  ) throws(CacheError) -> Result {
    let segment = try segment(holding: prompt)
    // The one that last added up a stream of this prompt, if there is one: it can go on from there.
    let context =
      contexts.withLock { free in
        let place = free.lastIndex { $0.keptPrompt == prompt } ?? free.indices.last
        return place.map { free.remove(at: $0) }
      } ?? ReadContext()
    defer { contexts.withLock { $0.append(context) } }
    return try body(PromptArrays(prompt, of: self, in: segment, context))
  }

  // One array of a prompt.

  /// As `PromptArrays.read(hook:into:)`.
  public func read(hook: Int, prompt: Int, into values: UnsafeMutableBufferPointer<Float>)
    throws(CacheError)
  {
    try withPrompt(prompt) { (arrays) throws(CacheError) in
      try arrays.read(hook: hook, into: values)
    }
  }

  /// As `PromptArrays.read(hook:)`.
  public func read(hook: Int, prompt: Int) throws(CacheError) -> [Float] {
    try withPrompt(prompt) { (arrays) throws(CacheError) in try arrays.read(hook: hook) }
  }

  /// As `PromptArrays.withValues`.
  public func withValues<Result>(
    hook: Int, prompt: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    try withPrompt(prompt) { (arrays) throws(CacheError) in
      try arrays.withValues(hook: hook, body)
    }
  }

  /// As `PromptArrays.withRows`.
  public func withRows<Result>(
    _ rows: Range<Int>, hook: Int, prompt: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    try withPrompt(prompt) { (arrays) throws(CacheError) in
      try arrays.withRows(rows, hook: hook, body)
    }
  }

  /// How an array is stored, nil if it is derived.
  func encoding(hook: Int, prompt: Int) throws(CacheError) -> Encoding? {
    try withPrompt(prompt) { (arrays) throws(CacheError) in try arrays.encoding(hook: hook) }
  }

  /// Whether hooks are derived rather than stored, as the plan has it.
  public func isDerived(hook: Int) -> Bool { graph.steps[hook] != nil }

  /// The number of values of an array of T positions.
  func count(hook: Int, positions T: Int) throws(CacheError) -> Int {
    guard plan.hooks.indices.contains(hook) else {
      throw .noSuchHook(directory: directory, hook: "number \(hook)")
    }
    guard let count = graph.sizes[hook].count(positions: T), count <= Limits.arrayBytes / 4 else {
      throw .arrayTooLarge(hook: plan.hooks[hook].name, positions: T)
    }
    return count
  }

  func segment(holding prompt: Int) throws(CacheError) -> Segment {
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
        listed: manifest.segments[number], plan: plan, graph: graph, key: key, files: files)
    }
  }
}

/// `path` as it is, but for slashes at its end.
package func withoutTrailingSlash(_ path: String) -> String {
  var path = path
  while path.count > 1, path.hasSuffix("/") { path.removeLast() }
  return path
}

extension CacheReader {
  /// Sees that a directory that is to be written into, if it is there, is no cache.
  ///
  /// - Throws: `CacheError.cacheAsOutput`.
  public static func requireNoCache(in directory: String) throws(CacheError) {
    let names = (try? SystemCalls().list(directory)) ?? []
    if names.contains(Manifest.fileName) { throw .cacheAsOutput(directory: directory) }
  }
}
