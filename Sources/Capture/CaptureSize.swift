import CacheFormat
import FileIO
import Model
import Terminal

/// How much a capture will write, known before the model is run.
struct CaptureSize {
  let tokens: Int
  /// Bytes of all activations before compression, and of those that are stored, not derived.
  let bytes: Int
  let storedBytes: Int
  private let promptCount: Int
  private let longest: Int
  private let points: [HookPoint]
  private let byKind: [(name: String, arrays: Int, bytes: Int, stored: Int)]

  /// - Parameter table: the hooks of `points`, with the recipes of those that are derived.
  init(
    prompts: [Prompt], points: [HookPoint], table: HookTable, config: ModelConfig,
    dtype: ElementType
  ) {
    let derived = Set(table.specs.filter { $0.recipe != nil }.map(\.name))
    let lengths = prompts.map(\.tokens.count)
    tokens = lengths.reduce(0, +)
    promptCount = prompts.count
    longest = lengths.max() ?? 0
    self.points = points
    var kinds: [HookKind] = []
    for point in points where !kinds.contains(point.kind) { kinds.append(point.kind) }
    byKind = kinds.map { kind in
      let arrays = points.count { $0.kind == kind }
      let values = lengths.reduce(0) { $0 + config.valueCount(of: kind, positions: $1) }
      let stored = points.count { $0.kind == kind && !derived.contains($0.name) }
      return (
        kind.rawValue, arrays, values * arrays * dtype.size, values * stored * dtype.size
      )
    }
    bytes = byKind.reduce(0) { $0 + $1.bytes }
    storedBytes = byKind.reduce(0) { $0 + $1.stored }
  }

  func lines(out: String) -> [String] {
    var table = Table([.left, .right, .right, .left])
    for kind in byKind {
      table.add([
        kind.name, kind.arrays == 1 ? "" : "× \(kind.arrays)", byteSize(kind.bytes),
        kind.stored == kind.bytes
          ? "" : kind.stored == 0 ? "derived" : "\(byteSize(kind.stored)) stored",
      ])
    }
    return [
      "\(grouped(promptCount)) prompts, \(grouped(tokens)) tokens, the longest prompt \(longest)",
      "\(points.count) hooks:",
    ] + table.lines().map { "  " + $0 } + [
      "\(byteSize(bytes)) of activations (\(byteSize(bytes / max(1, tokens))) a token), of which "
        + "\(byteSize(storedBytes)) would go to \(out), less what compression takes away"
    ]
  }

  /// Looks whether there is room.
  ///
  /// - Parameters:
  ///   - written: bytes that are there already.
  ///   - limit: the most bytes that are to be written at all.
  /// - Returns: a warning if it may become tight.
  /// - Throws: `NoRoom` for what would not fit under any compression that activations ever had.
  func checkRoom(at directory: String, written: Int, limit: Int?) throws(NoRoom) -> String? {
    guard let free = freeSpace(at: directory) else { return nil }
    let needed = Double(max(0, min(storedBytes, limit ?? .max) - written))
    if Double(free) < needed * 0.8 {
      throw NoRoom(directory: directory, free: free, needed: Int(needed))
    }
    return Double(free) < needed * 1.05
      ? "\(directory): \(byteSize(free)) are free, and up to \(byteSize(Int(needed))) will be "
        + "written; if it is not enough, what is captured by then stays and can be resumed" : nil
  }
}

extension ModelIdentity {
  init(name: String, weightsDigest: String, tokenizerDigest: String, _ config: ModelConfig) {
    self.init(
      name: name, weightsDigest: weightsDigest, tokenizerDigest: tokenizerDigest,
      layers: config.layers, heads: config.heads, width: config.width,
      headWidth: config.headWidth, mlpWidth: config.mlpWidth, vocabulary: config.vocabulary,
      contextLength: config.contextLength)
  }
}

/// There is not enough space for a capture.
struct NoRoom: ReportableError {
  let directory: String
  let free: Int
  let needed: Int

  var exitCode: SysExit { .cannotCreate }

  var description: String {
    "\(directory) has room for \(byteSize(free)), and some \(byteSize(needed)) before compression "
      + "are to be written; free some, choose fewer --hooks or a smaller --dtype, "
      + "or stop at a limit with --max-bytes"
  }
}
