import CacheFormat
import FileIO
import FoundationEssentials
import Terminal

/// The result of `analyze audit` in words and as JSON.
struct AuditReport: Encodable {
  let audit: CacheAudit
  let cache: String
  let model: String
  let segments: Int
  let allSegments: Int
  let prompts: Int
  let seed: UInt64
  let kernel: String
  let capturedKernel: String
  /// Whether the cache is of f16 or bf16.
  let isRounded: Bool

  private enum Key: String, CodingKey {
    case tool, cache, model, segments, allSegments, prompts, seed, kernel, capturedKernel
    case comparison, tolerance, arrays, unequalArrays
  }

  /// The facts of the audit stand beside the others.
  func encode(to encoder: any Encoder) throws {
    try audit.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(toolVersion, forKey: .tool)
    try container.encode(cache, forKey: .cache)
    try container.encode(model, forKey: .model)
    try container.encode(segments, forKey: .segments)
    try container.encode(allSegments, forKey: .allSegments)
    try container.encode(prompts, forKey: .prompts)
    try container.encode(seed, forKey: .seed)
    try container.encode(kernel, forKey: .kernel)
    try container.encode(capturedKernel, forKey: .capturedKernel)
    try container.encode(audit.hasSameKernels ? "bits" : "tolerance", forKey: .comparison)
    if !audit.hasSameKernels {
      try container.encode(CacheAudit.tolerance, forKey: .tolerance)
    }
    try container.encode(audit.arrays, forKey: .arrays)
    try container.encode(audit.unequalArrays, forKey: .unequalArrays)
  }

  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  func lines(style: Style) -> [String] {
    var lines = [
      style.bold(visible(cache))
        + "  \(grouped(segments)) of \(counted(allSegments, "segment")) run again: "
        + "\(counted(prompts, "prompt")), seed \(seed)",
      kernelLine, "",
    ]
    var table = Table([.left, .right, .right, .right, .right, .left])
    table.add(["hook", "arrays", "unequal", "largest", "of rms", "where: cached and computed"])
    for kind in audit.kinds {
      table.add([
        kind.name, grouped(kind.arrays), grouped(kind.unequalArrays),
        kind.largest.map { significant($0, 4) } ?? "-",
        kind.largestOfRMS.map { significant($0, 3) } ?? "-",
        kind.place.map {
          "\($0.hook), prompt \($0.firstPrompt) \($0.index): \($0.first) and \($0.second)"
        } ?? "",
      ])
    }
    let rows = table.lines()
    lines += rows.prefix(1).map { style.faint($0) } + rows.dropFirst() + [""]
    if audit.unjudgedArrays > 0 {
      lines.append(
        "\(counted(audit.unjudgedArrays, "array")) derived from rounded ones: their largest error "
          + "is not recorded, so that their checksum alone was checked")
    }
    return lines + [style.bold(verdict)]
  }

  private var kernelLine: String {
    guard audit.hasSameKernels else {
      return "\(kernel) kernels here, \(visible(capturedKernel)) at capture: compared within "
        + "\(significant(CacheAudit.tolerance)) of each array's rms"
        + (isRounded ? " more than the largest error of rounding" : ", not bit for bit")
    }
    return "\(kernel) kernels as at capture: compared bit for bit"
      + (isRounded ? " once rounded, derived arrays within the largest error of rounding" : "")
  }

  private var verdict: String {
    let arrays = grouped(audit.arrays)
    if audit.failedArrays > 0 {
      return "\(grouped(audit.failedArrays)) of \(arrays) arrays are not what the model computes"
    }
    if audit.unequalArrays == 0 {
      return "all \(arrays) arrays have the bits that the model computes"
    }
    return "all \(arrays) arrays are what the model computes, "
      + "\(grouped(audit.arrays - audit.unequalArrays)) to the bit"
  }
}

/// Ends the audit of a cache that does not hold what its model computes.
struct AuditFailed: ReportableError {
  let report: AuditReport

  var description: String {
    let audit = report.audit
    let first = audit.firstFailure.map { "\($0.hook) of prompt \($0.prompt)" } ?? ""
    let isRounding =
      audit.hasSameKernels && audit.largestOfRMS < CacheAudit.tolerance
      && audit.hooks.allSatisfy { $0.incomparableValues == 0 }
    return "\(report.cache) does not hold what the model computes: "
      + "\(counted(audit.failedArrays, "array")) of \(grouped(audit.arrays)), the first \(first); "
      + (isRounding
        ? "the differences are as small as those of another version; capture again"
        : "capture again")
  }

  var exitCode: SysExit { .badData }
}
