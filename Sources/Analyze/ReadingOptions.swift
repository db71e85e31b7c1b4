import ArgumentParser
import CacheFormat
import Patching
import Reading
import Terminal

/// What every command takes that reads a cache without running the model.
struct ReadingOptions: ParsableArguments {
  @Option(name: .long, help: "The cache that capture wrote.")
  var cache: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write the result into this directory, as JSON, CSV, NPY and pictures.", valueName: "dir"),
    transform: withoutTrailingSlash)
  var out: String?

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @OptionGroup var work: WorkOptions

  @OptionGroup var io: AccessOption

  /// - Parameter model: as for `loadModel`, where the analysis takes one.
  func open(model: String? = nil) throws -> OpenedCache {
    try OpenedCache(cache, model: model, work: work, io: io, keepsPages: true)
  }
}

extension ReadRun: ExpressibleByArgument {}

/// Names of places separated by commas: numbers, roles, `all` for every position, `roles` for every
/// role.
enum PlaceName: Equatable {
  case place(Place)
  case all
  case roles

  /// - Throws: `ValidationError` for an empty name.
  static func parse(_ lists: [String], option: String) throws -> [PlaceName] {
    try lists.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map {
      name in
      switch name {
      case "all": return .all
      case "roles": return .roles
      default:
        guard let place = Place(argument: String(name)) else {
          throw ValidationError("\(option) names a place that is empty.")
        }
        return .place(place)
      }
    }
  }
}

/// The prompts of a cache that a command reads.
struct ReadingSelection {
  let reader: CacheReader
  /// All of the cache.
  let prompts: [Prompt]
  /// The rows of the prompt file that have what is needed.
  let rows: TaskSelection
  let run: ReadRun

  /// - Throws: `PatchingError.noPairs`.
  init(
    _ opened: OpenedCache, run: ReadRun, answer: Bool = false, wrongAnswer: Bool = false,
    corrupted: Bool = false
  ) throws {
    reader = opened.reader
    prompts = opened.prompts
    self.run = run
    rows = try TaskSelection(
      opened.rows, prompts: prompts, committed: reader.committedPrompts,
      needs: TaskNeeds(
        corrupted: run == .corrupted || corrupted, answer: answer, wrongAnswer: wrongAnswer),
      skipUnaligned: true)
  }

  /// By row.
  var read: [ReadPrompt] { rows.pairs.map { ReadPrompt($0, run: run, prompts: prompts) } }

  /// The rows' prompts, each once, in the order of the cache; the first row of each says its roles.
  var distinct: [ReadPrompt] {
    var seen: Set<Int> = []
    return read.filter { seen.insert($0.number).inserted }.sorted { $0.number < $1.number }
  }

  /// - Throws: `PatchingError.noSuchPosition`, `.noSuchRole`, `.noRoles`.
  func places(_ names: [PlaceName]) throws -> [Place] {
    let longest = read.map(\.length).max() ?? 0
    var places: [Place] = []
    for name in names {
      switch name {
      case .place(let place): places.append(place)
      case .all: places += (0..<longest).map { .index($0) }
      case .roles:
        guard rows.pairs.contains(where: { $0.roles.count > 1 }) else {
          throw PatchingError.noRoles
        }
        places += rows.roles.map { .role($0) }
      }
    }
    try rows.check(places, prompts: prompts)
    return places
  }

  /// The tokens at the columns, where these are all positions and mean the same in every prompt.
  func tokens(at places: [Place]) -> TokenLabels? {
    guard places.count > 1, places == (0..<places.count).map({ Place.index($0) }) else {
      return nil
    }
    let pairs = read.map {
      PatchingPair(clean: $0.number, corrupted: $0.number, answer: nil, wrongAnswer: nil)
    }
    let labels = TokenLabels(pairs, prompts: prompts)
    return labels.texts.isEmpty ? nil : labels
  }
}
