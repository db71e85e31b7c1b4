import Foundation
import Glibc
import Model
import TestSupport
import Testing

/// The tokenizers that tasks are tried with.
enum TestTokenizers {
  /// A tokenizer in which every one of these words is one token, and all else is bytes, written into a
  /// folder. Words begin with a space, a capital or a digit, so that no merge of one disturbs another.
  static func of(words: [String]) throws -> Tokenizer {
    let folder = try TemporaryDirectory()
    var ids: [String: Int] = [:]
    var merges: [String] = []
    for byte in 0..<256 { ids[symbol(byte)] = byte }
    for word in words {
      let symbols = word.utf8.map { symbol(Int($0)) }
      var prefix = symbols[0]
      for next in symbols.dropFirst() {
        let merged = prefix + next
        if ids[merged] == nil {
          ids[merged] = ids.count
          merges.append("\(prefix) \(next)")
        }
        prefix = merged
      }
    }
    ids["<|endoftext|>"] = ids.count
    try folder.write("vocab.json", try JSONSerialization.data(withJSONObject: ids))
    try folder.write(
      "merges.txt", Data((["#version: 0.2"] + merges).joined(separator: "\n").utf8 + [10]))
    return try Tokenizer(directory: folder.path)
  }

  /// GPT-2's printable stand-in of a byte: printable ones are themselves, the others the characters from
  /// U+0100 on, in order.
  private static let symbols: [String] = {
    var next: UInt32 = 256
    return (0..<UInt32(256)).map { byte in
      let isPrintable = (33...126 ~= byte) || (161...172 ~= byte) || (174...255 ~= byte)
      let scalar = Unicode.Scalar(isPrintable ? byte : next).map(Character.init) ?? "?"
      if !isPrintable { next += 1 }
      return String(scalar)
    }
  }()

  private static func symbol(_ byte: Int) -> String { symbols[byte] }

  static var demoModel: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("examples/demo-model").path
  }

  static func demo() throws -> Tokenizer { try Tokenizer(directory: demoModel) }

  /// GPT-2's own, in the directory that PATCHBAY_GPT2 names.
  static var gpt2: String? { getenv("PATCHBAY_GPT2").map { String(cString: $0) } }
}
