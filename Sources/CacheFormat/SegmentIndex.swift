/// What a segment's index says, checked and then kept in memory of its own: what a file is changed
/// to afterwards cannot send a reader elsewhere.
struct SegmentIndex: Sendable {
  /// Where an array is.
  enum Place: Equatable {
    /// As a block, whose header is at `offset`.
    case stored(IndexEntry)
    /// Nowhere: its recipe gives it, with this checksum.
    case derived(checksum: UInt32)
  }

  /// The index's offset in the file; blocks lie before it.
  let offset: Int
  private let bytes: [UInt8]
  private let promptCount: Int
  private let hookCount: Int

  /// Checks that blocks follow one another without hole or overlap up to the index, that only hooks
  /// with a recipe are derived, and that the prompts' positions add up.
  ///
  /// - Parameters:
  ///   - bytes: the index, of the right length for its hooks and prompts.
  ///   - tokens: what the manifest says of the segment.
  init(
    _ bytes: [UInt8], offset: Int, prompts: Int, tokens: Int, steps: [HookGraph.Step?]
  ) throws(SegmentIndexProblem) {
    self.bytes = bytes
    self.offset = offset
    promptCount = prompts
    hookCount = steps.count
    var next = Record.size
    for (hook, step) in steps.enumerated() {
      for prompt in 0..<prompts {
        guard case .stored(let entry) = place(hook: hook, prompt: prompt) else {
          guard step != nil else {
            throw SegmentIndexProblem("hook \(hook) is not stored and has no recipe")
          }
          continue
        }
        guard entry.offset == UInt64(next), next <= offset - Record.size,
          let padded = Alignment.rounded(Int(entry.storedLength)),
          padded <= offset - Record.size - next
        else {
          throw SegmentIndexProblem(
            "entry \(hook * prompts + prompt) does not follow the one before")
        }
        next += Record.size + padded
      }
    }
    guard next == offset else { throw SegmentIndexProblem("there is a gap before it") }
    var sum = 0
    for prompt in 0..<prompts {
      let T = positions(prompt: prompt)
      guard T <= Limits.positions else {
        throw SegmentIndexProblem("a prompt has \(T) positions")
      }
      sum += T
    }
    guard sum == tokens else {
      throw SegmentIndexProblem("its prompts have \(sum) tokens, not \(tokens)")
    }
  }

  /// - Parameter prompt: counted from the segment's first.
  func place(hook: Int, prompt: Int) -> Place {
    let entry = bytes.withUnsafeBytes {
      IndexEntry.decode($0, at: (hook * promptCount + prompt) * IndexEntry.size)
    }
    return entry.offset == 0 && entry.storedLength == 0
      ? .derived(checksum: entry.checksum) : .stored(entry)
  }

  /// The number of tokens of a prompt, counted from the segment's first.
  func positions(prompt: Int) -> Int {
    let table = hookCount * promptCount * IndexEntry.size
    return bytes.withUnsafeBytes {
      Int(
        UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: table + 4 * prompt, as: UInt32.self)))
    }
  }
}

/// Why an index cannot be.
struct SegmentIndexProblem: Error {
  let what: String
  init(_ what: String) { self.what = what }
}
