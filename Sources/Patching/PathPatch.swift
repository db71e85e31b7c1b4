import CacheFormat
import Model

/// Patching of the paths from senders to receivers: what heads say to other heads, and to the logits,
/// apart from all else that they do.
///
/// The receivers' queries, keys or values (or the last row of the residual stream) become what they would
/// be if the senders' z, and of all heads theirs alone, were the source run's; then the receiving run
/// goes on from there as it is. What lies between sender and receiver is one of two definitions.
public struct PathPatch: Hashable, Sendable {
  /// What a path may pass through besides the residual stream.
  public enum Definition: String, Sendable, CaseIterable {
    /// MLPs: all heads' z are held at the receiving run's but the senders', and MLPs are computed anew (Wang
    /// et al. 2022, "Interpretability in the Wild", appendix B; ARENA 1.4.1).
    case throughMLPs = "through-mlps"
    /// Nothing: Σ (z_source − z_receiving) W_O of the senders is added to each receiver's own input, before
    /// ln1, whose scale is computed anew (the direct edge of TransformerLens 4.3).
    case direct
  }

  /// What is a cell of the sweep.
  public enum Swept: String, Sendable {
    /// Every head of a layer before a receiver, one at a time.
    case senders
    /// Every head of a layer behind a sender, one at a time.
    case receivers
    /// Nothing: senders and receivers are both given.
    case neither
  }

  public let definition: Definition
  public let swept: Swept
  /// The heads that are patched together; empty where they are swept.
  public let senders: [AttentionHead]
  /// The heads that hear them together; empty where they are swept, and for the logits.
  public let receivers: [AttentionHead]
  /// Which inputs of the receivers: `.q`, `.k`, `.v`; empty for the logits.
  public let inputs: [HookKind]

  public static let headInputs: [HookKind] = [.q, .k, .v]

  public var isToLogits: Bool { inputs.isEmpty }

  /// - Parameters:
  ///   - senders: nil to sweep them.
  ///   - receivers: nil to sweep them.
  ///   - inputs: some of `.q`, `.k` and `.v`.
  /// - Throws: `PatchingError.noPath` where nothing is given, or an input is not one of a head.
  public init(
    _ definition: Definition, from senders: [AttentionHead]?, to receivers: [AttentionHead]?,
    inputs: [HookKind]
  ) throws(PatchingError) {
    guard senders != nil || receivers != nil else {
      throw .noPath("neither senders nor receivers are given")
    }
    try PathPatch.check(senders)
    try PathPatch.check(receivers)
    guard !inputs.isEmpty, Set(inputs).isSubset(of: PathPatch.headInputs),
      Set(inputs).count == inputs.count
    else { throw .noPath("the inputs of a head are q, k and v, each once") }
    self.definition = definition
    swept = senders == nil ? .senders : receivers == nil ? .receivers : .neither
    self.senders = senders ?? []
    self.receivers = receivers ?? []
    self.inputs = inputs
  }

  /// The paths to the logits: to the last row of the residual stream behind the last block.
  ///
  /// - Parameter senders: nil to sweep them.
  /// - Throws: `PatchingError.noPath`.
  public init(
    _ definition: Definition, toLogitsFrom senders: [AttentionHead]?
  ) throws(PatchingError) {
    try PathPatch.check(senders)
    self.definition = definition
    swept = senders == nil ? .senders : .neither
    self.senders = senders ?? []
    receivers = []
    inputs = []
  }

  private static func check(_ heads: [AttentionHead]?) throws(PatchingError) {
    guard let heads else { return }
    guard !heads.isEmpty else { throw .noPath("a list of heads is empty") }
    guard Set(heads).count == heads.count else { throw .noPath("a head is there twice") }
  }

  /// The layers of the cells.
  func layers(of layerCount: Int) -> [Int] {
    switch swept {
    case .neither: []
    case .senders: Array(0..<(isToLogits ? layerCount : receivers.map(\.layer).max() ?? 0))
    case .receivers:
      Array(((senders.map(\.layer).min() ?? 0) + 1)..<max(layerCount, 1)).filter { $0 < layerCount }
    }
  }

  /// The senders of a cell, those of the first layer first.
  func senders(of cell: Cell) -> [AttentionHead] {
    swept == .senders ? PathPatch.head(of: cell) : senders.sorted()
  }

  private func receivers(of cell: Cell) -> [AttentionHead] {
    swept == .receivers ? PathPatch.head(of: cell) : receivers
  }

  private static func head(of cell: Cell) -> [AttentionHead] {
    guard let layer = cell.layer, let head = cell.head else { return [] }
    return [AttentionHead(layer: layer, head: head)]
  }

  /// What of the receiving run a cell replaces: the inputs of the receivers behind the first sender. In
  /// the last layer nothing asks for other queries than that of the last position.
  func patches(of cell: Cell, layerCount: Int) -> [Patch] {
    let first = senders(of: cell).first?.layer ?? 0
    if isToLogits {
      return [Patch(HookPoint(.residPost, layer: layerCount - 1), place: .index(-1))]
    }
    return receivers(of: cell).filter { $0.layer > first }.flatMap { receiver in
      inputs.map { input in
        let isLast = input == .q && receiver.layer == layerCount - 1
        let hook = definition == .direct ? PathPatch.before(input) : input
        return Patch(
          HookPoint(hook, layer: receiver.layer), head: receiver.head,
          place: isLast ? .index(-1) : nil)
      }
    }
  }

  /// What a head's q, k or v is made from.
  private static func before(_ input: HookKind) -> HookKind {
    input == .q ? .qInput : input == .k ? .kInput : .vInput
  }

  /// The z of every sender of a sweep.
  func senderHooks(layers: [Int]) -> Set<HookPoint> {
    let senders = swept == .senders ? layers : senders.map(\.layer)
    return Set(senders.map { HookPoint(.z, layer: $0) })
  }

  /// What of the receiving run the paths are computed from, besides z.
  func streamHooks(layers: [Int], layerCount: Int) -> Set<HookPoint> {
    guard definition == .throughMLPs else { return [] }
    let first = (swept == .senders ? layers : senders.map(\.layer)).min() ?? 0
    let heard = (swept == .receivers ? layers : receivers.map(\.layer)).max() ?? 0
    let end = isToLogits ? layerCount : heard
    return Set(
      (first..<max(first, end)).flatMap {
        [HookPoint(.residPre, layer: $0), HookPoint(.attnOut, layer: $0)]
      })
  }

  /// - Throws: `PatchingError.noSuchHead`, or `.noPath` if no receiver is behind a sender.
  func check(_ config: ModelConfig) throws(PatchingError) {
    for head in senders + receivers
    where !(0..<config.layers ~= head.layer) || !(0..<config.heads ~= head.head) {
      throw .noSuchHead(head, layers: config.layers, heads: config.heads)
    }
    guard !isToLogits else { return }
    let first = senders.map(\.layer).min() ?? 0
    let last = swept == .receivers ? config.layers - 1 : receivers.map(\.layer).max() ?? 0
    guard first < last else {
      throw .noPath("no receiver is in a layer behind a sender's")
    }
  }

  /// In words, such as `to q of 9.9, 10.0, through MLPs`.
  public var description: String {
    func list(_ heads: [AttentionHead]) -> String {
      heads.map(\.description).joined(separator: ", ")
    }
    let inputs = inputs.map(\.shortName).joined(separator: ", ")
    var parts: [String] = []
    if swept != .senders { parts.append("from \(list(senders))") }
    if isToLogits {
      parts.append("to the logits")
    } else {
      parts.append("to \(inputs) of " + (swept == .receivers ? "each head" : list(receivers)))
    }
    parts.append(definition == .throughMLPs ? "through MLPs" : "direct edges")
    return parts.joined(separator: ", ")
  }

  /// A short name that is fit for a file, such as `path-q-9.9-10.0`.
  var name: String {
    var parts = ["path"] + (definition == .direct ? ["direct"] : [])
    parts += swept == .senders ? [] : ["from"] + senders.map(\.description) + ["to"]
    parts += isToLogits ? ["logits"] : inputs.map(\.shortName)
    parts += receivers.map(\.description)
    var name = parts.joined(separator: "-")
    guard name.utf8.count > 120 else { return name }
    // Names that begin alike stay different.
    let digest = name.withUTF8 { sha256(UnsafeRawBufferPointer($0)) }
    return "\(name.prefix(100))-\(digest.prefix(12))"
  }
}
