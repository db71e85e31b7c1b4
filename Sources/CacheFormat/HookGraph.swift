/// The hook table with its recipes resolved to places in it: which hook is derived from which.
struct HookGraph: Sendable {
  /// A recipe as the evaluation wants it.
  final class Step: Sendable {
    let recipe: Recipe
    /// Places of the sources in the table, all below the hook's own.
    let sources: [Int]

    init(recipe: Recipe, sources: [Int]) {
      self.recipe = recipe
      self.sources = sources
    }
  }

  /// The most operations and reads of stored arrays that one array may take, by plain recursion.
  static let costLimit = 4096

  /// For each hook its recipe, nil for hooks that are stored.
  let steps: [Step?]
  let sizes: [HookSize]
  /// For each hook the last hook that is derived from it directly, nil where there is none.
  let lastUse: [Int?]

  /// - Throws: a sentence that says which recipe is impossible.
  init(_ hooks: [HookSpec]) throws(PlanProblem) {
    var places: [String: Int] = [:]
    var steps: [Step?] = []
    var costs: [Int] = []
    var lastUse = [Int?](repeating: nil, count: hooks.count)
    for (place, hook) in hooks.enumerated() {
      defer { places[hook.name] = place }
      guard let recipe = hook.recipe else {
        steps.append(nil)
        costs.append(1)
        continue
      }
      var sources: [Int] = []
      var cost = 1
      for name in recipe.sources {
        guard let source = places[name] else {
          throw PlanProblem("\(hook.name) is derived from \(name), which does not come before it")
        }
        sources.append(source)
        cost = min(cost + costs[source], HookGraph.costLimit + 1)
        lastUse[source] = place
      }
      guard recipe.fits(sources.map { hooks[$0].shape }, result: hook.shape) else {
        throw PlanProblem("the recipe of \(hook.name) does not fit the shapes")
      }
      guard cost <= HookGraph.costLimit else {
        throw PlanProblem("the recipe of \(hook.name) takes too many steps")
      }
      steps.append(Step(recipe: recipe, sources: sources))
      costs.append(cost)
    }
    self.steps = steps
    sizes = hooks.map(HookSize.init)
    self.lastUse = lastUse
  }
}

/// Why a plan cannot be, in a sentence.
struct PlanProblem: Error {
  let what: String
  init(_ what: String) { self.what = what }
}
