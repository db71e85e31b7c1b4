import CKernels
import Glibc
import TestSupport
import Testing

@Suite struct PointwiseKernels {
  @Test func geluEqualsItsDefinition() {
    let x = stride(from: Float(-30), through: 30, by: 0.0137).map { $0 } + [0, -0.0, 1e-30, -1e-30]
    var y = [Float](repeating: 0, count: x.count)
    pb_gelu_new(x, &y, x.count)
    for (x, y) in zip(x, y) {
      let v = Double(x)
      let u = (2 / Double.pi).squareRoot() * (v + 0.044715 * v * v * v)
      let expected = 0.5 * v * (1 + tanh(u))
      #expect(abs(Double(y) - expected) <= 4e-7 * max(1e-3, abs(expected)) + 1e-9, "gelu(\(x))")
    }
  }

  @Test func geluKeepsNaNAndInfinity() {
    let x: [Float] = [.nan, .infinity, -.infinity, 1e30, -1e30]
    var y = [Float](repeating: 7, count: x.count)
    pb_gelu_new(x, &y, x.count)
    #expect(y[0].isNaN)
    #expect(y[1] == .infinity && y[3] == 1e30)
    #expect(y[2].isNaN, "0.5 · -∞ · (1 + tanh(-∞)) is no number in PyTorch either")
    #expect(y[4] == 0)
  }

  @Test(arguments: [1, 3, 15, 16, 17, 80, 768])
  func layernormEqualsItsDefinition(width: Int) {
    var generator = SeededGenerator(seed: UInt64(width))
    let rows = 5
    let x = generator.floats(rows * width)
    var scale = [Float](repeating: 0, count: rows)
    var normalized = [Float](repeating: 0, count: rows * width)
    pb_layernorm(x, rows, width, 1e-5, &scale, &normalized)
    for row in 0..<rows {
      let values = x[row * width..<(row + 1) * width].map(Double.init)
      let mean = values.reduce(0, +) / Double(width)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
      let expected = (variance + Double(Float(1e-5))).squareRoot()
      #expect(abs(Double(scale[row]) - expected) < 1e-6 * expected)
      for i in 0..<width {
        let value = Double(normalized[row * width + i])
        #expect(abs(value - (values[i] - mean) / expected) < 2e-6)
      }
    }
  }
}

/// One head of causal attention, in double precision and without any cleverness.
struct NaiveAttention {
  let scores: [[Double]]
  let pattern: [[Double]]
  let z: [[Double]]

  init(q: [Float], k: [Float], v: [Float], length: Int, headWidth: Int, divisor: Double) {
    var scores: [[Double]] = []
    var pattern: [[Double]] = []
    var z: [[Double]] = []
    for i in 0..<length {
      var row = [Double](repeating: -.infinity, count: length)
      for j in 0...i {
        var dot = 0.0
        for d in 0..<headWidth {
          dot += Double(q[i * headWidth + d]) * Double(k[j * headWidth + d])
        }
        row[j] = dot / divisor
      }
      let top = row.max() ?? 0
      let exponentials = row.map { exp($0 - top) }
      let sum = exponentials.reduce(0, +)
      let weights = exponentials.map { $0 / sum }
      scores.append(row)
      pattern.append(weights)
      z.append(
        (0..<headWidth).map { d in
          (0..<length).reduce(0) { $0 + weights[$1] * Double(v[$1 * headWidth + d]) }
        })
    }
    self.scores = scores
    self.pattern = pattern
    self.z = z
  }
}

@Suite struct AttentionKernels {
  struct Shape: CustomTestStringConvertible, Sendable {
    let length, headWidth: Int
    var testDescription: String { "T \(length), K \(headWidth)" }
  }

  static let shapes = [
    (1, 8), (2, 16), (3, 5), (4, 64), (5, 20), (15, 64), (16, 16), (17, 16), (31, 33), (70, 64),
  ].map { Shape(length: $0.0, headWidth: $0.1) }

  /// Runs the kernels for positions `start ..< length`, with rows of scores that have `room` values more than
  /// positions.
  func run(
    q: [Float], k: [Float], v: [Float], length: Int, start: Int, headWidth: Int, divisor: Float,
    room: Int = 0
  ) -> (scores: [Float], pattern: [Float], z: [Float]) {
    let live = length - start
    let columns = length + room
    var packed = [Float](repeating: .nan, count: headWidth * ((length + 15) / 16 * 16))
    pb_pack_keys(k, headWidth, start, headWidth, &packed, 0)
    k.withUnsafeBufferPointer {
      pb_pack_keys(
        $0.baseAddress! + start * headWidth, headWidth, live, headWidth, &packed, start)
    }
    // Nothing is written behind the last row.
    let canary: [Float] = Array(repeating: 77, count: 16)
    var scores = [Float](repeating: .nan, count: live * columns) + canary
    q.withUnsafeBufferPointer {
      pb_attention_scores(
        $0.baseAddress! + start * headWidth, headWidth, live, start, headWidth, packed, divisor,
        &scores, columns)
    }
    var pattern = scores
    pb_causal_softmax(scores, columns, live, start, &pattern)
    #expect(Array(scores[(live * columns)...]) == canary)
    #expect(Array(pattern[(live * columns)...]) == canary)
    var z = [Float](repeating: .nan, count: live * headWidth)
    pb_attention_mix(
      pattern, columns, live, start, v, headWidth, 0, start, headWidth, &z, headWidth)
    v.withUnsafeBufferPointer {
      pb_attention_mix(
        pattern, columns, live, start, $0.baseAddress! + start * headWidth, headWidth, start, live,
        headWidth, &z, headWidth)
    }
    func joined(_ rows: [Float]) -> [Float] {
      (0..<live).flatMap { rows[$0 * columns..<$0 * columns + length] }
    }
    return (joined(scores), joined(pattern), z)
  }

  @Test(arguments: shapes) func equalsTheNaiveForm(shape: Shape) {
    let (length, headWidth) = (shape.length, shape.headWidth)
    var generator = SeededGenerator(seed: UInt64(length * 1000 + headWidth))
    let q = generator.floats(length * headWidth)
    let k = generator.floats(length * headWidth)
    let v = generator.floats(length * headWidth)
    let naive = NaiveAttention(
      q: q, k: k, v: v, length: length, headWidth: headWidth, divisor: 2.5)
    let fast = run(
      q: q, k: k, v: v, length: length, start: 0, headWidth: headWidth, divisor: 2.5)
    for i in 0..<length {
      for j in 0..<length {
        let score = fast.scores[i * length + j]
        if j > i {
          #expect(score == -.infinity)
          #expect(fast.pattern[i * length + j] == 0)
        } else {
          #expect(abs(Double(score) - naive.scores[i][j]) < 2e-5)
          #expect(abs(Double(fast.pattern[i * length + j]) - naive.pattern[i][j]) < 2e-6)
        }
      }
      for d in 0..<headWidth {
        #expect(abs(Double(fast.z[i * headWidth + d]) - naive.z[i][d]) < 1e-5)
      }
    }
  }

  @Test(arguments: shapes) func laterRowsAloneGiveTheSameBits(shape: Shape) {
    let (length, headWidth) = (shape.length, shape.headWidth)
    var generator = SeededGenerator(seed: UInt64(length * 77 + headWidth))
    let q = generator.floats(length * headWidth)
    let k = generator.floats(length * headWidth)
    let v = generator.floats(length * headWidth)
    let whole = run(q: q, k: k, v: v, length: length, start: 0, headWidth: headWidth, divisor: 4)
    // With rows that are whole vectors, and with others.
    for (start, room) in (0..<length).flatMap({ start in
      [0, 1, -length & 15, 17].map { (start, $0) }
    }) {
      let part = run(
        q: q, k: k, v: v, length: length, start: start, headWidth: headWidth, divisor: 4,
        room: room)
      #expect(part.scores == Array(whole.scores[(start * length)...]))
      #expect(part.pattern == Array(whole.pattern[(start * length)...]))
      #expect(part.z == Array(whole.z[(start * headWidth)...]))
    }
  }

  /// Whether the divisor has an inverse without error or not.
  @Test(arguments: [0.125, 2.5, 4, 8, 11.3] as [Float]) func scoresAreDivided(divisor: Float) {
    var generator = SeededGenerator(seed: 5)
    let (length, headWidth) = (21, 33)
    let q = generator.floats(length * headWidth)
    let k = generator.floats(length * headWidth)
    func scores(_ divisor: Float) -> [Float] {
      run(q: q, k: k, v: k, length: length, start: 0, headWidth: headWidth, divisor: divisor).scores
    }
    #expect(scores(divisor) == scores(1).map { $0 / divisor })
  }

  @Test func rowsThatAreNotNumbersBecomeZero() {
    let scores: [Float] = [.nan, -.infinity, 1, .nan]
    var pattern = [Float](repeating: 7, count: 4)
    pb_causal_softmax(scores, 2, 2, 0, &pattern)
    #expect(pattern == [0, 0, 0, 0])
  }

  @Test func aMaskedScoreGetsNoWeight() {
    let scores: [Float] = [-.infinity, 3, 3]
    var pattern = [Float](repeating: 7, count: 3)
    pb_causal_softmax(scores, 3, 1, 2, &pattern)
    #expect(pattern == [0, 0.5, 0.5])
  }
}
