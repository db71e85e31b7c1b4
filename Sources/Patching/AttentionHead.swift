/// A head, written `9.6`: head 6 of layer 9.
public struct AttentionHead: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let layer: Int
  public let head: Int

  public init(layer: Int, head: Int) {
    self.layer = layer
    self.head = head
  }

  /// nil unless the text is two whole numbers with a point between them.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let layer = AttentionHead.number(parts[0]),
      let head = AttentionHead.number(parts[1])
    else { return nil }
    self.init(layer: layer, head: head)
  }

  /// Digits alone: no sign.
  private static func number(_ text: some StringProtocol) -> Int? {
    text.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 } ? Int(text) : nil
  }

  public var description: String { "\(layer).\(head)" }

  public static func < (a: AttentionHead, b: AttentionHead) -> Bool {
    (a.layer, a.head) < (b.layer, b.head)
  }
}
