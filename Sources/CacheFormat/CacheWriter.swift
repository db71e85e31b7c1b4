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
  private let tokenCounts: [Int]
  private let context: WriteContext
  private let manifest: Mutex<Manifest>

  /// Starts a cache without prompts in `directory`, which must be absent or empty.
  ///
  /// - Parameter plan: its format version, counts and digests of prompts and pairs are filled in.
  public init(
    directory: String, plan: CachePlan, prompts: [Prompt], pairs: [PromptPair],
    fileSystem: any FileSystem = SystemCalls()
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
    let graph: HookGraph
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
    tokenCounts = prompts.map(\.tokens.count)
    segmentRanges = plan.segmentRanges(tokenCounts: tokenCounts)
    context = WriteContext(
      directory: directory, plan: plan, graph: graph, key: key, fileSystem: fileSystem)
    let empty = Manifest(
      plan: planDigest, hooks: Array(repeating: .init(), count: plan.hooks.count))
    manifest = Mutex(empty)

    try context.prepareDirectory()
    try context.replace(PromptFiles.prompts, with: promptLines)
    try context.replace(PromptFiles.pairs, with: pairLines)
    try context.replace(CachePlan.fileName, with: planBytes)
    try context.replace(Manifest.fileName, with: empty.encoded())
  }

  /// The number of prompts that are in the cache for good.
  public var committedPrompts: Int { manifest.withLock { $0.prompts } }

  /// Starts segment `index`, which takes the prompts `segmentRanges[index]`.
  ///
  /// Segments may be written in any order and side by side, each by a thread of its own.
  public func openSegment(_ index: Int) throws(CacheError) -> SegmentWriter {
    guard segmentRanges.indices.contains(index) else {
      throw .outOfOrder(what: "there are \(segmentRanges.count) segments, not one number \(index)")
    }
    let prompts = segmentRanges[index]
    return try SegmentWriter(
      number: index, prompts: prompts, positions: Array(tokenCounts[prompts]), context: context)
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

  /// Makes the directory, or accepts one that is there and empty.
  func prepareDirectory() throws(CacheError) {
    do throws(SystemError) {
      try fileSystem.makeDirectory(directory)
    } catch {
      guard error.errno == EEXIST else {
        throw .cannotCreate(FileError(.create, directory, errno: error.errno))
      }
      return try requireEmpty()
    }
    do throws(FileError) {
      try fileSystem.makeNamesDurable(in: FileIO.directory(of: directory))
    } catch {
      throw .cannotCreate(error)
    }
  }

  private func requireEmpty() throws(CacheError) {
    let names: [String]
    do throws(SystemError) {
      names = try fileSystem.list(directory)
    } catch {
      throw .cannotCreate(FileError(.list, directory, errno: error.errno))
    }
    guard names.isEmpty else { throw .directoryNotEmpty(directory: directory) }
  }
}
