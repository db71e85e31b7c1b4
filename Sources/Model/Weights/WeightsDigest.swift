import Crypto
import Dispatch
import FileIO
import Synchronization

/// The digest of a checkpoint's files, computed on a thread of its own.
final class WeightsDigest: Sendable {
  private let done = DispatchGroup()
  private let digest: Mutex<String>

  /// One that is known.
  init(_ digest: String) { self.digest = Mutex(digest) }

  /// Begins with the digest.
  init(of checkpoint: Checkpoint) {
    digest = Mutex("")
    DispatchQueue.global().async(group: done) {
      let digest = WeightsDigest.digest(of: checkpoint)
      self.digest.withLock { $0 = digest }
    }
  }

  /// In lower-case hexadecimal digits; waits until it is known.
  var value: String {
    done.wait()
    return digest.withLock { $0 }
  }

  /// SHA-256 of model.safetensors, which is the digest that the hub shows for the file. For
  /// shards, SHA-256 of their digests' digits, put together in the order of the files' names.
  private static func digest(of checkpoint: Checkpoint) -> String {
    let digests = checkpoint.files.map { hexadecimal($0.file.bytes) }
    if !checkpoint.isSharded, let only = digests.first { return only }
    return Array(digests.joined().utf8).withUnsafeBytes(hexadecimal)
  }

  private static func hexadecimal(_ bytes: UnsafeRawBufferPointer) -> String {
    var hash = SHA256()
    hash.update(bufferPointer: bytes)
    let digits = Array("0123456789abcdef".utf8)
    let text = hash.finalize().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    return String(decoding: text, as: UTF8.self)
  }
}
