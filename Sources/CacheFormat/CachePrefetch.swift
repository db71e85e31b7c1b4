extension CacheReader {
  /// The hooks that are stored and that some hooks are derived from, those themselves among them.
  public func storedSources(of hooks: [Int]) -> [Int] {
    var sources = Set<Int>()
    var left = hooks
    while let hook = left.popLast() {
      guard graph.steps.indices.contains(hook) else { continue }
      if let step = graph.steps[hook] {
        left += step.sources
      } else {
        sources.insert(hook)
      }
    }
    return sources.sorted()
  }

  /// Begins to bring what describes the arrays of some hooks of a prompt into the core's cache, which
  /// otherwise waits for the memory at each of them when they are read one after the other.
  ///
  /// - Throws: `CacheError`.
  public func prefetch(_ hooks: [Int], prompt: Int) throws(CacheError) {
    let segment = try segment(holding: prompt)
    for hook in hooks where plan.hooks.indices.contains(hook) {
      segment.prefetch(hook: hook, prompt: prompt)
    }
  }
}
