import Foundation
import TestSupport
import Testing

/// A model, prompts and caches of them that many tests read and none changes.
struct SharedCache: Sendable {
  let directory: TemporaryDirectory
  var model: String { directory.path("model") }
  /// Another model of the same shape.
  var otherModel: String { directory.path("other-model") }
  var prompts: String { directory.path("pairs.txt") }
  /// Captured with the defaults.
  var path: String { directory.path("cache") }
  /// Captured from `mixedPrompts`.
  var mixed: String { directory.path("mixed-cache") }
  var mixedPrompts: String { directory.path("mixed.jsonl") }

  /// Four pairs of ten characters, and so of eleven tokens, which share one clean prompt between
  /// the first and the last: seven distinct prompts.
  static let pairLines = [
    "ab cd ef g\tab cx ef g\tA\tB", "the cat sa\tthe dog sa\tm\to",
    "0123456789\t9123456780\tQ\tR", "ab cd ef g\tab cd eg g\tf\tg",
  ]
  static let promptCount = 7
  static let positions = 11

  /// Pairs of different lengths, one whose own prompts differ in length, and rows that cannot be
  /// patched.
  private static let mixedLines = [
    #"{"id": "short", "clean": "abcd", "corrupted": "abxd", "answer": "A", "wrong_answer": "B"}"#,
    #"{"id": "long", "clean": "abcdefgh", "corrupted": "abxdefgh", "answer": "A", "wrong_answer": "B", "roles": {"S": "c", "END": -1}, "subject": "cd"}"#,
    #"{"id": "uneven", "clean": "abcdef", "corrupted": "abc", "answer": "A", "wrong_answer": "B"}"#,
    #"{"clean": "no partner"}"#,
    #"{"clean": "no answer?", "corrupted": "no-answer?"}"#,
  ]

  private static let shared = Result { try SharedCache() }

  static func made() throws -> SharedCache { try shared.get() }

  private init() throws {
    directory = try TemporaryDirectory()
    try TinyModel().write(to: directory.path("model"))
    try TinyModel(seed: 7).write(to: directory.path("other-model"))
    try directory.write(
      "pairs.txt",
      "# clean, corrupted, answer, wrong answer\n"
        + SharedCache.pairLines.joined(separator: "\n") + "\n")
    try directory.write("mixed.jsonl", SharedCache.mixedLines.joined(separator: "\n"))
    for (prompts, cache) in [("pairs.txt", "cache"), ("mixed.jsonl", "mixed-cache")] {
      try Program.capture.succeed(
        "--model", directory.path("model"), "--prompts", directory.path(prompts),
        "--out", directory.path(cache), "--quiet")
    }
    // A static object is never released.
    atexit {
      guard let shared = try? SharedCache.made() else { return }
      try? FileManager.default.removeItem(atPath: shared.directory.path)
    }
  }
}

/// What `analyze patch --json` prints.
struct PatchFile: Decodable {
  struct Identity: Decodable, Equatable {
    let directory, plan, weights, tokenizer, promptFile, weightProcessing, kernel: String
  }
  struct Pair: Decodable, Equatable {
    let index: Int
    let id: String?
    let clean: Int
    let corrupted: Int?
    let cleanMetric, corruptedMetric: Double?
  }
  struct Means: Decodable, Equatable {
    let clean, corrupted: Double?
  }
  struct Sweep: Decodable, Equatable {
    let hook: String
    let layers: [Int]
    let position: Int?
    let role: String?
    let axes: [String]
    let shape: [Int]
    let labels: [String: [String]]
    let metric, effect, effectMeanOfRatios: [Double?]
    let pairs: [Int]
    let gflop: Double
  }
  struct Timing: Decodable {
    let loadS, sweepS, gflop: Double
    let kernel: String
    let threads: Int
  }

  let tool: String
  let command: [String]
  let direction, metric, normalisation, kernel: String
  let cache: Identity
  let warnings: [String]
  let pairs: [Pair]
  let baselines: Means
  let sweeps: [Sweep]
  let timing: Timing
}

extension Answer {
  func patchFile() throws -> PatchFile {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(PatchFile.self, from: Data(output.utf8))
  }
}

/// Runs `analyze patch --json` on a cache.
func patch(
  _ cache: String, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
) throws -> PatchFile {
  let answer = try Program.analyze.run(["patch", "--cache", cache, "--json"] + arguments)
  try #require(answer.status == 0, "\(answer)", sourceLocation: sourceLocation)
  return try answer.patchFile()
}
