import ArgumentParser
import CacheFormat
import FileIO
import FoundationEssentials
import Terminal

@main
struct CacheDump: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cachedump",
    abstract: "Shows what is in an activation cache, checks it, and exports it.",
    usage: """
      cachedump DIRECTORY
      cachedump ls|show|stats|export|verify|repair DIRECTORY [OPTIONS]
      cachedump diff DIRECTORY DIRECTORY [OPTIONS]
      """,
    version: toolVersion,
    subcommands: [
      SummaryCommand.self, List.self, Show.self, Stats.self, Diff.self, Export.self, Verify.self,
      Repair.self,
    ],
    defaultSubcommand: SummaryCommand.self)

  static func main() {
    runCommand(CacheDump.self, name: "cachedump")
  }
}

/// The cache that a command is about.
struct CacheArgument: ParsableArguments {
  @Argument(help: "The directory that capture wrote to.")
  var directory: String

  @OptionGroup var io: AccessOption

  func open() throws -> CacheReader {
    try CacheReader(directory: directory, access: io.access)
  }
}

/// Ends a command with exit code 65 after it has shown what it found.
struct DamageFound: ReportableError {
  let description: String
  var exitCode: SysExit { .badData }
}

/// A name or pattern that chooses none of a cache's hooks, though the model may have them.
struct HookNotHeld: ReportableError {
  let directory: String
  let pattern: String
  let nearest: [String]

  var description: String {
    "\(directory) holds no hook called '\(pattern)'"
      + (nearest.isEmpty ? "" : "; nearest: \(nearest.joined(separator: ", "))")
      + " (`cachedump ls --hooks` lists all)"
  }

  var exitCode: SysExit { .usage }
}

extension CacheReader {
  /// The places of the hooks that `patterns` choose; of all when there is no pattern.
  func hooks(matching patterns: [String]) throws -> [Int] {
    guard !patterns.isEmpty else { return Array(plan.hooks.indices) }
    let selector = HookSelector(defaults: plan.hooks.map(\.name), layers: plan.model.layers)
    do {
      return try selector.select(patterns).compactMap { hookIndex($0) }
    } catch {
      guard case .unknown(let pattern, let nearest) = error else { throw error }
      throw HookNotHeld(directory: directory, pattern: pattern, nearest: nearest)
    }
  }
}

/// - Parameter onOneLine: for long arrays of numbers, which would take a line each.
func printJSON(_ value: some Encodable, onOneLine: Bool = false) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  if !onOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// `[T, 12, 64]`
func text(_ shape: [Dimension]) -> String {
  let sizes = shape.map {
    switch $0 {
    case .positions: "T"
    case .fixed(let size): "\(size)"
    }
  }
  return "[\(sizes.joined(separator: ", "))]"
}

/// Stored bytes as a part of raw ones.
func ratio(_ stored: Int, of raw: Int) -> String {
  raw > 0 ? fixed(Double(stored) / Double(raw), 3) : "-"
}

/// `lz4+bitshuffle`, or `lz4+bitshuffle 190, raw 2` where arrays differ.
func text(encodings: [String: Int]) -> String {
  let sorted = encodings.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
  guard sorted.count > 1 else { return sorted.first.map { visible($0.key) } ?? "-" }
  return sorted.map { "\(visible($0.key)) \(grouped($0.value))" }.joined(separator: ", ")
}
