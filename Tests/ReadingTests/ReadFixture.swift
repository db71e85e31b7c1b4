import CacheFormat
import Foundation
import Model
import Patching
import TestSupport

@testable import Reading

/// A fixture model of ModelTests, what TransformerLens read of it (tools/make_reading_reference.py),
/// and a cache of the same prompts.
final class ReadFixture: Sendable {
  let model: GPT2
  let arrays: ReferenceArrays
  /// p0, p1, p2, and then r0, r1.
  let tokens: [[Int32]]
  let cache: CacheReader
  let prompts: [Prompt]
  private let directory: TemporaryDirectory

  static let names = ["p0", "p1", "p2", "r0", "r1"]

  static func path(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Fixtures/\(name)").path
  }

  /// - Parameters:
  ///   - folder: tiny or odd.
  ///   - weights: transformerlens or raw.
  init(_ folder: String, _ weights: WeightProcessing) throws {
    model = try GPT2(directory: ReferenceArrays.path(folder), processing: weights)
    let arrays = try ReferenceArrays(
      path: ReadFixture.path("\(folder)-\(weights.rawValue).safetensors"))
    self.arrays = arrays
    tokens = try ReadFixture.names.map { try arrays.tokens("\($0)/tokens") }
    prompts = tokens.map { Prompt(text: "", tokens: $0, pieces: $0.map { "\($0)" }) }
    directory = try TemporaryDirectory()
    cache = try writeCache(model, prompts, to: directory.path + "/cache")
  }

  /// p0, p1 and p2 with their answers.
  func read(roles: [String: Range<Int>] = [:]) throws -> [ReadPrompt] {
    try (0..<3).map { number in
      let answers = try arrays.tokens("p\(number)/answers")
      return ReadPrompt(
        PatchingPair(
          clean: number, corrupted: number, answer: answers[0], wrongAnswer: answers[1],
          roles: roles), run: .clean, prompts: prompts)
    }
  }

  /// TransformerLens's names of the components.
  static func labels(_ folder: String, _ split: LogitAttribution.Split) throws -> [String] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path("\(folder)-labels.json")))
    let all = try JSONDecoder().decode([String: [String]].self, from: data)
    return all[key(split)] ?? []
  }

  static func key(_ split: LogitAttribution.Split) -> String {
    split == .fullMLP ? "full_mlp" : split.rawValue
  }
}

/// The mean over those of p0, p1, p2 that are long enough of a reference array [rows, T] at each
/// position, row by row.
func referenceMeans(_ fixture: ReadFixture, _ key: String, columns: Int) throws -> [Double] {
  let arrays = try (0..<3).map { try fixture.arrays.floats("p\($0)/\(key)") }
  let lengths = (0..<3).map { fixture.tokens[$0].count }
  let rows = arrays[0].count / lengths[0]
  return (0..<rows * columns).map { cell in
    let (row, column) = (cell / columns, cell % columns)
    let values = (0..<3).filter { column < lengths[$0] }.map {
      Double(arrays[$0][row * lengths[$0] + column])
    }
    return values.reduce(0, +) / Double(values.count)
  }
}

/// The largest difference; infinite where one has no value and the other one.
func largestDifference(_ a: [Double?], _ b: [Double?]) -> Double {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { largest, pair in
    switch pair {
    case (nil, nil): return largest
    case (let x?, let y?): return max(largest, (x - y).isNaN ? .infinity : abs(x - y))
    default: return .infinity
    }
  }
}

let fixtureKinds: [(String, WeightProcessing)] = [
  ("tiny", .transformerlens), ("tiny", .raw), ("odd", .transformerlens), ("odd", .raw),
]
