import Parallel

/// How two caches differ. Encodes as what `cachedump diff --json` prints.
public struct CacheDifference: Encodable, Sendable {
  /// Something that two plans say differently.
  public struct Fact: Encodable, Sendable, Equatable {
    public var name: String
    public var first: String
    public var second: String
  }

  public var first: String
  public var second: String
  public var plan: [Fact]
  /// Prompts with the same text and tokens whose arrays are in both caches; the numbers of the
  /// others.
  public var sharedPrompts: Int
  public var promptsOnlyInFirst: [Int]
  public var promptsOnlyInSecond: [Int]
  public var hooksOnlyInFirst: [String]
  public var hooksOnlyInSecond: [String]
  /// Hooks in both whose shapes differ, so that nothing can be compared.
  public var hooksOfOtherShape: [String]
  public var hooks: [HookDifference]
  /// The hooks added up by kind.
  public var kinds: [HookDifference]

  public var sharedArrays: Int { hooks.reduce(0) { $0 + $1.arrays } }
  public var unequalArrays: Int { hooks.reduce(0) { $0 + $1.unequalArrays } }

  /// Whether every array is in both caches with equal bits.
  public var isEmpty: Bool {
    unequalArrays == 0 && promptsOnlyInFirst.isEmpty && promptsOnlyInSecond.isEmpty
      && hooksOnlyInFirst.isEmpty && hooksOnlyInSecond.isEmpty && hooksOfOtherShape.isEmpty
  }
}

extension CacheReader {
  /// Compares this cache with another, bit for bit. Prompts are matched by text and tokens, hooks by
  /// name. The result is the same for any number of threads.
  ///
  /// - Parameters:
  ///   - chosen: names of the hooks to compare; all if nil.
  ///   - progress: called with the number of prompts that were gone through, and that of all.
  public func difference(
    to other: CacheReader, hooks chosen: Set<String>? = nil, threads: Int,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(CacheError) -> CacheDifference {
    let prompts = PromptMatch(try capturedPrompts(), try other.capturedPrompts())
    let hooks = HookMatch(plan.hooks, other.plan.hooks, chosen: chosen)
    var found = hooks.shared.map { HookDifference(plan.hooks[$0.0]) }
    var done = 0
    try parallelForEach(prompts.shared.count, threads: threads) { (index) throws(CacheError) in
      var arrays: [ArrayDifference] = []
      for hook in hooks.shared {
        arrays.append(try compare(other, hook: hook, prompt: prompts.shared[index]))
      }
      return arrays
    } then: { (arrays: [ArrayDifference]) throws(CacheError) in
      let prompt = prompts.shared[done]
      let T = try positions(prompt: prompt.0)
      for (place, array) in arrays.enumerated() {
        let dimensions = plan.hooks[hooks.shared[place].0].dimensions(positions: T)
        found[place].add(array, prompts: prompt, dimensions: dimensions)
      }
      done += 1
      progress(done, prompts.shared.count)
    }
    return CacheDifference(
      first: directory, second: other.directory, plan: planFacts(differingFrom: other),
      sharedPrompts: prompts.shared.count, promptsOnlyInFirst: prompts.onlyInFirst,
      promptsOnlyInSecond: prompts.onlyInSecond, hooksOnlyInFirst: hooks.onlyInFirst,
      hooksOnlyInSecond: hooks.onlyInSecond, hooksOfOtherShape: hooks.ofOtherShape, hooks: found,
      kinds: addedUpByKind(found))
  }

  private func capturedPrompts() throws(CacheError) -> [Prompt] {
    Array(try prompts().prefix(committedPrompts))
  }

  private func compare(_ other: CacheReader, hook: (Int, Int), prompt: (Int, Int))
    throws(CacheError) -> ArrayDifference
  {
    let outcome = try withValues(hook: hook.0, prompt: prompt.0) { first in
      Result { () throws(CacheError) in
        let difference = try other.withValues(hook: hook.1, prompt: prompt.1) { second in
          first.count == second.count ? ArrayDifference(first, second) : nil
        }
        guard let difference else {
          // Both say that the prompt has the same tokens.
          throw .badIndex(
            file: other.directory,
            what: "prompt \(prompt.1) does not have as many positions as "
              + "\(PromptFiles.prompts) says")
        }
        return difference
      }
    }
    return try outcome.get()
  }

  private func planFacts(differingFrom other: CacheReader) -> [CacheDifference.Fact] {
    zip(planFacts, other.planFacts).filter { $0.value != $1.value }.map {
      .init(name: $0.name, first: $0.value, second: $1.value)
    }
  }

  private var planFacts: [(name: String, value: String)] {
    let model = plan.model
    return [
      ("weights digest", model.weightsDigest), ("weights", plan.weights),
      ("tokenizer digest", model.tokenizerDigest), ("model", model.name),
    ] + model.configuration + [
      ("BOS prepended", plan.prependBOS ? "yes" : "no"), ("kernel", plan.kernel),
      ("element type", plan.elementType.rawValue), ("prompt file", plan.promptFileName),
      ("prompt file digest", plan.promptFileDigest), ("pairs digest", plan.pairsDigest),
      ("prompts planned", "\(plan.promptCount)"), ("patched", plan.patched?.what ?? "no"),
      ("tool", plan.tool),
      ("format", "\(plan.formatVersion)"), ("store", plan.store),
      ("derived hooks", "\(plan.hooks.count { $0.recipe != nil })"),
      ("segment bytes", "\(plan.segmentBytes)"), ("complete", isComplete ? "yes" : "no"),
    ]
  }
}

/// The prompts of two caches that are the same.
private struct PromptMatch {
  private(set) var shared: [(Int, Int)] = []
  private(set) var onlyInFirst: [Int] = []
  let onlyInSecond: [Int]

  private struct Key: Hashable {
    let text: String
    let tokens: [Int32]
    init(_ prompt: Prompt) {
      text = prompt.text
      tokens = prompt.tokens
    }
  }

  init(_ first: [Prompt], _ second: [Prompt]) {
    var places = Dictionary(
      second.enumerated().map { (Key($0.element), $0.offset) }, uniquingKeysWith: { old, _ in old })
    for (number, prompt) in first.enumerated() {
      if let other = places.removeValue(forKey: Key(prompt)) {
        shared.append((number, other))
      } else {
        onlyInFirst.append(number)
      }
    }
    let matched = Set(shared.map(\.1))
    onlyInSecond = second.indices.filter { !matched.contains($0) }
  }
}

/// The hooks of two caches that have the same name and shape.
private struct HookMatch {
  private(set) var shared: [(Int, Int)] = []
  private(set) var onlyInFirst: [String] = []
  private(set) var ofOtherShape: [String] = []
  let onlyInSecond: [String]

  init(_ first: [HookSpec], _ second: [HookSpec], chosen: Set<String>?) {
    let places = Dictionary(
      second.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { old, _ in old })
    func isChosen(_ hook: HookSpec) -> Bool { chosen?.contains(hook.name) ?? true }
    for (place, hook) in first.enumerated() where isChosen(hook) {
      guard let other = places[hook.name] else {
        onlyInFirst.append(hook.name)
        continue
      }
      if second[other].shape == hook.shape {
        shared.append((place, other))
      } else {
        ofOtherShape.append(hook.name)
      }
    }
    let names = Set(first.map(\.name))
    onlyInSecond = second.filter { isChosen($0) && !names.contains($0.name) }.map(\.name)
  }
}
