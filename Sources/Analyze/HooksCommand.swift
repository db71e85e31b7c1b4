import ArgumentParser
import CacheFormat
import Hub
import Model
import Terminal

struct HooksCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hooks",
    abstract: "Lists hook points with their shapes.",
    discussion: """
      Shapes are those of one prompt, in the letters T positions, H heads, D width, K head width, \
      M MLP width, V vocabulary. A hook marked "on request" is captured only if --hooks names it.
      """)

  @Argument(
    help: ArgumentHelp(
      "Show these only: full names, globs, short names such as z or k6, or part of a name.",
      valueName: "pattern"))
  var patterns: [String] = []

  @Option(
    name: .long,
    help: "A model, as for capture; without it, the hooks of GPT-2 small are listed.")
  var model: String?

  func run() throws {
    let config =
      try model.map { try ModelConfig(directory: try locateModel($0, for: .configuration)) }
      ?? .gpt2Small
    let points = config.hookPoints
    let names = points.map(\.name)
    let selected: Set<String>
    if patterns.isEmpty {
      selected = Set(names)
    } else {
      let selector = HookSelector(
        defaults: points.filter(\.kind.isDefault).map(\.name),
        optional: points.filter { !$0.kind.isDefault }.map(\.name), layers: config.layers)
      selected = Set(
        try patterns.flatMap { pattern in
          let containing = names.filter { $0.contains(pattern) }
          do {
            return try selector.select([pattern])
          } catch  where !containing.isEmpty {
            return containing
          }
        })
    }
    var table = Table([.left, .left, .left, .left])
    for point in points where selected.contains(point.name) {
      let letters = point.kind.axes.map(\.rawValue).joined(separator: ", ")
      let sizes = point.kind.axes.map { $0.length(in: config).map(String.init) ?? "T" }
      table.add([
        point.name, "[\(letters)]", "[\(sizes.joined(separator: ", "))]",
        point.kind.isDefault ? "" : "on request",
      ])
    }
    print(table.lines().joined(separator: "\n"))
  }
}
