import CKernels

/// The arrays of one prompt of a cache, within `CacheReader.withPrompt`. What is found out for one of them
/// serves all: the prompt's segment, memory that is used over and over, and the sum that the next stream is
/// made of.
///
/// For one thread. What a body is given is valid until it reads another of these arrays.
public struct PromptArrays {
  /// The prompt's number in the cache.
  public let prompt: Int
  /// T, the number of its tokens.
  public let positions: Int
  private let cache: CacheReader
  private let segment: Segment
  private let context: ReadContext

  init(_ prompt: Int, of cache: CacheReader, in segment: Segment, _ context: ReadContext) {
    self.prompt = prompt
    positions = segment.positions(prompt: prompt)
    self.cache = cache
    self.segment = segment
    self.context = context
  }

  /// Reads or derives the array of a hook, as float32 in row-major order.
  ///
  /// - Parameter values: as many as the hook's shape has for the prompt's tokens.
  public func read(hook: Int, into values: UnsafeMutableBufferPointer<Float>) throws(CacheError) {
    let count = try count(of: hook)
    guard values.count == count else {
      throw .wrongCount(
        hook: cache.plan.hooks[hook].name, prompt: prompt, expected: count, given: values.count)
    }
    try fill(values, hook: hook)
  }

  /// The same into an array of its own.
  public func read(hook: Int) throws(CacheError) -> [Float] {
    let count = try count(of: hook)
    var failure: CacheError?
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(CacheError) {
        try fill(.init(rebasing: buffer[..<count]), hook: hook)
        initialized = count
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return values
  }

  /// Calls `body` with the values of a hook: a view of the mapped file where they are stored as they are,
  /// else memory that is used again afterwards.
  public func withValues<Result>(
    hook: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    let count = try count(of: hook)
    if cache.plan.elementType == .f32,
      case .stored(let entry) = place(of: hook),
      // What is stored shorter is encoded, and read below.
      Int(entry.storedLength) == 4 * count
    {
      let block = try checkedBlock(entry, rows: nil, hook: hook)
      if block.header.encoding == .raw {
        return body(block.stored.assumingMemoryBound(to: Float.self))
      }
    }
    if let sum = try sum(hook: hook) { return body(UnsafeBufferPointer(sum)) }
    return try context.scratch.with(count) { (values) throws(CacheError) in
      try fill(values, hook: hook)
      return body(UnsafeBufferPointer(values))
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
    _ rows: Range<Int>, hook: Int, _ body: (UnsafeBufferPointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    let count = try count(of: hook)
    let T = positions
    guard cache.graph.sizes[hook].isRows, T > 0, rows.lowerBound >= 0, rows.upperBound <= T else {
      throw .noSuchRows(hook: cache.plan.hooks[hook].name, prompt: prompt, rows: rows, positions: T)
    }
    guard rows.count < T else { return try withValues(hook: hook, body) }
    if let sum = try sum(hook: hook, rows: rows) { return body(UnsafeBufferPointer(sum)) }
    return try context.scratch.with(count / T * rows.count) { (values) throws(CacheError) in
      try fill(values, rows: rows, hook: hook)
      return body(UnsafeBufferPointer(values))
    }
  }

  /// How an array is stored, nil if it is derived.
  func encoding(hook: Int) throws(CacheError) -> Encoding? {
    _ = try count(of: hook)
    guard case .stored(let entry) = place(of: hook) else { return nil }
    return try segment.block(hook: hook, prompt: prompt, at: entry, room: context.block)
      .header.encoding
  }

  /// Reads or derives an array, or some of its rows.
  ///
  /// - Parameters:
  ///   - rows: of an array that has rows; nil for the whole array.
  ///   - isTerm: whether it is wanted as a term of a sum, or for one: the memory of the kept sum is then
  ///     in use.
  func fill(
    _ values: UnsafeMutableBufferPointer<Float>, rows: Range<Int>? = nil, hook: Int,
    isTerm: Bool = false
  ) throws(CacheError) {
    switch place(of: hook) {
    case .stored(let entry):
      let block = try checkedBlock(entry, rows: rows, hook: hook)
      if let rows, let part = block.part(rows) {
        do throws(BlockProblem) {
          guard let target = values.baseAddress else { return }
          try context.decoder.decode(block, part, into: target)
        } catch {
          throw badBlock(hook, error)
        }
        return
      }
      if let rows {
        return try fillFromAll(values, rows, hook: hook, isTerm: isTerm)
      }
      let known = try context.knownElements(of: block, in: segment, checksums: cache.checksums)
      do throws(BlockProblem) {
        try context.decoder.decode(block, after: known, into: values)
      } catch {
        throw badBlock(hook, error)
      }
    case .derived(let expected):
      guard let step = cache.graph.steps[hook] else {
        throw badBlock(hook, .impossible("nothing"))
      }
      if !isTerm, let sum = try sum(hook: hook, rows: rows) {
        if let target = values.baseAddress, let source = sum.baseAddress {
          target.update(from: source, count: values.count)
        }
        return
      }
      if let rows, !step.recipe.isRowByRow {
        return try fillFromAll(values, rows, hook: hook, isTerm: isTerm)
      }
      let T = rows?.count ?? positions
      let shapes = step.sources.map { cache.plan.hooks[$0].dimensions(positions: T) }
      for source in step.sources { _ = try count(of: source) }
      try step.derive(into: values, shapes: shapes, scratch: context.scratch) {
        (source, memory) throws(CacheError) in
        try fill(memory, rows: rows, hook: source, isTerm: isTerm)
      }
      if rows == nil { try check(values, of: hook, expected) }
    }
  }

  /// Some rows of an array that is read as a whole.
  private func fillFromAll(
    _ values: UnsafeMutableBufferPointer<Float>, _ rows: Range<Int>, hook: Int, isTerm: Bool
  ) throws(CacheError) {
    let count = try count(of: hook)
    try context.scratch.with(count) { (all) throws(CacheError) in
      try fill(all, hook: hook, isTerm: isTerm)
      guard let target = values.baseAddress, let source = all.baseAddress else { return }
      let width = count / positions
      target.update(from: source + rows.lowerBound * width, count: values.count)
    }
  }

  /// A derived array that is a sum, or some of its rows, in the context's memory: nil for what is stored
  /// and for other recipes. It is there already if it was asked for last; where its first term is a sum
  /// that is there, the others are added in place.
  private func sum(hook: Int, rows: Range<Int>? = nil) throws(CacheError)
    -> UnsafeMutableBufferPointer<Float>?
  {
    guard case .derived(let expected) = place(of: hook),
      let step = cache.graph.steps[hook], case .sum = step.recipe
    else { return nil }
    let place = ReadContext.SumPlace(hook: hook, prompt: prompt, rows: rows)
    if let kept = context.keptSum(place) { return kept }
    let all = try count(of: hook)
    for source in step.sources {
      guard try self.count(of: source) == all else {
        throw badBlock(hook, .impossible("terms of other shapes"))
      }
    }
    let count = rows.map { all / positions * $0.count } ?? all
    let first = try sum(hook: step.sources[0], rows: rows)
    let values = context.beginSum(count: count)
    if first == nil {
      try fill(values, rows: rows, hook: step.sources[0], isTerm: true)
    }
    for source in step.sources.dropFirst() {
      try context.scratch.with(count) { (term) throws(CacheError) in
        try fill(term, rows: rows, hook: source, isTerm: true)
        guard let sum = values.baseAddress, let term = term.baseAddress else { return }
        pb_add(sum, term, sum, count)
      }
    }
    if rows == nil { try check(values, of: hook, expected) }
    context.keepSum(place, count: count)
    return values
  }

  /// - Parameter rows: those that are wanted of it; nil for all.
  private func checkedBlock(_ entry: IndexEntry, rows: Range<Int>?, hook: Int) throws(CacheError)
    -> Block
  {
    let room = context.block
    var block =
      if let rows, !rows.isEmpty {
        try segment.block(hook: hook, prompt: prompt, at: entry, rows: rows, room: room)
      } else {
        try segment.block(hook: hook, prompt: prompt, at: entry, room: room)
      }
    guard cache.checksums else { return block }
    do throws(BlockProblem) {
      try block.checkStored()
    } catch {
      throw badBlock(hook, error)
    }
    return block
  }

  /// Derives an array and checks it, with all that it is derived from; answers its bytes in the
  /// cache's element type.
  func derivedBytes(hook: Int) throws(CacheError) -> Int {
    let count = try count(of: hook)
    try context.scratch.with(count) { (values) throws(CacheError) in try fill(values, hook: hook) }
    return count * cache.plan.elementType.size
  }

  /// The number of values of an array.
  private func count(of hook: Int) throws(CacheError) -> Int {
    try cache.count(hook: hook, positions: positions)
  }

  private func place(of hook: Int) -> SegmentIndex.Place {
    segment.place(hook: hook, prompt: prompt)
  }

  private func badBlock(_ hook: Int, _ problem: BlockProblem) -> CacheError {
    segment.badBlock(hook: hook, prompt: prompt, problem)
  }

  private func check(
    _ values: UnsafeMutableBufferPointer<Float>, of hook: Int, _ expected: UInt32
  ) throws(CacheError) {
    guard !cache.checksums || checksum(UnsafeRawBufferPointer(values)) == expected else {
      throw badBlock(hook, .derivedChecksum)
    }
  }
}
