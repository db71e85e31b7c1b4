import FileIO
import Glibc
import Synchronization

/// Writes a cache: its frozen files at the start, then segments, each listed in the manifest once
/// it is on disk. Thread-safe.
///
/// At every instant the directory holds a readable cache of the first prompts, all their arrays
/// and nothing else, whatever becomes of the process.
public final class CacheWriter: Sendable {
  public let directory: String
  public let plan: CachePlan
  public let planDigest: String
  /// Which prompts go into which segment.
  public let segmentRanges: [Range<Int>]
  let tokenCounts: [Int]
  private let tokens: [[Int32]]
  let graph: HookGraph
  private let context: WriteContext
  private let manifest: Mutex<Manifest>
  /// Held until the cache is complete or the writer is gone.
  private let lock: Mutex<LockFile?>

  static let lockName = "lock"

  /// What a writer does with a directory that is not empty.
  public enum Start: Sendable {
    /// Refuses it.
    case new
    /// Goes on where an interrupted capture of the same plan stopped, or begins where there is
    /// nothing yet.
    case resume
  }

  /// Starts a cache in `directory`, or goes on with one.
  ///
  /// - Parameters:
  ///   - plan: its format version, counts and digests of prompts and pairs are filled in.
  ///   - breakingLock: whether to take a lock that a process of another host left.
  /// - Throws: `CacheError`; `.otherPlan` if the cache to go on with has another plan.
  public init(
    directory: String, plan: CachePlan, prompts: [Prompt], pairs: [PromptPair],
    start: Start = .new, breakingLock: Bool = false, fileSystem: any FileSystem = SystemCalls()
  ) throws(CacheError) {
    let directory = withoutTrailingSlash(directory)
    let promptLines = try jsonLines(prompts)
    let pairLines = try jsonLines(pairs)
    var plan = plan
    plan.formatVersion = CachePlan.currentFormat
    plan.promptCount = prompts.count
    plan.pairCount = pairs.count
    plan.promptsDigest = sha256(promptLines)
    plan.pairsDigest = sha256(pairLines)
    do throws(PlanProblem) {
      graph = try plan.checked(format: CachePlan.currentFormat)
    } catch {
      throw .unwritablePlan(what: error.what)
    }
    for (number, prompt) in prompts.enumerated() where prompt.tokens.count > Limits.positions {
      throw .unwritablePlan(what: "prompt \(number) has \(prompt.tokens.count) tokens")
    }
    let planBytes = try plan.encoded()
    guard let key = PlanKey(sha256(planBytes)) else {
      throw .unwritablePlan(what: "the plan has no digest")
    }

    self.directory = directory
    self.plan = plan
    planDigest = key.hexadecimal
    tokens = prompts.map(\.tokens)
    tokenCounts = tokens.map(\.count)
    segmentRanges = plan.segmentRanges(tokenCounts: tokenCounts)
    context = WriteContext(
      directory: directory, plan: plan, graph: graph, key: key, fileSystem: fileSystem)
    try context.prepareDirectory()
    lock = Mutex(try CacheWriter.lock(directory, breaking: breakingLock))

    let found = try context.existing(start, tokenCounts: tokenCounts)
    if let found { context.committed.store(found.prompts, ordering: .relaxed) }
    let first =
      found
      ?? Manifest(plan: planDigest, hooks: Array(repeating: .init(), count: plan.hooks.count))
    manifest = Mutex(first)
    for (name, bytes) in [
      (PromptFiles.prompts, promptLines), (PromptFiles.pairs, pairLines),
      (CachePlan.fileName, planBytes),
    ] where found == nil || !context.holds(name, bytes) {
      try context.replace(name, with: bytes)
    }
    if found == nil { try context.replace(Manifest.fileName, with: first.encoded()) }
  }

  /// The number of prompts that are in the cache for good.
  public var committedPrompts: Int { manifest.withLock { $0.prompts } }
  /// The number of segments that are: the first one that is missing.
  public var committedSegments: Int { manifest.withLock { $0.segments.count } }
  /// Bytes of the segments that are in the cache for good.
  public var committedBytes: Int { manifest.withLock { $0.segments.reduce(0) { $0 + $1.size } } }
  /// Whether every prompt of the plan is there.
  public var isComplete: Bool { manifest.withLock { $0.complete } }

  /// Starts segment `index`, which takes the prompts `segmentRanges[index]`.
  ///
  /// Segments may be written in any order and side by side, each by a thread of its own.
  public func openSegment(_ index: Int) throws(CacheError) -> SegmentWriter {
    guard segmentRanges.indices.contains(index) else {
      throw .outOfOrder(what: "there are \(segmentRanges.count) segments, not one number \(index)")
    }
    let prompts = segmentRanges[index]
    return try SegmentWriter(
      number: index, prompts: prompts, tokens: Array(tokens[prompts]), context: context)
  }

  /// Puts a sealed segment into the manifest. Segments are committed in order.
  public func commit(_ segment: SealedSegment) throws(CacheError) {
    try change { (manifest) throws(CacheError) in
      guard segment.number == manifest.segments.count else {
        throw .outOfOrder(
          what: "segment \(segment.number) was committed where segment "
            + "\(manifest.segments.count) was due")
      }
      return manifest.adding(segment)
    }
  }

  /// Removes a sealed segment that is not to be committed.
  public func discard(_ segment: SealedSegment) {
    try? context.fileSystem.remove(context.path(SegmentLayout.fileName(segment.number)))
  }

  /// Marks the cache complete: every prompt of the plan is there.
  public func finish() throws(CacheError) {
    try change { (manifest) throws(CacheError) in
      guard manifest.prompts == plan.promptCount else {
        throw .outOfOrder(
          what: "the cache was finished with \(manifest.prompts) of \(plan.promptCount) prompts")
      }
      var next = manifest
      next.generation += 1
      next.complete = true
      return next
    }
    lock.withLock { $0 = nil }
  }

  private func change(
    _ next: (Manifest) throws(CacheError) -> Manifest
  ) throws(CacheError) {
    try manifest.withLock { (manifest) throws(CacheError) in
      let changed = try next(manifest)
      try context.replace(Manifest.fileName, with: changed.encoded())
      manifest = changed
      context.committed.store(changed.prompts, ordering: .relaxed)
    }
  }
}

/// What the writers of a cache share.
final class WriteContext: Sendable {
  let directory: String
  let plan: CachePlan
  let graph: HookGraph
  let key: PlanKey
  let fileSystem: any FileSystem
  /// Prompts that are in the cache for good, for error messages.
  let committed = Atomic(0)

  init(
    directory: String, plan: CachePlan, graph: HookGraph, key: PlanKey,
    fileSystem: any FileSystem
  ) {
    self.directory = directory
    self.plan = plan
    self.graph = graph
    self.key = key
    self.fileSystem = fileSystem
  }

  func path(_ name: String) -> String { directory + "/" + name }

  func failure(_ error: FileError) -> CacheError {
    .writeFailed(error, directory: directory, safe: committed.load(ordering: .relaxed))
  }

  func replace(_ name: String, with bytes: [UInt8]) throws(CacheError) {
    do throws(FileError) {
      try replaceFile(path(name), with: bytes, in: fileSystem)
    } catch {
      throw failure(error)
    }
  }

  /// Makes the directory, or accepts one that is there.
  func prepareDirectory() throws(CacheError) {
    do throws(SystemError) {
      try fileSystem.makeDirectory(directory)
    } catch {
      guard error.errno == EEXIST else {
        throw .cannotCreate(FileError(.create, directory, errno: error.errno))
      }
      return
    }
    do throws(FileError) {
      try fileSystem.makeNamesDurable(in: FileIO.directory(of: directory))
    } catch {
      throw .cannotCreate(error)
    }
  }
}

extension CacheWriter {
  /// Takes the lock of a cache's directory.
  ///
  /// - Parameter breaking: whether to take a lock that a process of another host left.
  static func lock(_ directory: String, breaking: Bool) throws(CacheError) -> LockFile {
    do throws(LockFile.Failure) {
      return try LockFile(path: directory + "/" + lockName, breaking: breaking)
    } catch {
      throw refusal(error, directory: directory)
    }
  }

  static func refusal(_ failure: LockFile.Failure, directory: String) -> CacheError {
    switch failure {
    case .held(let owner): return .locked(directory: directory, by: owner)
    case .foreign(let owner): return .lockLeft(directory: directory, by: owner)
    case .file(let error) where error.errno == ENOTDIR:
      // The path is there but is no directory.
      return .cannotCreate(FileError(.list, directory, errno: ENOTDIR))
    case .file(let error): return .cannotCreate(error)
    }
  }
}
