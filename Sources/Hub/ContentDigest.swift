import Crypto
import FileIO

/// What identifies the content of a file on the hub, and names it in the local cache.
enum ContentDigest: Hashable, Sendable {
  /// SHA-256 of the bytes, for files that the hub keeps outside git (Git LFS).
  case sha256(String)
  /// Git's name for the others: SHA-1 of `blob `, the size in decimal digits, a zero byte, the bytes.
  case gitBlob(String)

  /// - Parameter tag: an ETag header, in quotation marks and with `W/` in front or without.
  /// - Returns: nil for a tag that is neither of the two.
  init?(tag: String) {
    var hex = tag[...]
    if hex.hasPrefix("W/") { hex = hex.dropFirst(2) }
    if hex.hasPrefix("\""), hex.hasSuffix("\""), hex.utf8.count >= 2 {
      hex = hex.dropFirst().dropLast()
    }
    switch hex.utf8.count {
    case 64 where isHexadecimal(hex): self = .sha256(String(hex))
    case 40 where isHexadecimal(hex): self = .gitBlob(String(hex))
    default: return nil
    }
  }

  /// 64 or 40 hexadecimal digits in lower case.
  var name: String {
    switch self {
    case .sha256(let hex), .gitBlob(let hex): hex
    }
  }

  /// The digest of the same kind that a file has.
  func ofFile(_ path: String) throws(FileError) -> ContentDigest {
    let file = try MappedFile(path: path)
    return withExtendedLifetime(file) {
      switch self {
      case .sha256: .sha256(digits(of: SHA256.self, "", file.bytes))
      case .gitBlob: .gitBlob(digits(of: Insecure.SHA1.self, "blob \(file.count)\0", file.bytes))
      }
    }
  }

  private func digits<Function: HashFunction>(
    of function: Function.Type, _ head: String, _ bytes: UnsafeRawBufferPointer
  ) -> String {
    var hash = Function()
    hash.update(data: Array(head.utf8))
    hash.update(bufferPointer: bytes)
    return hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// Whether there are digits of base 16 alone, in lower case.
func isHexadecimal(_ text: some StringProtocol) -> Bool {
  text.utf8.allSatisfy {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
  }
}

/// Whether `text` is the name of a commit in full: 40 hexadecimal digits.
func isCommit(_ text: some StringProtocol) -> Bool { text.utf8.count == 40 && isHexadecimal(text) }
