/// The merges of byte pair encoding: which two neighbours become one token, and which come first.
struct MergeTable: Sendable {
  struct Merge: Sendable {
    /// The place in the list of merges; the lowest is done first.
    var rank: Int32
    /// The token that the two become.
    var result: Int32
  }

  private struct Slot: Sendable {
    var left: Int32
    var right: Int32
    var merge: Merge
  }

  /// Open addressing with linear probing; a negative `left` is a free slot.
  private var slots: [Slot]

  /// A table that is to hold at most `capacity` merges.
  init(capacity: Int) {
    let free = Slot(left: -1, right: -1, merge: Merge(rank: 0, result: 0))
    slots = [Slot](repeating: free, count: powerOfTwo(atLeast: capacity * 2))
  }

  subscript(left: Int32, right: Int32) -> Merge? {
    get {
      let slot = slots[index(left, right)]
      return slot.left < 0 ? nil : slot.merge
    }
    set {
      guard let newValue else { return }
      slots[index(left, right)] = Slot(left: left, right: right, merge: newValue)
    }
  }

  private func index(_ left: Int32, _ right: Int32) -> Int {
    // Fibonacci hashing: the golden ratio's multiple spreads keys over the high bits.
    let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    let mask = slots.count - 1
    var index = Int(truncatingIfNeeded: key &* 0x9E37_79B9_7F4A_7C15 >> 32) & mask
    while slots[index].left >= 0, slots[index].left != left || slots[index].right != right {
      index = (index + 1) & mask
    }
    return index
  }
}

/// Merges the bytes of one word after another into tokens.
///
/// The symbols of a word are a linked list, and the pairs that can be merged lie in a heap, so that
/// a word of n bytes takes O(n log n) steps. Used by one thread.
struct WordMerger {
  private let model: BPEModel
  private var symbols: [Symbol] = []
  private var heap = CandidateHeap()

  /// A token of the word being merged.
  private struct Symbol {
    var id: Int32
    var previous: Int
    /// `symbols.count` or more after the last symbol.
    var next: Int
    /// Rank of the merge with the next symbol, `noRank` if there is none or this symbol is gone.
    var rank: Int32
    /// What that merge makes.
    var merged: Int32
  }

  private static let noRank = Int32.max

  init(_ model: BPEModel) {
    self.model = model
  }

  /// Appends the tokens of a word, given as the bytes of its UTF-8.
  mutating func append(_ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32]) {
    symbols.removeAll(keepingCapacity: true)
    addSymbols(of: word)
    for index in symbols.indices.dropLast() { findMerge(at: index) }
    while let candidate = heap.popFirst() {
      // Stale when one of the pair has been merged with another neighbour meanwhile.
      guard symbols[candidate.position].rank == candidate.rank else { continue }
      merge(at: candidate.position)
    }
    var index = 0
    while index < symbols.count {
      ids.append(symbols[index].id)
      index = symbols[index].next
    }
  }

  /// One symbol a byte. A byte that the vocabulary lacks becomes the unknown token, or nothing if
  /// there is none; with `fusesUnknown` a run of such bytes is one unknown token.
  private mutating func addSymbols(of word: UnsafeBufferPointer<UInt8>) {
    var afterUnknown = false
    for byte in word {
      let id = model.byteIDs[Int(byte)]
      if id >= 0 {
        addSymbol(id)
        afterUnknown = false
      } else if let unknown = model.unknown {
        if !(afterUnknown && model.fusesUnknown) { addSymbol(unknown) }
        afterUnknown = true
      }
    }
  }

  private mutating func addSymbol(_ id: Int32) {
    let index = symbols.count
    symbols.append(
      Symbol(id: id, previous: index - 1, next: index + 1, rank: Self.noRank, merged: 0))
  }

  /// Looks up the merge of the symbol at `index` with the next one.
  private mutating func findMerge(at index: Int) {
    symbols[index].rank = Self.noRank
    let next = symbols[index].next
    guard next < symbols.count, let merge = model.merges[symbols[index].id, symbols[next].id]
    else { return }
    symbols[index].rank = merge.rank
    symbols[index].merged = merge.result
    heap.push(.init(rank: merge.rank, position: index))
  }

  private mutating func merge(at index: Int) {
    let gone = symbols[index].next
    let next = symbols[gone].next
    symbols[index].id = symbols[index].merged
    symbols[index].next = next
    symbols[gone].rank = Self.noRank
    if next < symbols.count { symbols[next].previous = index }
    findMerge(at: index)
    if symbols[index].previous >= 0 { findMerge(at: symbols[index].previous) }
  }
}

/// Pairs waiting to be merged, the lowest rank first and the leftmost of equal ones (a binary heap).
private struct CandidateHeap {
  struct Candidate: Comparable {
    var rank: Int32
    var position: Int

    static func < (a: Candidate, b: Candidate) -> Bool {
      a.rank != b.rank ? a.rank < b.rank : a.position < b.position
    }
  }

  private var items: [Candidate] = []

  mutating func push(_ item: Candidate) {
    var index = items.count
    items.append(item)
    while index > 0, item < items[(index - 1) / 2] {
      items[index] = items[(index - 1) / 2]
      index = (index - 1) / 2
    }
    items[index] = item
  }

  mutating func popFirst() -> Candidate? {
    guard let first = items.first, let last = items.popLast() else { return nil }
    if items.isEmpty { return first }
    var index = 0
    while true {
      var child = 2 * index + 1
      guard child < items.count else { break }
      if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
      guard items[child] < last else { break }
      items[index] = items[child]
      index = child
    }
    items[index] = last
    return first
  }
}
