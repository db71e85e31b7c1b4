import CacheFormat
import Model
import Patching

/// Which prompt of a pair is read.
public enum ReadRun: String, Sendable, CaseIterable {
  case clean, corrupted
}

/// A prompt to read, and the pair that names its answers and places.
public struct ReadPrompt: Sendable {
  public let pair: PatchingPair
  /// The number in the cache.
  public let number: Int
  /// T.
  public let length: Int

  public init(_ pair: PatchingPair, run: ReadRun, prompts: [Prompt]) {
    self.pair = pair
    number = run == .clean ? pair.clean : pair.corrupted
    length = prompts[number].tokens.count
  }

  /// - Parameters:
  ///   - number: in the cache.
  ///   - length: T.
  public init(_ pair: PatchingPair, number: Int, length: Int) {
    (self.pair, self.number, self.length) = (pair, number, length)
  }

  /// The positions of a place; nil if the prompt has no such place.
  public func positions(of place: Place) -> Range<Int>? {
    place.positions(roles: pair.roles, length: length).flatMap { $0.isEmpty ? nil : $0 }
  }
}

/// The arrays of some hooks of a cache, which is known to hold them.
struct ReadHooks: Sendable {
  let cache: CacheReader
  private let places: [HookPoint: Int]

  /// - Throws: `ReadingError.hooksNotCached`.
  init(_ hooks: [HookPoint], in cache: CacheReader) throws(ReadingError) {
    var places: [HookPoint: Int] = [:]
    var missing: [String] = []
    for hook in hooks where places[hook] == nil {
      if let place = cache.hookIndex(hook.name) {
        places[hook] = place
      } else {
        missing.append(hook.name)
      }
    }
    guard missing.isEmpty else {
      throw .hooksNotCached(missing, directory: cache.directory)
    }
    self.cache = cache
    self.places = places
  }

  /// Calls `body` with the arrays of a prompt.
  ///
  /// - Throws: `CacheError`.
  func withArrays<Result>(
    of prompt: ReadPrompt, _ body: (ReadArrays) throws(CacheError) -> Result
  ) throws(CacheError) -> Result {
    try cache.withPrompt(prompt.number) { (arrays) throws(CacheError) in
      try body(ReadArrays(prompt: prompt, hooks: self, arrays: arrays))
    }
  }

  /// Whether all rows are read of the prompt that is read as that number.
  static func isWhole(_ number: Int) -> Bool { number % 64 == 0 }

  fileprivate func place(of hook: HookPoint) -> Int {
    guard let place = places[hook] else { preconditionFailure("\(hook.name) was not asked for") }
    return place
  }
}

/// The arrays of some hooks of a prompt.
struct ReadArrays {
  let prompt: ReadPrompt
  fileprivate let hooks: ReadHooks
  fileprivate let arrays: PromptArrays

  /// Calls `body` with the array of a hook.
  ///
  /// - Parameter count: how many values the array must have, at least one.
  /// - Throws: `CacheError`; `.wrongCount` if it has another number of values.
  /// - Precondition: the hook is one of those that it was made for.
  func read<Result>(
    _ hook: HookPoint, count: Int,
    _ body: (UnsafePointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    var found = 0
    let result: Result? = try arrays.withValues(hook: hooks.place(of: hook)) { values in
      found = values.count
      guard let base = values.baseAddress, found == count else { return nil }
      return body(base)
    }
    return try unwrapped(result, hook, count: found, wanted: count)
  }

  /// Calls `body` with some rows of the array of a hook.
  ///
  /// - Parameters:
  ///   - rows: positions.
  ///   - width: how many values a row must have.
  ///   - isWhole: whether all rows are read, so that the checksum of a derived array is checked too.
  ///     Reading a part of the prompts so finds recipes that no longer give what was captured.
  /// - Throws: `CacheError`; `.wrongCount` if it has another number of values.
  /// - Precondition: the hook is one of those that it was made for.
  func read<Result>(
    _ hook: HookPoint, rows: Range<Int>, width: Int, isWhole: Bool,
    _ body: (UnsafePointer<Float>) -> Result
  ) throws(CacheError) -> Result {
    if isWhole {
      return try read(hook, count: saturatingProduct(prompt.length, width)) {
        body($0 + rows.lowerBound * width)
      }
    }
    guard arrays.positions == prompt.length else {
      throw .wrongCount(
        hook: hook.name, prompt: prompt.number,
        expected: saturatingProduct(arrays.positions, width),
        given: saturatingProduct(prompt.length, width))
    }
    let count = saturatingProduct(rows.count, width)
    var found = 0
    let result: Result? = try arrays.withRows(rows, hook: hooks.place(of: hook)) { values in
      found = values.count
      guard let base = values.baseAddress, found == count else { return nil }
      return body(base)
    }
    return try unwrapped(result, hook, count: found, wanted: count)
  }

  private func unwrapped<Result>(
    _ result: Result?, _ hook: HookPoint, count: Int, wanted: Int
  ) throws(CacheError) -> Result {
    guard let result else {
      throw .wrongCount(hook: hook.name, prompt: prompt.number, expected: count, given: wanted)
    }
    return result
  }
}

/// A product that stays at the largest number: sizes in a cache are not to be trusted.
func saturatingProduct(_ factors: Int...) -> Int {
  factors.reduce(1) {
    let (product, overflow) = $0.multipliedReportingOverflow(by: $1)
    return overflow ? .max : product
  }
}

extension GPT2 {
  /// Checks that the model can have run prompts, before memory is taken for their rows.
  ///
  /// - Throws: `PassError.tooLong`.
  func checkLengths(of prompts: [ReadPrompt]) throws(PassError) {
    guard let longest = prompts.map(\.length).max(), longest > config.contextLength else { return }
    throw .tooLong(positions: longest, contextLength: config.contextLength)
  }
}
