import ArgumentParser
import CacheFormat
import Terminal

/// `cachedump ls`
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List the hooks and the prompts of a cache.")

  @OptionGroup var cache: CacheArgument

  @Flag(name: .customLong("prompts"), help: "Only the prompts.")
  var onlyPrompts = false

  @Flag(name: .customLong("hooks"), help: "Only the hooks.")
  var onlyHooks = false

  @Flag(help: "Print the same facts as JSON.")
  var json = false

  struct ListedPrompt: Encodable {
    var prompt: Int
    var captured: Bool
    var text: String
    var tokens: [Int32]
    var pieces: [String]
  }

  struct Listing: Encodable {
    var hooks: [HookSummary]?
    var prompts: [ListedPrompt]?
  }

  func run() throws {
    let reader = try cache.open()
    let both = onlyPrompts == onlyHooks
    var listing = Listing()
    if both || onlyHooks { listing.hooks = reader.summary().hooks }
    if both || onlyPrompts {
      listing.prompts = try reader.prompts().enumerated().map { number, prompt in
        ListedPrompt(
          prompt: number, captured: number < reader.committedPrompts, text: prompt.text,
          tokens: prompt.tokens, pieces: prompt.pieces)
      }
    }
    if json { return try printJSON(listing) }
    if let hooks = listing.hooks { print(hooks) }
    if both { print("") }
    if let prompts = listing.prompts { print(prompts) }
  }

  private func print(_ hooks: [HookSummary]) {
    var table = Table([.left, .left, .right, .right, .right, .left])
    table.add(["hook", "shape", "raw", "stored", "ratio", "encoding"])
    for hook in hooks {
      table.add([
        hook.name, text(hook.shape), byteSize(hook.rawBytes), byteSize(hook.storedBytes),
        ratio(hook.storedBytes, of: hook.rawBytes), text(encodings: hook.encodings),
      ])
    }
    for line in table.lines() { Swift.print(line) }
  }

  private func print(_ prompts: [ListedPrompt]) {
    var table = Table([.right, .right, .left])
    table.add(["prompt", "tokens", "text"])
    for prompt in prompts {
      let missing = prompt.captured ? "" : "(not captured) "
      table.add([
        "\(prompt.prompt)", "\(prompt.tokens.count)",
        missing
          + prompt.text.split(separator: "\n", omittingEmptySubsequences: false)
          .map { visible(String($0)) }.joined(separator: "\\n"),
      ])
    }
    for line in table.lines() { Swift.print(line) }
  }

  private func print(_ line: String) { Swift.print(line) }
}
