import FileIO
import Glibc

/// Resolves what a user typed after `--hooks` against the hook points that there are.
///
/// A pattern is a full name (`blocks.3.attn.hook_z`), a glob over full names (`*`, `?`, `[…]`), or
/// one of the short names of TransformerLens's `get_act_name`: `z3`, `scale4ln1`, `attn_logits`,
/// and, where the field writes a tuple, the tuple's parts run together: `resid_pre5`,
/// `resid_pre-1`. A short name without a layer means every layer that has the hook.
public struct HookSelector: Sendable {
  /// Defaults first, then the optional ones.
  private let names: [String]
  private let defaultCount: Int
  private let layers: Int
  /// Index into `names` by every accepted spelling of a full name.
  private let indices: [String: Int]

  /// - Parameters:
  ///   - defaults: the full names that a glob is matched against first.
  ///   - optional: further full names: chosen by name, or by a glob that matches no default.
  ///   - layers: L, the number of the model's layers, from which negative layers count back.
  public init(defaults: [String], optional: [String] = [], layers: Int) {
    names = defaults + optional
    defaultCount = defaults.count
    self.layers = max(0, min(layers, Limits.layers))
    var indices: [String: Int] = [:]
    for (index, name) in names.enumerated() {
      indices[name] = index
      if let other = otherSpelling(name) { indices[other] = index }
    }
    self.indices = indices
  }

  /// The full names that `patterns` choose, in the order of the defaults and then the optional
  /// names, each once. A pattern may be a list separated by commas.
  ///
  /// - Throws: `HookSelectionError` for the first pattern that chooses nothing.
  public func select(_ patterns: [String]) throws(HookSelectionError) -> [String] {
    var chosen = [Bool](repeating: false, count: names.count)
    for list in patterns {
      for part in list.split(separator: ",", omittingEmptySubsequences: false) {
        for index in try resolve(String(trimmingSpaces(part))) { chosen[index] = true }
      }
    }
    return names.indices.filter { chosen[$0] }.map { names[$0] }
  }

  private func resolve(_ pattern: String) throws(HookSelectionError) -> [Int] {
    if pattern.isEmpty { throw .emptyPattern }
    if let index = indices[pattern] { return [index] }
    if isGlob(pattern) {
      let matches = matches(glob: pattern)
      if !matches.isEmpty { return matches }
    } else if let short = ShortHookName(pattern) {
      let matches = try matches(short: short, pattern: pattern)
      if !matches.isEmpty { return matches }
    }
    throw .unknown(pattern: pattern, nearest: nearest(to: pattern))
  }

  private func matches(glob: String) -> [Int] {
    func matches(in range: Range<Int>) -> [Int] {
      range.filter { index in
        fnmatch(glob, names[index], FNM_NOESCAPE) == 0
          || otherSpelling(names[index]).map { fnmatch(glob, $0, FNM_NOESCAPE) == 0 } ?? false
      }
    }
    let defaults = matches(in: 0..<defaultCount)
    return defaults.isEmpty ? matches(in: defaultCount..<names.count) : defaults
  }

  private func matches(short: ShortHookName, pattern: String) throws(HookSelectionError) -> [Int] {
    let everyLayer = (0..<layers).compactMap { indices[short.fullName(layer: $0)] }
    guard let typed = short.layer else {
      if let index = indices[short.fullName(layer: nil)] { return [index] }
      return everyLayer
    }
    let layer = Int(typed).map { $0 < 0 ? $0 &+ layers : $0 }
    guard let layer, layer >= 0, layer < layers else {
      if everyLayer.isEmpty { return [] }
      throw .layerOutOfRange(pattern: pattern, layer: typed, layers: layers)
    }
    return indices[short.fullName(layer: layer)].map { [$0] } ?? []
  }

  /// At most three names close to `pattern`, in the manner in which it was typed.
  private func nearest(to pattern: String) -> [String] {
    if isGlob(pattern) {
      let widened = "*\(pattern)"
      if !matches(glob: widened).isEmpty { return [widened] }
    }
    let isFull = pattern.contains(".") || pattern.hasPrefix("hook_") || isGlob(pattern)
    let layer = ShortHookName(pattern)?.layer
    var candidates = isFull ? names : names.compactMap { shortName(of: $0, layer: layer) }
    var seen = Set<String>()
    candidates.removeAll { !seen.insert($0).inserted }
    let typed = Array(pattern.utf8.prefix(100))
    let ranked = candidates.enumerated().map { order, name in
      (distance: editDistance(typed, Array(name.utf8)), order: order, name: name)
    }
    return ranked.sorted { ($0.distance, $0.order) < ($1.distance, $1.order) }
      .prefix(3).map(\.name)
  }
}

/// What was typed after `--hooks` and chooses nothing.
public enum HookSelectionError: ReportableError, Equatable {
  case emptyPattern
  case unknown(pattern: String, nearest: [String])
  case layerOutOfRange(pattern: String, layer: String, layers: Int)

  public var description: String {
    switch self {
    case .emptyPattern:
      "the list of hooks has an empty entry; write names separated by single commas, or '*' for all"
    case .unknown(let pattern, let nearest) where nearest.isEmpty:
      "no hook point is called '\(pattern)', and there is none to choose from"
    case .unknown(let pattern, let nearest):
      "no hook point is called '\(pattern)'; nearest: \(nearest.joined(separator: ", ")) "
        + "(`analyze hooks` lists all)"
    case .layerOutOfRange(let pattern, let layer, let layers):
      "'\(pattern)' names layer \(layer) of a model with \(layers) layers; "
        + "they are 0 to \(layers - 1), or -\(layers) to -1 from the end"
    }
  }

  public var exitCode: SysExit { .usage }
}

/// A short name taken apart by the rules of TransformerLens's `get_act_name`: letters, the layer's
/// digits, and a layer type that tells hooks of the same name apart.
private struct ShortHookName {
  let name: String
  /// As typed; may be negative or too large.
  let layer: String?
  let layerType: String

  private static let nameAliases = [
    "attn": "pattern", "attn_logits": "attn_scores", "key": "k", "query": "q", "value": "v",
    "mlp_pre": "pre", "mlp_mid": "mid", "mlp_post": "post", "logits": "unembed",
  ]
  private static let attentionNames: Set = [
    "k", "v", "q", "z", "rot_k", "rot_q", "result", "pattern", "attn_scores",
  ]
  private static let mlpNames: Set = ["pre", "post", "mid", "pre_linear"]
  private static let typeAliases = [
    "a": "attn", "attention": "attn", "m": "mlp", "b": "", "block": "", "blocks": "",
  ]

  /// nil if `text` is not of the form of a short name, such as a full name.
  init?(_ text: String) {
    let letters = text.prefix { $0.isASCII && $0.isLowercase || $0 == "_" }
    guard !letters.isEmpty, !text.contains("."), !text.hasPrefix("hook_") else { return nil }
    var rest = text[letters.endIndex...]
    let sign = rest.hasPrefix("-") ? "-" : ""
    rest = rest.dropFirst(sign.count)
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    guard digits.isEmpty == rest.isEmpty, sign.isEmpty || !digits.isEmpty else { return nil }
    let typed = String(rest.dropFirst(digits.count))
    name = Self.nameAliases[String(letters)] ?? String(letters)
    layer = digits.isEmpty ? nil : sign + digits
    if Self.attentionNames.contains(name) {
      layerType = "attn"
    } else if Self.mlpNames.contains(name) {
      layerType = "mlp"
    } else {
      layerType = Self.typeAliases[typed] ?? typed
    }
  }

  func fullName(layer: Int?) -> String {
    guard let layer else {
      return (name == "scale" || name == "normalized" ? "ln_final." : "") + "hook_\(name)"
    }
    return "blocks.\(layer)." + (layerType.isEmpty ? "" : "\(layerType).") + "hook_\(name)"
  }
}

/// The shortest text that means the hook `fullName`: with the layer replaced by `layer` as typed,
/// or for every layer if nil. nil where no such short name exists.
private func shortName(of fullName: String, layer: String?) -> String? {
  let parts = fullName.split(separator: ".")
  guard let last = parts.last, last.hasPrefix("hook_") else { return nil }
  let name = String(last.dropFirst("hook_".count))
  let isNorm = name == "scale" || name == "normalized"
  guard parts.first == "blocks" else { return layer == nil ? name : nil }
  guard let layer else { return isNorm ? nil : name }
  return isNorm && parts.count == 4 ? "\(name)\(layer)\(parts[2])" : "\(name)\(layer)"
}

/// The split inputs of attention have the path `blocks.l.hook_q_input` in TransformerLens 2 and
/// `blocks.l.attn.hook_q_input` in TransformerLens 4; either one for the other, nil for other names.
private func otherSpelling(_ name: String) -> String? {
  let parts = name.split(separator: ".", omittingEmptySubsequences: false)
  guard parts.count >= 3, parts[0] == "blocks", let last = parts.last,
    ["hook_q_input", "hook_k_input", "hook_v_input"].contains(last)
  else { return nil }
  if parts.count == 3 { return "blocks.\(parts[1]).attn.\(last)" }
  return parts.count == 4 && parts[2] == "attn" ? "blocks.\(parts[1]).\(last)" : nil
}

private func isGlob(_ pattern: String) -> Bool {
  pattern.utf8.contains {
    $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "[")
  }
}

private func trimmingSpaces(_ text: Substring) -> Substring {
  let start = text.drop { $0 == " " }
  return start[..<(start.lastIndex { $0 != " " }.map(start.index(after:)) ?? start.startIndex)]
}

/// Levenshtein's distance: the fewest insertions, deletions and replacements of bytes.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for (i, x) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, y) in b.enumerated() {
      let replaced = diagonal + (x == y ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
    }
  }
  return row[b.count]
}
