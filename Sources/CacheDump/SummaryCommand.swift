import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump DIRECTORY`
struct SummaryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "summary",
    abstract: "Model, prompts, hooks, bytes, ratios and health. What cachedump does by default.")

  @OptionGroup var cache: CacheArgument

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  func run() throws {
    let summary = try cache.open().summary()
    if json {
      try printJSON(summary)
    } else {
      for line in summary.lines(style: .forStandardOutput()) { print(line) }
    }
    if let problem = summary.problems.first {
      let others = summary.problems.count - 1
      throw DamageFound(description: problem + (others > 0 ? " (and \(others) more files)" : ""))
    }
  }
}

extension CacheSummary {
  func lines(style: Style) -> [String] {
    let state = isComplete ? "complete" : "interrupted"
    var facts = Table([.left, .left])
    facts.add(["prompts", "\(promptsText), \(counted(tokens, "token")), \(counted(pairs, "row"))"])
    facts.add(["prompt file", "\(visible(promptFileName))  \(short(promptFileDigest))"])
    facts.add(["model", "\(visible(model.name))  \(shapeText)"])
    facts.add(["weights", "\(visible(weights))  \(short(model.weightsDigest))"])
    facts.add([
      "tokenizer",
      "\(short(model.tokenizerDigest))  \(prependBOS ? "BOS prepended" : "no BOS prepended")",
    ])
    facts.add(["made by", "\(visible(tool)), kernel \(visible(kernel))"])
    if let patched { facts.add(["patched", visible(patched)]) }
    facts.add(["plan", "\(short(planDigest))  format \(formatVersion), store \(visible(store))"])
    facts.add([
      "arrays",
      "\(counted(hooks.count, "hook")), \(elementType.rawValue): \(byteSize(rawBytes)) raw, "
        + "\(byteSize(storedBytes)) stored, ratio \(ratio(storedBytes, of: rawBytes))",
    ])
    facts.add([
      "files", "\(counted(segments, "segment")), \(byteSize(segmentFileBytes)), \(healthText)",
    ])
    return [style.bold("\(visible(directory))  \(state)")] + facts.lines() + [""]
      + groupLines(style: style)
  }

  private var promptsText: String {
    isComplete
      ? grouped(prompts) : "\(grouped(prompts)) of \(grouped(plannedPrompts)) are there"
  }

  private var shapeText: String {
    "\(model.layers) layers, \(model.heads) heads of \(model.headWidth), width \(model.width), "
      + "MLP \(model.mlpWidth), vocabulary \(grouped(model.vocabulary)), "
      + "context \(grouped(model.contextLength))"
  }

  private var healthText: String {
    problems.isEmpty
      ? "all there in full size" : "\(grouped(problems.count)) missing or of wrong size"
  }

  private func groupLines(style: Style) -> [String] {
    var table = Table([.left, .right, .left, .right, .right, .right, .left])
    table.add(["hook", "count", "shape", "raw", "stored", "ratio", "encoding"])
    for group in groups {
      table.add([
        group.name, grouped(group.count), text(group.shape), byteSize(group.rawBytes),
        byteSize(group.storedBytes), ratio(group.storedBytes, of: group.rawBytes),
        text(encodings: group.encodings),
      ])
    }
    return faintHeading(table, style)
  }

  private func short(_ digest: String) -> String { visible(String(digest.prefix(12))) }
}
