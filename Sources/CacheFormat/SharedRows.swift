/// Which prompts of a segment begin with the same tokens, and the rows that they may therefore have
/// in common in the arrays of one hook. Used by one thread.
///
/// A prompt is either a *root* or has a root before it as its base: the one that it has the most
/// tokens in common with at the beginning, of equals the first, if they are a third of its own.
/// Prompts of one template have a few in common; one that hung on these could not be the base of
/// the other prompt of its pair, with which it has many more.
final class SharedRows {
  /// Rows of an earlier prompt that an array may begin with.
  struct Base {
    let prompt: Int
    /// How many rows they are.
    let count: Int
    /// Their elements.
    let rows: UnsafeRawBufferPointer
  }

  /// Their number has three bytes in the header of a block.
  private static let mostRows = 1 << 24 - 1

  private let firstPrompt: Int
  // By prompt of the segment:
  private let positions: [Int]
  /// The root that is the base, and how many tokens they have in common; nil for a root.
  private var bases: [(root: Int, count: Int)?] = []
  /// The first rows that others may share, by their place in `rows`; empty for most.
  private var lent: [Range<Int>]
  /// The bytes of a row of the hook that is being written, 0 where its rows are not kept.
  private var keptRowBytes: [Int]
  /// The elements of the lent rows, one root after the other.
  private let rows = ByteBuffer(capacity: 0)

  /// - Parameters:
  ///   - firstPrompt: the number of the segment's first prompt in the cache.
  ///   - tokens: those of each prompt of the segment.
  init(firstPrompt: Int, tokens: [[Int32]]) {
    self.firstPrompt = firstPrompt
    positions = tokens.map(\.count)
    keptRowBytes = Array(repeating: 0, count: tokens.count)
    var most = Array(repeating: 0, count: tokens.count)
    var roots = RootTrie()
    for (prompt, tokens) in tokens.enumerated() {
      let (root, length) = roots.longestPrefix(of: tokens)
      let count = min(length, SharedRows.mostRows)
      if count > 0, count * 3 >= tokens.count {
        bases.append((root, count))
        most[root] = max(most[root], count)
      } else {
        bases.append(nil)
        roots.insert(tokens, root: prompt)
      }
    }
    var end = 0
    lent = most.map { count in
      defer { end += count }
      return end..<end + count
    }
  }

  /// The rows that the array of a prompt may begin with; nil when there are none, or those of its
  /// base were not kept.
  func base(of prompt: Int) -> Base? {
    guard let (root, count) = bases[prompt - firstPrompt] else { return nil }
    let rowBytes = keptRowBytes[root]
    guard rowBytes > 0 else { return nil }
    return Base(
      prompt: firstPrompt + root, count: count,
      rows: UnsafeRawBufferPointer(
        start: rows.base + lent[root].lowerBound * rowBytes, count: count * rowBytes))
  }

  /// Keeps the rows of a stored array that others may share.
  ///
  /// - Parameter raw: its elements, a row for each position.
  func keep(_ raw: PiecedBytes, of prompt: Int) {
    let place = prompt - firstPrompt
    guard !lent[place].isEmpty, let end = lent.last?.upperBound else { return }
    let rowBytes = raw.count / positions[place]
    rows.reserve(end * rowBytes)
    raw.copy(
      atMost: lent[place].count * rowBytes, to: rows.base + lent[place].lowerBound * rowBytes)
    keptRowBytes[place] = rowBytes
  }

  /// Forgets the rows: the next arrays are those of another hook.
  func removeAll() {
    for place in keptRowBytes.indices { keptRowBytes[place] = 0 }
  }
}

/// The tokens of roots as a tree: one path from its top for each.
private struct RootTrie {
  private struct Edge: Hashable {
    let node: Int
    let token: Int32
  }

  private var children: [Edge: Int] = [:]
  /// The first root whose path goes through a node; node 0 is the top.
  private var firstRoots = [0]

  /// The first of the roots that begin with as many of the tokens as any, and how many they are.
  func longestPrefix(of tokens: [Int32]) -> (root: Int, length: Int) {
    var node = 0
    var length = 0
    for token in tokens {
      guard let child = children[Edge(node: node, token: token)] else { break }
      node = child
      length += 1
    }
    return (firstRoots[node], length)
  }

  mutating func insert(_ tokens: [Int32], root: Int) {
    var node = 0
    for token in tokens {
      let edge = Edge(node: node, token: token)
      if let child = children[edge] {
        node = child
      } else {
        children[edge] = firstRoots.count
        node = firstRoots.count
        firstRoots.append(root)
      }
    }
  }
}
