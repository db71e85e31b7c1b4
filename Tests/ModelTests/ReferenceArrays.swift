import Foundation
import Testing

@testable import Model

/// Arrays that tools/make_reference.py wrote with Hugging Face and TransformerLens.
struct ReferenceArrays {
  let file: SafetensorsFile

  /// The path of a fixture, such as `odd/reference-raw.safetensors`.
  static func path(_ name: String) throws -> String {
    try #require(Bundle.module.resourceURL).appendingPathComponent("Fixtures/\(name)").path
  }

  init(_ name: String) throws {
    file = try SafetensorsFile(path: ReferenceArrays.path(name))
  }

  func floats(_ name: String) throws -> [Float] {
    let tensor = try #require(file.tensors[name], "\(name) is in \(file.path)")
    try #require(tensor.type == "F32")
    return file.bytes(of: tensor).withMemoryRebound(to: Float.self) { Array($0) }
  }

  func tokens(_ name: String) throws -> [Int32] {
    let tensor = try #require(file.tensors[name], "\(name) is in \(file.path)")
    try #require(tensor.type == "I32")
    return file.bytes(of: tensor).withMemoryRebound(to: Int32.self) { Array($0) }
  }

  /// The hooks that the file holds for a prompt, such as `p1`.
  func hooks(of prompt: String) -> [HookPoint] {
    file.tensors.keys.filter { $0.hasPrefix(prompt + "/") }
      .compactMap { HookPoint(name: String($0.dropFirst(prompt.count + 1))) }
  }
}

/// log softmax of each row of [rows, vocabulary] logits, in double precision.
func logSoftmax(_ logits: some Collection<Float>, vocabulary: Int) -> [Double] {
  let values = logits.map(Double.init)
  return stride(from: 0, to: values.count, by: vocabulary).flatMap { first in
    let row = values[first..<first + vocabulary]
    let top = row.max() ?? 0
    let total = top + log(row.reduce(0) { $0 + exp($1 - top) })
    return row.map { $0 - total }
  }
}

/// The largest difference between two arrays, infinite where one has another infinity, another
/// length or a NaN.
func largestDifference(_ a: [Float], _ b: [Float]) -> Double {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { largest, pair in
    if pair.0 == pair.1 { return largest }
    let difference = abs(Double(pair.0) - Double(pair.1))
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

/// The root of the mean square of the finite values.
func rootMeanSquare(_ values: [Float]) -> Double {
  let finite = values.filter(\.isFinite).map(Double.init)
  return (finite.reduce(0) { $0 + $1 * $1 } / Double(max(1, finite.count))).squareRoot()
}
