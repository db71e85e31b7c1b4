import ArgumentParser
import CacheFormat
import FileIO
import Terminal

/// `cachedump repair`
struct Repair: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say what a damaged cache has lost, and repair the rest.",
    discussion: """
      Reads everything, as verify does, and says what can be kept; changes nothing without --apply, \
      and exits with 65 when there is damage. With --apply the segments before the first damaged one \
      are kept; damaged segments are put aside under their name + .damaged, never deleted; sound \
      segments after them stay, and capture --resume takes them back. A manifest that is damaged or \
      missing is made anew from the plan and the segments. Nothing can be done about a damaged plan.
      """)

  @OptionGroup var cache: CacheArgument

  @Flag(help: "Change the cache; without it nothing is changed.")
  var apply = false

  @Flag(help: "Take the lock that a process of another host left; only if that process is gone.")
  var breakLock = false

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  @Flag(help: "Show no progress.")
  var quiet = false

  private struct Result: Encodable {
    let repair: CacheRepair
    let applied: Bool
    let nextCommand: String?

    private enum Key: String, CodingKey { case applied, nextCommand }

    func encode(to encoder: any Encoder) throws {
      try repair.encode(to: encoder)
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(applied, forKey: .applied)
      try container.encode(nextCommand, forKey: .nextCommand)
    }
  }

  func run() throws {
    let lock = apply ? try CacheRepair.lock(cache.directory, breaking: breakLock) : nil
    var progress: Progress?
    let repair = try CacheRepair(of: cache.directory, access: cache.io.access) { done, all in
      progress = progress ?? Progress("reading", unit: "prompts", total: all, quiet: quiet || json)
      progress?.update(done: done)
    }
    let applies = apply && repair.isNeeded
    if applies { try withExtendedLifetime(lock) { try repair.apply() } }
    if json {
      try printJSON(
        Result(repair: repair, applied: applies, nextCommand: repair.nextCommand))
    } else {
      for line in repair.lines(applied: applies) { print(line) }
    }
    if repair.isNeeded, !apply {
      throw DamageFound(
        description: "\(repair.directory) is damaged and nothing was changed; cachedump repair "
          + "\(quoted(repair.directory)) --apply keeps \(repair.keptText)")
    }
  }
}

extension CacheRepair {
  func lines(applied: Bool) -> [String] {
    guard isNeeded else { return ["nothing is damaged: there is nothing to repair"] }
    var lines = problems.map {
      $0.problem + ($0.more > 0 ? "; \(counted($0.more, "more place")) in this file" : "")
    }
    if manifest != .sound {
      lines.append("the manifest \(applied ? "was" : "can be") made anew from what is there")
    }
    lines += lost.map {
      let prompts = text(from: $0.firstPrompt, to: $0.firstPrompt + $0.prompts - 1)
      return "\(applied ? "lost" : "would be lost"): \($0.name), \(prompts), to be captured again"
    }
    if !later.isEmpty {
      let prompts = later.reduce(0) { $0 + $1.prompts }
      lines.append(
        "sound, but after what is lost: \(counted(later.count, "segment")) of "
          + "\(counted(prompts, "prompt")); "
          + (laterCanBeAdopted
            ? "capture --resume takes them back without running the model"
            : "to be captured again, since how far rounded values are off is not in them"))
    }
    if applied {
      lines.append("repaired: \(keptText) \(keptPrompts == 1 ? "is" : "are") in the cache")
      if let nextCommand { lines.append("next: \(visible(nextCommand))") }
    }
    return lines
  }

  var keptText: String {
    keptPrompts == plan.promptCount
      ? "all of \(counted(keptPrompts, "prompt"))"
      : "\(grouped(keptPrompts)) of \(counted(plan.promptCount, "prompt"))"
  }

  private func text(from first: Int, to last: Int) -> String {
    first == last ? "prompt \(first)" : "prompts \(first) to \(last)"
  }

  /// The command that captures what is missing; nil if nothing is.
  var nextCommand: String? {
    keptPrompts < plan.promptCount ? plan.captureCommand(out: directory) : nil
  }
}
