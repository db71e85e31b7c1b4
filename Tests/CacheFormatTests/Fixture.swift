import CacheFormat
import FileIO
import Glibc
import TestSupport
import Testing

extension SeededGenerator {
  /// Roughly normal: the sum of four uniform numbers.
  mutating func normal() -> Float {
    floats(4, in: -1...1).reduce(0, +)
  }
}

extension TemporaryDirectory {
  func path(_ name: String) -> String { path + "/" + name }
}

/// The real file system, but nothing waits for the disk.
struct UnsyncedFileSystem: FileSystem {
  private let real = SystemCalls()

  func create(_ path: String) throws(SystemError) -> Int32 { try real.create(path) }
  func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    try real.write(descriptor, bytes)
  }
  func synchronize(_ descriptor: Int32) {}
  func close(_ descriptor: Int32) throws(SystemError) { try real.close(descriptor) }
  func rename(_ old: String, _ new: String) throws(SystemError) { try real.rename(old, new) }
  func remove(_ path: String) throws(SystemError) { try real.remove(path) }
  func makeDirectory(_ path: String) throws(SystemError) { try real.makeDirectory(path) }
  func openDirectory(_ path: String) throws(SystemError) -> Int32 {
    try real.openDirectory(path)
  }
  func synchronizeDirectory(_ descriptor: Int32) {}
  func list(_ path: String) throws(SystemError) -> [String] { try real.list(path) }
}

/// A small capture: a plan, its prompts and all their arrays.
struct Capture {
  var plan: CachePlan
  var prompts: [Prompt]
  var pairs: [PromptPair]
  /// By hook, then prompt.
  var arrays: [[[Float]]]
  /// In how many pieces each array is given to the writer.
  var pieceCount = 1

  /// - Parameters:
  ///   - lengths: the number of tokens of each prompt.
  ///   - hooks: name and shape of each array; by default one of every kind of compressibility.
  init(
    lengths: [Int] = [3, 5, 2], hooks: [HookSpec] = Capture.mixedHooks,
    elementType: ElementType = .f32, segmentBytes: Int = 1 << 20, seed: UInt64 = 1
  ) {
    var generator = SeededGenerator(seed: seed)
    let model = ModelIdentity(
      name: "tiny", weightsDigest: String(repeating: "a", count: 64),
      tokenizerDigest: String(repeating: "b", count: 64), layers: 1, heads: 2, width: 8,
      headWidth: 4, mlpWidth: 16, vocabulary: 100, contextLength: 64)
    plan = CachePlan(
      tool: "patchbay test", model: model, weights: "raw", prependBOS: true, kernel: "none",
      promptFileName: "prompts.txt", promptFileDigest: String(repeating: "c", count: 64),
      promptCount: lengths.count, pairCount: 1, elementType: elementType,
      segmentBytes: segmentBytes, hooks: hooks)
    prompts = lengths.enumerated().map { number, T in
      Prompt(
        text: "prompt \(number) é\n", tokens: (0..<T).map { Int32($0 + number) },
        pieces: (0..<T).map { " p\($0)" })
    }
    pairs = [
      PromptPair(
        id: "one", clean: 0, corrupted: lengths.count > 1 ? 1 : nil, answer: 3, wrongAnswer: 4,
        roles: ["END": 2], subject: [1, 2]),
      PromptPair(clean: 0),
    ]
    arrays = hooks.map { hook in
      lengths.map { T in
        Capture.values(of: hook, count: hook.count(positions: T) ?? 0, using: &generator)
      }
    }
  }

  static let mixedHooks = [
    HookSpec(name: "blocks.0.hook_resid_pre", shape: [.positions, .fixed(8)]),
    HookSpec(name: "blocks.0.ln1.hook_scale", shape: [.positions, .fixed(1)]),
    HookSpec(
      name: "blocks.0.attn.hook_pattern", shape: [.fixed(2), .positions, .positions]),
    HookSpec(name: "blocks.0.mlp.hook_post", shape: [.positions, .fixed(16)]),
  ]

  /// Zeros above a diagonal for patterns, repeated values for MLPs, noise for the rest.
  private static func values(
    of hook: HookSpec, count: Int, using generator: inout SeededGenerator
  ) -> [Float] {
    (0..<count).map { index in
      if hook.name.hasSuffix("pattern") { return index % 3 == 0 ? generator.normal() : 0 }
      if hook.name.hasSuffix("post") { return Float(index % 4) }
      return generator.normal()
    }
  }

  /// Lets a prompt begin with the first tokens of another one, and the arrays that have a row for
  /// each token with its first rows. Derived arrays stay as they are.
  mutating func share(_ count: Int, of base: Int, with prompt: Int) {
    prompts[prompt].tokens.replaceSubrange(..<count, with: prompts[base].tokens[..<count])
    for (hook, spec) in plan.hooks.enumerated()
    where spec.recipe == nil && spec.shape.first == .positions
      && !spec.shape.dropFirst().contains(.positions)
    {
      let T = prompts[prompt].tokens.count
      let values = count * (arrays[hook][prompt].count / T)
      arrays[hook][prompt].replaceSubrange(..<values, with: arrays[hook][base][..<values])
    }
  }

  /// Writes what is missing, segments in order, as a capture with one thread does.
  ///
  /// - Parameter committed: called after each commit with the number of prompts.
  func write(
    to directory: String, start: CacheWriter.Start = .new,
    fileSystem: any FileSystem = UnsyncedFileSystem(), committed: (Int) -> Void = { _ in }
  ) throws(CacheError) {
    let writer = try CacheWriter(
      directory: directory, plan: plan, prompts: prompts, pairs: pairs, start: start,
      fileSystem: fileSystem)
    if writer.isComplete { return }
    for index in writer.committedSegments..<writer.segmentRanges.count {
      if let adopted = writer.adopt(index) {
        try writer.commit(adopted)
      } else {
        try writer.commit(try seal(segment: index, of: writer))
      }
      committed(writer.committedPrompts)
    }
    try writer.finish()
  }

  func seal(segment index: Int, of writer: CacheWriter) throws(CacheError) -> SealedSegment {
    let segment = try writer.openSegment(index)
    for hook in plan.hooks.indices {
      for prompt in segment.prompts {
        try arrays[hook][prompt].withUnsafeBufferPointer { (values) throws(CacheError) in
          let pieces = (0..<pieceCount).map { piece in
            UnsafeBufferPointer(
              rebasing: values[
                values.count * piece / pieceCount..<values.count * (piece + 1) / pieceCount])
          }
          try segment.append(hook: hook, prompt: prompt, values: pieces)
        }
      }
    }
    return try segment.seal()
  }

  /// Whether `reader` has the first prompts of this capture, bit for bit.
  func agrees(with reader: CacheReader, prompts: Int) throws -> Bool {
    for hook in plan.hooks.indices {
      for prompt in 0..<prompts {
        let values = try reader.read(hook: hook, prompt: prompt)
        guard bits(values) == bits(arrays[hook][prompt]) else { return false }
      }
    }
    return true
  }
}

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

func contents(_ path: String) throws -> [UInt8] { try readFile(path, limit: 1 << 30) }

/// Gives a file other contents in place: ext4 syncs a file that is truncated and written anew.
func overwrite(_ path: String, _ bytes: [UInt8]) throws {
  let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
  defer { close(descriptor) }
  try #require(pwrite(descriptor, bytes, bytes.count, 0) == bytes.count)
  try #require(ftruncate(descriptor, bytes.count) == 0)
}

/// The names of the files of a directory, sorted.
func fileNames(_ directory: String) throws -> [String] {
  try SystemCalls().list(directory).sorted()
}

/// The contents of every file of a directory, by name.
func allContents(_ directory: String) throws -> [String: [UInt8]] {
  try fileNames(directory).reduce(into: [:]) { $0[$1] = try contents(directory + "/" + $1) }
}
