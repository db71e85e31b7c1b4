import Glibc
import Model

/// Normal noise on some token embeddings of a prompt, which makes the corrupted run of causal tracing
/// (Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2.1): the clean
/// prompt, whose subject the model cannot read.
public struct EmbeddingNoise: Sendable, Equatable {
  /// Where it is added to hook_embed.
  public let positions: Range<Int>
  /// Which of the samples it is.
  public let sample: Int
  public let samples: NoiseSamples

  /// - Precondition: the samples are for as many positions, and have this one.
  public init(at positions: Range<Int>, sample: Int, of samples: NoiseSamples) {
    precondition(positions.count == samples.positions && 0..<samples.count ~= sample)
    self.positions = positions
    self.sample = sample
    self.samples = samples
  }

  /// Adds it to a prompt's token embeddings [T, D], in double precision, as numpy and torch do.
  func add(to embeddings: UnsafeMutablePointer<Float>) {
    let count = samples.positions * samples.width
    let target = embeddings + positions.lowerBound * samples.width
    for i in 0..<count {
      target[i] = Float(Double(target[i]) + samples.values[sample * count + i])
    }
  }
}

/// The noise of several runs of a prompt, the same for every prompt with as many positions: scale ×
/// `numpy.random.RandomState(seed).randn(samples, positions, D)`, as ROME's causal_trace.py draws it.
public struct NoiseSamples: Sendable, Equatable {
  public let count: Int
  public let positions: Int
  /// D.
  public let width: Int
  /// The standard deviation.
  public let deviation: Double
  public let seed: UInt32
  /// [count, positions, D].
  let values: [Double]

  public init(count: Int, positions: Int, width: Int, deviation: Double, seed: UInt32) {
    self.count = count
    self.positions = positions
    self.width = width
    self.deviation = deviation
    self.seed = seed
    var numbers = NormalNumbers(seed: seed)
    values = (0..<count * positions * width).map { _ in deviation * numbers.next() }
  }

  /// The values follow from the rest.
  public static func == (a: NoiseSamples, b: NoiseSamples) -> Bool {
    (a.count, a.positions, a.width) == (b.count, b.positions, b.width)
      && (a.deviation, a.seed) == (b.deviation, b.seed)
  }
}

/// The numbers of `numpy.random.RandomState(seed).randn`: the polar method (Marsaglia and Bray 1964),
/// which makes two at a time and gives the second one first.
private struct NormalNumbers {
  private var uniform: MersenneTwister
  private var waiting: Double?

  init(seed: UInt32) { uniform = MersenneTwister(seed: seed) }

  mutating func next() -> Double {
    if let number = waiting {
      waiting = nil
      return number
    }
    while true {
      let x = 2 * uniform.nextUnit() - 1
      let y = 2 * uniform.nextUnit() - 1
      let square = x * x + y * y
      guard square < 1, square != 0 else { continue }
      let factor = (-2 * log(square) / square).squareRoot()
      waiting = factor * x
      return factor * y
    }
  }
}

extension GPT2 {
  /// The standard deviation of all values of the embeddings of some tokens, with n − 1, each token as
  /// often as it is named; 0 for less than two values. Meng et al. 2022 take three times that of
  /// their subjects' tokens for the noise.
  ///
  /// - Precondition: the tokens are of the vocabulary.
  public func embeddingDeviation(of tokens: [Int32]) -> Double {
    var (count, mean, squares) = (0.0, 0.0, 0.0)  // Welford 1962
    let embedding = tokenEmbedding
    for token in tokens {
      let row = embedding.row(Int(token))
      for d in 0..<config.width {
        let value = Double(row[d])
        count += 1
        let distance = value - mean
        mean += distance / count
        squares += distance * (value - mean)
      }
    }
    return count < 2 ? 0 : (squares / (count - 1)).squareRoot()
  }
}
