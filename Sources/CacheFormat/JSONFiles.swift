import FileIO
import FoundationEssentials

/// The text files of a cache, frozen when it is made.
enum PromptFiles {
  static let prompts = "prompts.jsonl"
  static let pairs = "pairs.jsonl"
}

/// One JSON object a line, keys sorted, so that equal values give equal bytes.
func jsonLines(_ values: [some Encodable]) throws(CacheError) -> [UInt8] {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  var bytes: [UInt8] = []
  for value in values {
    do {
      bytes += try encoder.encode(value)
    } catch {
      throw .unwritablePlan(what: "a prompt or pair cannot be written as JSON")
    }
    bytes.append(UInt8(ascii: "\n"))
  }
  return bytes
}

/// Reads a frozen file and checks that it is the one that was frozen.
func readFrozen(_ path: String, limit: Int, digest: String) throws(CacheError) -> [UInt8] {
  let bytes: [UInt8]
  do throws(FileError) {
    bytes = try readFile(path, limit: limit, followLinks: false)
  } catch {
    throw .unreadable(error)
  }
  let found = sha256(bytes)
  guard found == digest else {
    throw .wrongDigest(file: path, expected: digest, found: found)
  }
  return bytes
}

/// Reads a file of one JSON object a line: all of it, or one line.
func readLines<Value: Decodable>(
  _ type: Value.Type, path: String, digest: String, count: Int, only: Int? = nil
) throws(CacheError) -> [Value] {
  let bytes = try readFrozen(path, limit: Limits.textBytes, digest: digest)
  let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true)
  guard lines.count == count, bytes.isEmpty || bytes.last == UInt8(ascii: "\n") else {
    throw .badLine(
      file: path, line: lines.count, what: "there are \(lines.count) lines, not \(count)")
  }
  let decoder = JSONDecoder()
  var values: [Value] = []
  for number in only.map({ $0..<$0 + 1 }) ?? lines.indices {
    guard let value = try? decoder.decode(type, from: Data(lines[number])) else {
      throw .badLine(file: path, line: number + 1, what: "it is not what such a line must be")
    }
    values.append(value)
  }
  return values
}

extension CachePlan {
  static let fileName = "plan.json"

  func encoded() throws(CacheError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    do {
      return [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")]
    } catch {
      throw .unwritablePlan(what: "the plan cannot be written as JSON")
    }
  }

  /// Reads and checks the plan of `directory`.
  ///
  /// - Parameter format: the version that the manifest has.
  static func read(directory: String, digest: String, format: Int) throws(CacheError)
    -> (plan: CachePlan, graph: HookGraph)
  {
    let path = directory + "/" + fileName
    let bytes = try readFrozen(path, limit: Limits.planBytes, digest: digest)
    guard let plan = try? JSONDecoder().decode(CachePlan.self, from: Data(bytes)) else {
      throw .badPlan(file: path, what: "it is not a plan of format \(format)")
    }
    do throws(PlanProblem) {
      return (plan, try plan.checked(format: format))
    } catch {
      throw .badPlan(file: path, what: error.what)
    }
  }

  /// The recipes resolved.
  ///
  /// - Throws: what makes the plan impossible.
  func checked(format: Int) throws(PlanProblem) -> HookGraph {
    func require(_ condition: Bool, _ what: @autoclosure () -> String) throws(PlanProblem) {
      guard condition else { throw PlanProblem(what()) }
    }
    try require(formatVersion == format, "its format is \(formatVersion)")
    try require(
      ["full", "compact"].contains(store), "its store is \"\(store)\", neither full nor compact")
    try require(
      format == 1 || proofs != nil, "it does not say which recipes were proved")
    try require(
      (0...Limits.prompts).contains(promptCount) && pairCount >= 0,
      "its number of prompts or pairs is impossible")
    try require(segmentBytes > 0, "its segments would be empty")
    try require(hooks.count <= Limits.hooks, "it has \(hooks.count) hooks")
    try require(Set(hooks.map(\.name)).count == hooks.count, "two hooks have one name")
    if let problem = hooks.lazy.compactMap(\.problem).first { throw PlanProblem(problem) }
    try require(
      format > 1 || hooks.allSatisfy { $0.recipe == nil }, "format 1 has no recipes")
    return try HookGraph(hooks)
  }
}

extension HookSpec {
  /// Names become file names on export: letters, digits, `.`, `_` and `-`, none of the first kind
  /// missing at the start.
  fileprivate var problem: String? {
    let allowed = name.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard allowed, (1...200).contains(name.utf8.count), !name.hasPrefix(".") else {
      return "a hook has an impossible name"
    }
    guard shape.count <= Limits.dimensions, count(positions: 1) != nil else {
      return "\(name) has an impossible shape"
    }
    return nil
  }
}
