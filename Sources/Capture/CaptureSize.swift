import CacheFormat
import FileIO
import Model
import Terminal

/// How much a capture will write, known before the model is run. Sums that no integer holds stay at
/// the largest one.
struct CaptureSize {
  let tokens: Int
  /// Bytes of all activations before compression, and of those that are stored, not derived.
  let bytes: Int
  let storedBytes: Int
  /// Bytes of all activations of the longest prompt.
  let longestBytes: Int
  private let prompts: [[Int32]]
  private let stored: [HookSpec]
  private let dtype: ElementType
  private let hookCount: Int
  private let byKind: [(name: String, arrays: Int, bytes: Int, stored: Int)]

  /// - Parameter specs: the hooks of `points` in the cache, with the recipes of those that are
  ///   derived.
  /// - Throws: `CacheError.arrayTooLarge`.
  init(prompts: [Prompt], points: [HookPoint], specs: [HookSpec], dtype: ElementType)
    throws(CacheError)
  {
    self.prompts = prompts.map(\.tokens)
    let lengths = self.prompts.map(\.count)
    tokens = lengths.reduce(0, +)
    stored = specs.filter { $0.recipe == nil }
    self.dtype = dtype
    hookCount = points.count
    let longest = lengths.max() ?? 0
    for spec in specs {
      guard let count = spec.count(positions: longest), count <= Limits.arrayBytes / 4 else {
        throw .arrayTooLarge(hook: spec.name, positions: longest)
      }
    }
    var kinds: [HookKind] = []
    for point in points where !kinds.contains(point.kind) { kinds.append(point.kind) }
    let histogram = Histogram(lengths)
    byKind = kinds.map { kind in
      let specs = zip(points, specs).filter { $0.0.kind == kind }.map(\.1)
      return (
        kind.rawValue, specs.count, histogram.bytes(of: specs, dtype),
        histogram.bytes(of: specs.filter { $0.recipe == nil }, dtype)
      )
    }
    longestBytes = Histogram([longest]).bytes(of: specs, dtype)
    bytes = byKind.reduce(0) { saturatingSum($0, $1.bytes) }
    storedBytes = byKind.reduce(0) { saturatingSum($0, $1.stored) }
  }

  /// How many different beginnings the prompts have, of one token and of more.
  private static func beginnings(of prompts: some Sequence<[Int32]>) -> Int {
    var last: [Int32] = []
    return prompts.sorted { $0.lexicographicallyPrecedes($1) }.reduce(0) { sum, tokens in
      defer { last = tokens }
      return sum + tokens.count - zip(tokens, last).prefix { $0 == $1 }.count
    }
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
      "\(grouped(prompts.count)) prompts, \(grouped(tokens)) tokens, the longest prompt "
        + "\(prompts.map(\.count).max() ?? 0)",
      "\(hookCount) hooks:",
    ] + table.lines().map { "  " + $0 } + [
      "\(byteSize(bytes)) of activations (\(byteSize(bytes / max(1, tokens))) a token), of which "
        + "\(byteSize(storedBytes)) would go to \(out), less what compression takes away"
    ]
  }

  /// Looks whether there is room.
  ///
  /// - Parameters:
  ///   - free: bytes that may be written there.
  ///   - committed: the number of prompts that are in the cache already.
  ///   - limit: the most bytes that are to be written; nil for no limit.
  /// - Returns: a warning if it may become tight.
  /// - Throws: `NoRoom` for what will not fit however well it is compressed.
  func checkRoom(at directory: String, free: Int, after committed: Int, limit: Int?)
    throws(NoRoom) -> String?
  {
    let histogram = Histogram(prompts.dropFirst(committed).map(\.count))
    let raw = histogram.bytes(of: stored, dtype, packed: true)
    let most = min(raw, limit ?? .max)
    // Rows of prompts that begin alike are stored once, where they are of one segment.
    let rows = Histogram([CaptureSize.beginnings(of: prompts.dropFirst(committed))])
    let least = saturatingSum(
      rows.bytes(of: stored.filter(\.isRows), dtype),
      histogram.bytes(of: stored.filter { !$0.isRows }, dtype, packed: true))
    // What compresses are signs and exponents; the bits of a mantissa are noise.
    let mantissa =
      switch dtype {
      case .f32: 23.0 / 32
      case .f16: 10.0 / 16
      case .bf16: 7.0 / 16
      }
    guard Double(free) >= min(Double(least) * mantissa, Double(most)) else {
      throw NoRoom(directory: directory, free: free, needed: most)
    }
    return Double(free) < Double(most) * 1.05
      ? "\(directory): \(byteSize(free)) are free, and up to \(byteSize(most)) will be written; if "
        + "it is not enough, what is captured by then stays and can be resumed" : nil
  }
}

/// How many prompts have which number of tokens.
private struct Histogram {
  private var prompts: [Int: Int] = [:]

  init(_ lengths: some Sequence<Int>) {
    for T in lengths { prompts[T, default: 0] += 1 }
  }

  /// Bytes of these arrays of all prompts, before compression.
  ///
  /// - Parameter packed: whether to leave out what stands above the diagonals of causal matrices.
  func bytes(of specs: [HookSpec], _ dtype: ElementType, packed: Bool = false) -> Int {
    var sum = 0
    for (T, number) in prompts {
      for spec in specs {
        var count = spec.count(positions: T) ?? .max
        if packed, spec.isSquare, T > 0 { count = count / T * (T + 1) / 2 }
        sum = saturatingSum(sum, saturatingProduct(saturatingProduct(count, dtype.size), number))
      }
    }
    return sum
  }
}

private func saturatingSum(_ a: Int, _ b: Int) -> Int {
  let (sum, overflow) = a.addingReportingOverflow(b)
  return overflow ? .max : sum
}

private func saturatingProduct(_ a: Int, _ b: Int) -> Int {
  let (product, overflow) = a.multipliedReportingOverflow(by: b)
  return overflow ? .max : product
}

extension ModelIdentity {
  init(name: String, weightsDigest: String, tokenizerDigest: String, _ config: ModelConfig) {
    self.init(
      name: name, weightsDigest: weightsDigest, tokenizerDigest: tokenizerDigest,
      layers: config.layers, heads: config.heads, width: config.width,
      headWidth: config.headWidth, mlpWidth: config.mlpWidth, vocabulary: config.vocabulary,
      contextLength: config.contextLength,
      arithmetic: ModelArithmetic(
        layerNormEpsilon: config.layerNormEpsilon, scalesAttention: config.scalesAttention,
        scalesAttentionByInverseLayer: config.scalesAttentionByInverseLayer,
        tiesEmbeddings: config.tiesEmbeddings))
  }
}

/// There is not enough space for a capture.
struct NoRoom: ReportableError {
  let directory: String
  let free: Int
  let needed: Int

  var exitCode: SysExit { .cannotCreate }

  var description: String {
    "\(directory) has room for \(byteSize(free)), and \(byteSize(needed)) before compression are to "
      + "be written; free some, choose fewer --hooks or a smaller --dtype, "
      + "or stop at a limit with --max-bytes"
  }
}
