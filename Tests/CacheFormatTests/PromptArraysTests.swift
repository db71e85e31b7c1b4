import CacheFormat
import TestSupport
import Testing

/// The arrays of a prompt that are read together.
@Suite struct PromptArraysTests {
  /// In any order, whole or in rows, they are those that are read one by one.
  @Test(arguments: ElementType.allCases)
  func areThoseThatAreReadAlone(elementType: ElementType) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("areThoseThatAreReadAlone: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory()
    let capture = Capture.derived(elementType: elementType, seed: seed)
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    for prompt in capture.prompts.indices.shuffled(using: &generator) {
      let T = capture.prompts[prompt].tokens.count
      let hooks = (0..<100).map { _ in
        capture.plan.hooks.indices.randomElement(using: &generator) ?? 0
      }
      let expected = try hooks.map { bits(try reader.read(hook: $0, prompt: prompt)) }
      try reader.withPrompt(prompt) { (arrays) throws(CacheError) in
        #expect(arrays.prompt == prompt && arrays.positions == T)
        for (hook, expected) in zip(hooks, expected) {
          #expect(bits(try arrays.read(hook: hook)) == expected, "seed \(seed)")
          #expect(
            try arrays.withValues(hook: hook) { bits(Array($0)) } == expected, "seed \(seed)")
          guard capture.plan.hooks[hook].isRows, T > 1 else { continue }
          let width = expected.count / T
          #expect(
            try arrays.withRows(1..<T, hook: hook) { bits(Array($0)) }
              == Array(expected[width...]), "seed \(seed)")
        }
      }
    }
  }

  /// The arrays of another prompt can be read meanwhile.
  @Test func twoPromptsDoNotDisturbEachOther() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture.derived()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    let hooks = capture.plan.hooks.indices
    let expected = try [0, 1].map { prompt in
      try hooks.map { bits(try reader.read(hook: $0, prompt: prompt)) }
    }
    try reader.withPrompt(0) { (first) throws(CacheError) in
      try reader.withPrompt(1) { (second) throws(CacheError) in
        for hook in hooks {
          let found = try first.withValues(hook: hook) { values in
            (try? second.read(hook: hook)).map { (bits(Array(values)), bits($0)) }
          }
          #expect(found?.0 == expected[0][hook] && found?.1 == expected[1][hook])
        }
      }
    }
  }

  @Test func errorsAreThoseOfThePromptOrTheHook() throws {
    let directory = try TemporaryDirectory()
    let capture = Capture.derived()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    for prompt in [-1, capture.prompts.count] {
      let error = #expect(throws: CacheError.self) {
        try reader.withPrompt(prompt) { _ in Issue.record("there is no such prompt") }
      }
      guard case .noSuchPrompt = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    for hook in [-1, capture.plan.hooks.count] {
      let error = #expect(throws: CacheError.self) {
        try reader.withPrompt(0) { (arrays) throws(CacheError) in try arrays.read(hook: hook) }
      }
      guard case .noSuchHook = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    // Nothing of it stays behind.
    #expect(try capture.agrees(with: reader, prompts: capture.prompts.count))
  }
}
