/// A repository on Hugging Face's hub and a revision of it, as `--model` names them: `gpt2`,
/// `owner/name`, `owner/name@revision`.
struct HubName: Equatable, Sendable {
  /// As it was given, and as the local cache names its folder.
  let repository: String
  /// A branch, a tag or a commit; nil for `main`.
  let revision: String?

  /// - Returns: nil if no repository on the hub can have that name, or no revision.
  init?(_ text: String) {
    let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    guard let name = parts.first, HubName.isRepository(name) else { return nil }
    if parts.count == 2 {
      guard HubName.isRevision(parts[1]) else { return nil }
      revision = String(parts[1])
    } else {
      revision = nil
    }
    // TransformerLens's own name for it.
    repository = name == "gpt2-small" ? "gpt2" : String(name)
  }

  /// All names of the repository. The hub moved the first models into organisations and kept their
  /// old names; caches hold them under either.
  var spellings: [String] {
    let other =
      HubName.moved[repository] ?? HubName.moved.first { $0.value == repository }?.key
    return [repository] + (other.map { [$0] } ?? [])
  }

  private static let moved = [
    "gpt2": "openai-community/gpt2", "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large", "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
  ]

  /// The hub's rules: one or two parts of letters, digits and `-_.`, no `--` or `..`, no `-` or `.`
  /// at either end, at most 96 characters.
  private static func isRepository(_ name: Substring) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return parts.count <= 2 && name.utf8.count <= 96 && !name.contains("--")
      && !name.contains("..") && !name.hasSuffix(".git")
      && parts.allSatisfy { part in
        part.utf8.allSatisfy(isNameByte) && !part.isEmpty
          && !"-.".contains(part.first ?? ".") && !"-.".contains(part.last ?? ".")
      }
  }

  /// Git's rules for references (git-check-ref-format), and ASCII.
  private static func isRevision(_ name: Substring) -> Bool {
    let isPlain = name.utf8.allSatisfy { 0x21...0x7E ~= $0 && !#"~^:?*[\"#.utf8.contains($0) }
    return isPlain && name.utf8.count <= 200 && !name.contains("..") && !name.contains("@{")
      && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && !$0.hasPrefix(".") && !$0.hasSuffix(".lock") && !$0.hasSuffix(".")
      }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
      UInt8(ascii: "."):
      true
    default: false
    }
  }
}
