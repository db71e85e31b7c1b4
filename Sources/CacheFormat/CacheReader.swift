import CKernels
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
  private let checksums: Bool
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

  /// Reads or derives the array of one hook and prompt, as float32 in row-major order.
  ///
  /// - Parameter values: as many as the hook's shape has for the prompt's tokens.
  public func read(hook: Int, prompt: Int, into values: UnsafeMutableBufferPointer<Float>)
    throws(CacheError)
  {
    let segment = try segment(holding: prompt)
    let count = try count(hook: hook, prompt: prompt, in: segment)
    guard values.count == count else {
      throw .wrongCount(
        hook: plan.hooks[hook].name, prompt: prompt, expected: count, given: values.count)
    }
    try withContext(for: prompt) { (context) throws(CacheError) in
      try fill(values, hook: hook, prompt: prompt, segment: segment, context: context)
    }
  }

  /// The same into an array of its own.
  public func read(hook: Int, prompt: Int) throws(CacheError) -> [Float] {
    let segment = try segment(holding: prompt)
    let count = try count(hook: hook, prompt: prompt, in: segment)
    var failure: CacheError?
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(CacheError) {
        try withContext(for: prompt) { (context) throws(CacheError) in
          try fill(
            .init(rebasing: buffer[..<count]), hook: hook, prompt: prompt, segment: segment,
            context: context)
        }
        initialized = count
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return values
  }

  /// Calls `body` with the values of one hook and prompt: a view of the mapped file where they are
  /// stored as they are, else memory that is used again afterwards.
  public func withValues<Result>(
    hook: Int, prompt: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    let segment = try segment(holding: prompt)
    let count = try count(hook: hook, prompt: prompt, in: segment)
    return try withContext(for: prompt) { (context) throws(CacheError) in
      if plan.elementType == .f32,
        case .stored(let entry) = segment.place(hook: hook, prompt: prompt),
        // What is stored shorter is encoded, and read below.
        Int(entry.storedLength) == 4 * count
      {
        let block = try checkedBlock(
          entry, rows: nil, hook: hook, prompt: prompt, segment: segment, context: context)
        if block.header.encoding == .raw {
          return body(block.stored.assumingMemoryBound(to: Float.self))
        }
      }
      if let sum = try sum(hook: hook, prompt: prompt, segment: segment, context: context) {
        return body(UnsafeBufferPointer(sum))
      }
      return try context.scratch.with(count) { (values) throws(CacheError) in
        try fill(values, hook: hook, prompt: prompt, segment: segment, context: context)
        return body(UnsafeBufferPointer(values))
      }
    }
  }

  /// Calls `body` with some rows of an array that has a row for each position. Of a long array only the
  /// part is decoded that has them; rows that are derived row by row are derived alone.
  ///
  /// The stored bytes that are decoded are checked as ever, and with them all that rows are derived from:
  /// damage elsewhere in an array can go unnoticed, for nothing comes from it. The checksum of the values
  /// of a derived array is that of all its rows, and is checked only where all of them are read.
  ///
  /// - Parameter rows: positions.
  /// - Throws: `CacheError`; `.noSuchRows` if the array does not have them.
  public func withRows<Result>(
    _ rows: Range<Int>, hook: Int, prompt: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    let segment = try segment(holding: prompt)
    let count = try count(hook: hook, prompt: prompt, in: segment)
    let T = segment.positions(prompt: prompt)
    guard graph.sizes[hook].isRows, T > 0, rows.lowerBound >= 0, rows.upperBound <= T else {
      throw .noSuchRows(hook: plan.hooks[hook].name, prompt: prompt, rows: rows, positions: T)
    }
    guard rows.count < T else { return try withValues(hook: hook, prompt: prompt, body) }
    return try withContext(for: prompt) { (context) throws(CacheError) in
      if let sum = try sum(
        hook: hook, prompt: prompt, rows: rows, segment: segment, context: context)
      {
        return body(UnsafeBufferPointer(sum))
      }
      return try context.scratch.with(count / T * rows.count) { (values) throws(CacheError) in
        try fill(
          values, rows: rows, hook: hook, prompt: prompt, segment: segment, context: context)
        return body(UnsafeBufferPointer(values))
      }
    }
  }

  /// How an array is stored, nil if it is derived.
  func encoding(hook: Int, prompt: Int) throws(CacheError) -> Encoding? {
    let segment = try segment(holding: prompt)
    _ = try count(hook: hook, prompt: prompt, in: segment)
    guard case .stored(let entry) = segment.place(hook: hook, prompt: prompt) else { return nil }
    return try withContext(for: prompt) { (context) throws(CacheError) in
      try segment.block(hook: hook, prompt: prompt, at: entry, room: context.block).header.encoding
    }
  }

  /// Whether hooks are derived rather than stored, as the plan has it.
  public func isDerived(hook: Int) -> Bool { graph.steps[hook] != nil }

  private func withContext<Result>(
    for prompt: Int, _ body: (ReadContext) throws(CacheError) -> Result
  )
    throws(CacheError) -> Result
  {
    // The one that last added up a stream of this prompt, if there is one: it can go on from there.
    let context =
      contexts.withLock { free in
        let place = free.lastIndex { $0.keptPrompt == prompt } ?? free.indices.last
        return place.map { free.remove(at: $0) }
      } ?? ReadContext()
    defer { contexts.withLock { $0.append(context) } }
    return try body(context)
  }

  /// The number of values of an array.
  func count(hook: Int, prompt: Int, in segment: Segment) throws(CacheError) -> Int {
    guard plan.hooks.indices.contains(hook) else {
      throw .noSuchHook(directory: directory, hook: "number \(hook)")
    }
    let T = segment.positions(prompt: prompt)
    guard let count = graph.sizes[hook].count(positions: T), count <= Limits.arrayBytes / 4 else {
      throw .arrayTooLarge(hook: plan.hooks[hook].name, positions: T)
    }
    return count
  }

  /// Reads or derives an array, or some of its rows.
  ///
  /// - Parameters:
  ///   - rows: of an array that has rows; nil for the whole array.
  ///   - isTerm: whether it is wanted as a term of a sum, or for one: the memory of the kept sum is then
  ///     in use.
  func fill(
    _ values: UnsafeMutableBufferPointer<Float>, rows: Range<Int>? = nil, hook: Int, prompt: Int,
    segment: Segment, context: ReadContext, isTerm: Bool = false
  ) throws(CacheError) {
    switch segment.place(hook: hook, prompt: prompt) {
    case .stored(let entry):
      let block = try checkedBlock(
        entry, rows: rows, hook: hook, prompt: prompt, segment: segment, context: context)
      if let rows, let part = block.part(rows) {
        do throws(BlockProblem) {
          guard let target = values.baseAddress else { return }
          try context.decoder.decode(block, part, into: target)
        } catch {
          throw segment.badBlock(hook: hook, prompt: prompt, error)
        }
        return
      }
      if let rows {
        return try fillFromAll(
          values, rows, hook: hook, prompt: prompt, segment: segment, context: context,
          isTerm: isTerm)
      }
      let known = try context.knownElements(of: block, in: segment, checksums: checksums)
      do throws(BlockProblem) {
        try context.decoder.decode(block, after: known, into: values)
      } catch {
        throw segment.badBlock(hook: hook, prompt: prompt, error)
      }
    case .derived(let expected):
      guard let step = graph.steps[hook] else {
        throw segment.badBlock(hook: hook, prompt: prompt, .impossible("nothing"))
      }
      if !isTerm,
        let sum = try sum(
          hook: hook, prompt: prompt, rows: rows, segment: segment, context: context)
      {
        if let target = values.baseAddress, let source = sum.baseAddress {
          target.update(from: source, count: values.count)
        }
        return
      }
      if let rows, !step.recipe.isRowByRow {
        return try fillFromAll(
          values, rows, hook: hook, prompt: prompt, segment: segment, context: context,
          isTerm: isTerm)
      }
      let T = rows?.count ?? segment.positions(prompt: prompt)
      let shapes = step.sources.map { plan.hooks[$0].dimensions(positions: T) }
      for source in step.sources { _ = try count(hook: source, prompt: prompt, in: segment) }
      try step.derive(into: values, shapes: shapes, scratch: context.scratch) {
        (source, memory) throws(CacheError) in
        try fill(
          memory, rows: rows, hook: source, prompt: prompt, segment: segment, context: context,
          isTerm: isTerm)
      }
      guard rows != nil || !checksums || checksum(UnsafeRawBufferPointer(values)) == expected else {
        throw segment.badBlock(hook: hook, prompt: prompt, .derivedChecksum)
      }
    }
  }

  /// Some rows of an array that is read as a whole.
  private func fillFromAll(
    _ values: UnsafeMutableBufferPointer<Float>, _ rows: Range<Int>, hook: Int, prompt: Int,
    segment: Segment, context: ReadContext, isTerm: Bool
  ) throws(CacheError) {
    let count = try count(hook: hook, prompt: prompt, in: segment)
    try context.scratch.with(count) { (all) throws(CacheError) in
      try fill(
        all, hook: hook, prompt: prompt, segment: segment, context: context, isTerm: isTerm)
      guard let target = values.baseAddress, let source = all.baseAddress else { return }
      let width = count / segment.positions(prompt: prompt)
      target.update(from: source + rows.lowerBound * width, count: values.count)
    }
  }

  /// A derived array that is a sum, or some of its rows, in the context's memory: nil for what is stored
  /// and for other recipes. It is there already if it was asked for last; where its first term is a sum
  /// that is there, the others are added in place.
  private func sum(
    hook: Int, prompt: Int, rows: Range<Int>? = nil, segment: Segment, context: ReadContext
  ) throws(CacheError) -> UnsafeMutableBufferPointer<Float>? {
    guard case .derived(let expected) = segment.place(hook: hook, prompt: prompt),
      let step = graph.steps[hook], case .sum = step.recipe
    else { return nil }
    let place = ReadContext.SumPlace(hook: hook, prompt: prompt, rows: rows)
    if let kept = context.keptSum(place) { return kept }
    let all = try count(hook: hook, prompt: prompt, in: segment)
    for source in step.sources {
      guard try self.count(hook: source, prompt: prompt, in: segment) == all else {
        throw segment.badBlock(hook: hook, prompt: prompt, .impossible("terms of other shapes"))
      }
    }
    let count = rows.map { all / segment.positions(prompt: prompt) * $0.count } ?? all
    let first = try sum(
      hook: step.sources[0], prompt: prompt, rows: rows, segment: segment, context: context)
    let values = context.beginSum(count: count)
    if first == nil {
      try fill(
        values, rows: rows, hook: step.sources[0], prompt: prompt, segment: segment,
        context: context, isTerm: true)
    }
    for source in step.sources.dropFirst() {
      try context.scratch.with(count) { (term) throws(CacheError) in
        try fill(
          term, rows: rows, hook: source, prompt: prompt, segment: segment, context: context,
          isTerm: true)
        guard let sum = values.baseAddress, let term = term.baseAddress else { return }
        pb_add(sum, term, sum, count)
      }
    }
    guard rows != nil || !checksums || checksum(UnsafeRawBufferPointer(values)) == expected else {
      throw segment.badBlock(hook: hook, prompt: prompt, .derivedChecksum)
    }
    context.keepSum(place, count: count)
    return values
  }

  /// - Parameter rows: those that are wanted of it; nil for all.
  private func checkedBlock(
    _ entry: IndexEntry, rows: Range<Int>?, hook: Int, prompt: Int, segment: Segment,
    context: ReadContext
  ) throws(CacheError) -> Block {
    let room = context.block
    var block =
      if let rows, !rows.isEmpty {
        try segment.block(hook: hook, prompt: prompt, at: entry, rows: rows, room: room)
      } else {
        try segment.block(hook: hook, prompt: prompt, at: entry, room: room)
      }
    guard checksums else { return block }
    do throws(BlockProblem) {
      try block.checkStored()
    } catch {
      throw segment.badBlock(hook: hook, prompt: prompt, error)
    }
    return block
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
func withoutTrailingSlash(_ path: String) -> String {
  var path = path
  while path.count > 1, path.hasSuffix("/") { path.removeLast() }
  return path
}
