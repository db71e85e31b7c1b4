import CacheFormat

extension CachePlan {
  /// The command that goes on with a capture of this plan, or makes patched runs again.
  func captureCommand(out directory: String) -> String {
    if let patched { return patched.command.map(quoted).joined(separator: " ") }
    var words = ["capture", "--prompts", promptFileName, "--model", model.name, "--out", directory]
    switch weights {
    case "transformerlens": break
    case "transformerlens+refactor": words.append("--refactor")
    default: words += ["--weights", weights]
    }
    if !prependBOS { words.append("--no-bos") }
    if elementType != .f32 { words += ["--dtype", elementType.rawValue] }
    if store != "compact" { words += ["--store", store] }
    if proofs == .all { words += ["--prove", "all"] }
    if !holdsTheDefaultHooks { words += ["--hooks", hookPatterns.joined(separator: ",")] }
    words.append("--resume")
    return words.map(quoted).joined(separator: " ")
  }

  /// Whether the hooks are those that a capture takes without `--hooks`: 17 a layer and 4 outside,
  /// and none of the further ones.
  private var holdsTheDefaultHooks: Bool {
    let further = [
      "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "attn.hook_result",
      "hook_mlp_in", "hook_unembed",
    ]
    return hooks.count == 17 * model.layers + 4
      && !hooks.contains { hook in further.contains(where: hook.name.hasSuffix) }
  }

  /// The hooks' names, one glob for a kind that every layer has.
  private var hookPatterns: [String] {
    var patterns: [String] = []
    var layers: [String: Int] = [:]
    func glob(_ name: String) -> String? {
      let parts = name.split(separator: ".", maxSplits: 2)
      return parts.count == 3 && parts[0] == "blocks" ? "blocks.*.\(parts[2])" : nil
    }
    for name in hooks.map(\.name) { layers[glob(name) ?? name, default: 0] += 1 }
    for name in hooks.map(\.name) {
      let pattern = glob(name).flatMap { layers[$0] == model.layers ? $0 : nil } ?? name
      if !patterns.contains(pattern) { patterns.append(pattern) }
    }
    return patterns
  }
}

/// A word as a shell takes it for one.
func quoted(_ word: String) -> String {
  let isPlain = word.utf8.allSatisfy {
    switch $0 {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "/._-+,=:@%".utf8.contains($0)
    }
  }
  if isPlain, !word.isEmpty { return word }
  return "'"
    + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
    + "'"
}
