import FileIO
import FoundationEssentials
import Glibc
import Model
import Patching

/// `patch.json`: the result of `analyze patch`. Arrays over cells are row-major in the sweep's shape.
struct PatchFile: Codable {
  struct Identity: Codable, Equatable {
    let directory, plan, weights, tokenizer, promptFile, weightProcessing, kernel: String
    /// What was done to the cache's runs, in words; absent where nothing was.
    let patched: String?
    let prependBos: Bool?
  }

  struct Pair: Codable {
    /// The row of the prompt file.
    let index: Int
    let id: String?
    /// The numbers of its prompts in the cache; no corrupted one where the clean run is ablated.
    let clean: Int
    let corrupted: Int?
    /// The first metric of the unpatched runs.
    let cleanMetric, corruptedMetric: Double?
  }

  struct Means: Codable, Equatable {
    let clean, corrupted: Double?
  }

  /// One sweep and metric. null stands where no pair has a cell, or a number is not finite.
  struct Sweep: Codable {
    /// The hook's short name.
    let hook: String
    let metricName: String
    let source: String
    /// Of a mean, whose it is: "clean" or "corrupted" prompts.
    let meanOver: String?
    let noise: Noise?
    let window: Int
    /// What paths were patched; nil where whole activations were.
    let path: Path?
    /// Of how many dimensions the subspace is that is patched; nil where whole rows are, or a direction a
    /// cell.
    let subspace: Int?
    /// The numbers of the layers along the axis `layer`.
    let layers: [Int]
    /// The one position, or the role of it, that is patched where no axis says which; nil for all.
    let position: Int?
    let role: String?
    /// The names of the axes and their lengths, the last one running fastest.
    let axes: [String]
    let shape: [Int]
    /// What the places along an axis are called, by the axis's name.
    let labels: [String: [String]]
    /// What the cells of a list patch; nil where the axes say it.
    let cells: [Listed]?
    /// The mean patched metric, the ratio of means, and the mean of ratios.
    let metric, effect, effectMeanOfRatios: [Double?]
    let difference: Differences
    /// How many pairs have a cell.
    let pairs: [Int]
    let unchanged: Int
    let verified: Verified?
    let seconds: Double
    /// What the sweep computed, in 10⁹ floating-point operations, two a multiply-add.
    let gflop: Double
  }

  /// A cell of a list.
  struct Listed: Codable, Equatable {
    let group: String?
    let parts: [Part]
  }

  /// What is patched together with the other parts of a cell; nil stands for all.
  struct Part: Codable, Equatable {
    /// The hook's short name.
    let hook: String
    let layer, head: Int?
    /// A position, or a role; so is the attended one.
    let pos, src: String?
    let neuron: Int?
  }

  /// Heads are written as `9.6`; nil stands for those that are swept, and for receivers where the path
  /// goes to the logits.
  struct Path: Codable, Equatable {
    let definition: String
    let senders, receivers: [String]?
    /// `q`, `k`, `v`; or `logits`.
    let inputs: [String]
  }

  /// The statistics of patched − unpatched over the pairs, in the metric's own units.
  struct Differences: Codable {
    let mean, standardError, median, lower, upper, p, q: [Double?]
  }

  /// What noise was added: its standard deviation in units of the hook's own, and its seed.
  struct Noise: Codable, Equatable {
    let scale: Float
    let seed: UInt64
  }

  struct Verified: Codable {
    let runs: Int
    let largestDifference: Double?
  }

  struct Timing: Codable {
    /// Seconds for cache and model, and for what goes before the first cell.
    let loadS: Double
    /// Seconds of all sweeps.
    let sweepS: Double
    /// That of all sweeps.
    let gflop: Double
    let kernel: String
    let threads: Int
  }

  let tool: String
  let command: [String]
  let direction: String
  /// The name of the first metric.
  let metric: String
  let normalisation: String
  /// `FalseDiscoveryMethod` of the q-values.
  let fdr: String
  let kernel: String
  let cache: Identity
  let warnings: [String]
  let pairs: [Pair]
  /// Those of the first metric.
  let baselines: Means
  /// By metric: its means over the pairs in the unpatched runs.
  let metrics: [String: Means]
  let sweeps: [Sweep]
  let timing: Timing
}

extension PatchFile {
  static let name = "patch.json"
  /// The most bytes that are read; a sweep of a million cells has some 200 MB.
  static let limit = 1_000_000_000

  func json() throws -> String { try encodedJSON(self) }

  /// Reads `patch.json` of a directory. What is answered has arrays of the lengths that its shapes say.
  init(directory: String) throws(PatchFileError) {
    let path = directory + "/" + PatchFile.name
    let bytes: [UInt8]
    do throws(FileError) {
      bytes = try readFile(path, limit: PatchFile.limit)
    } catch {
      throw .unreadable(error)
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      self = try decoder.decode(PatchFile.self, from: Data(bytes))
    } catch {
      guard let key = offendingKey(error) else { throw .notJSON(path: path) }
      throw .badEntry(path: path, entry: key, problem: "is missing or of the wrong kind")
    }
    for (number, sweep) in sweeps.enumerated() {
      guard let problem = sweep.problem(pairCount: pairs.count) else { continue }
      throw .badEntry(
        path: path, entry: "sweeps[\(number)].\(problem.entry)", problem: problem.what)
    }
  }
}

extension PatchFile.Part {
  private enum Key: String, CodingKey { case hook, layer, head, pos, src, neuron }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    hook = try values.decode(String.self, forKey: .hook)
    layer = try values.decodeIfPresent(Int.self, forKey: .layer)
    head = try values.decodeIfPresent(Int.self, forKey: .head)
    pos = try values.decodeIfPresent(String.self, forKey: .pos)
    // A number, as results had it before it could be a role.
    if let number = try? values.decodeIfPresent(Int.self, forKey: .src) {
      src = String(number)
    } else {
      src = try values.decodeIfPresent(String.self, forKey: .src)
    }
    neuron = try values.decodeIfPresent(Int.self, forKey: .neuron)
  }

  func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode(hook, forKey: .hook)
    try values.encodeIfPresent(layer, forKey: .layer)
    try values.encodeIfPresent(head, forKey: .head)
    try values.encodeIfPresent(pos, forKey: .pos)
    if let number = src.flatMap({ Int($0) }) {
      try values.encode(number, forKey: .src)
    } else {
      try values.encodeIfPresent(src, forKey: .src)
    }
    try values.encodeIfPresent(neuron, forKey: .neuron)
  }
}

extension PatchFile.Listed {
  init(_ cell: ListedCell) {
    group = cell.group
    parts = cell.patches.map { patch in
      PatchFile.Part(
        hook: patch.hook.kind.shortName, layer: patch.hook.layer, head: patch.head,
        pos: patch.place?.description, src: patch.key?.description, neuron: patch.neuron)
    }
  }
}

extension PatchFile.Path {
  init(_ path: PathPatch) {
    func names(_ heads: [AttentionHead]) -> [String]? {
      heads.isEmpty ? nil : heads.map(\.description)
    }
    definition = path.definition.rawValue
    senders = names(path.senders)
    receivers = names(path.receivers)
    inputs = path.isToLogits ? ["logits"] : path.inputs.map(\.shortName)
  }

  /// What it goes from and to, whatever lies between.
  var ends: [[String]?] { [senders, receivers, inputs] }

  /// Such as `through-mlps from 8.6 to q of each head`.
  var text: String {
    let from = senders.map { " from \($0.map(shown).joined(separator: ", "))" } ?? ""
    let to =
      inputs == ["logits"]
      ? "" : " of \(receivers.map { $0.map(shown).joined(separator: ", ") } ?? "each head")"
    return "\(shown(definition))\(from) to \(inputs.map(shown).joined(separator: ", "))\(to)"
  }
}

extension PatchFile.Sweep {
  /// The first entry that does not fit the others.
  fileprivate func problem(pairCount: Int) -> (entry: String, what: String)? {
    guard axes.count == shape.count, Set(axes).count == axes.count else {
      return ("axes", "are not one name for each of the \(shape.count) lengths in shape")
    }
    var cells = 1
    for length in shape {
      let (product, overflow) = cells.multipliedReportingOverflow(by: length)
      guard length >= 0, !overflow else { return ("shape", "is impossible") }
      cells = product
    }
    let arrays: [(String, Int)] = [
      ("metric", metric.count), ("effect", effect.count),
      ("effect_mean_of_ratios", effectMeanOfRatios.count), ("pairs", pairs.count),
      ("difference.mean", difference.mean.count),
      ("difference.standard_error", difference.standardError.count),
      ("difference.median", difference.median.count),
      ("difference.lower", difference.lower.count), ("difference.upper", difference.upper.count),
      ("difference.p", difference.p.count), ("difference.q", difference.q.count),
    ]
    for (entry, count) in arrays where count != cells {
      return (entry, "has \(count) values where the shape has \(cells) cells")
    }
    for (axis, length) in zip(axes, shape) {
      if axis == "layer", layers.count != length || Set(layers).count != length {
        return ("layers", "are not \(length) different numbers, as the shape has them")
      }
      if axis == "cell", let cells = self.cells, cells.count != length {
        return ("cells", "are not the \(length) that the shape has")
      }
      if let labels = labels[axis], labels.count != length {
        return ("labels", "has \(labels.count) for the \(length) places of the axis \(axis)")
      }
    }
    guard layers.allSatisfy({ 0..<PatchFile.Sweep.layerLimit ~= $0 }) else {
      return ("layers", "names an impossible layer")
    }
    guard pairs.allSatisfy({ 0...pairCount ~= $0 }) else {
      return ("pairs", "counts other than the \(pairCount) pairs that there are")
    }
    guard (difference.p + difference.q).allSatisfy({ 0...1 ~= $0 ?? 0 }) else {
      return ("difference", "has a p or q that is not between 0 and 1")
    }
    return nil
  }

  private static let layerLimit = 100_000
}

/// The path of the entry that could not be decoded, such as `sweeps[0].effect`; nil if the whole is
/// not JSON.
func offendingKey(_ error: any Error) -> String? {
  var path: [any CodingKey]
  switch error as? DecodingError {
  case .typeMismatch(_, let context), .valueNotFound(_, let context),
    .dataCorrupted(let context):
    path = context.codingPath
  case .keyNotFound(let key, let context):
    path = context.codingPath + [key]
  default:
    return nil
  }
  guard !path.isEmpty else { return nil }
  return path.reduce("") { text, key in
    if let index = key.intValue { return "\(text)[\(index)]" }
    return text.isEmpty ? key.stringValue : "\(text).\(key.stringValue)"
  }
}

/// Why a result cannot be read.
enum PatchFileError: ReportableError {
  case unreadable(FileError)
  case notJSON(path: String)
  case badEntry(path: String, entry: String, problem: String)

  var description: String {
    switch self {
    case .unreadable(let error) where error.isOfNoFile:
      "there is no result \(error.path); name a directory that `analyze patch --out` wrote"
    case .unreadable(let error):
      error.description
    case .notJSON(let path):
      "\(path) is not the JSON that this version's `analyze patch` writes; write it again with its --out"
    case .badEntry(let path, let entry, let problem):
      "\(path) is not what this version's `analyze patch` writes: \(shown(entry)) \(shown(problem)); "
        + "write it again with `analyze patch --out`"
    }
  }

  var exitCode: SysExit {
    switch self {
    case .unreadable(let error) where error.isOfNoFile: .noInput
    case .unreadable(let error): error.exitCode
    case .notJSON, .badEntry: .badData
    }
  }
}

extension FileError {
  /// Whether there is no such file, or no such directory.
  fileprivate var isOfNoFile: Bool { operation == .open && [ENOENT, ENOTDIR].contains(errno) }
}
