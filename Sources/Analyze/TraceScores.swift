import Patching

/// The scores of one hook, traced over facts.
///
/// A score is the metric with one position restored, the mean over the samples of noise; its indirect
/// effect is what that is more than with nothing restored.
struct TraceScores {
  let sweep: Sweep
  /// By fact.
  let facts: [FactScores]

  struct FactScores {
    /// T.
    let length: Int
    /// The metric of the clean run, and its mean over runs with noise: ROME's high_score and low_score.
    let high, low: Double
    /// [T, L].
    let scores: [Double]

    func score(position: Int, layer: Int) -> Double {
      scores[position * (scores.count / length) + layer]
    }
  }

  /// - Parameters:
  ///   - result: of pairs that are `samples` a fact, fact by fact.
  ///   - lengths: T by fact.
  init(_ result: SweepResult, samples: Int, lengths: [Int]) {
    sweep = result.sweep
    let layers = sweep.layers.count
    let longest = layers > 0 ? result.cells.count / layers : 0
    facts = lengths.enumerated().map { number, length in
      let pairs = number * samples..<(number + 1) * samples
      func mean(_ values: [Float]) -> Double {
        values.reduce(0) { $0 + Double($1) } / Double(values.count)
      }
      let scores = (0..<length).flatMap { position in
        (0..<layers).map { layer in
          mean(pairs.map { result.patched[layer * longest + position][$0] ?? .nan })
        }
      }
      return FactScores(
        length: length, high: Double(result.baselines[pairs.lowerBound].clean),
        low: mean(pairs.map { result.baselines[$0].corrupted }), scores: scores)
    }
  }
}

/// Where a token of a fact stands, as figure 2 of Meng et al. 2022 sums up its heatmaps: the subject's
/// first, middle and last token, the next one after it, the rest, and the last token of all.
enum TokenClass: String, CaseIterable {
  case first, middle, last, next, rest
  case end = "END"

  /// The positions of a fact that are of this class; those of a subject of one token are of two, and so
  /// is a last token that follows the subject.
  func positions(of subject: Range<Int>, length: Int) -> Range<Int> {
    let after = subject.upperBound
    return switch self {
    case .first: subject.prefix(1)
    case .middle: subject.dropFirst().dropLast()
    case .last: subject.suffix(1)
    case .next: (after..<length).prefix(1)
    case .rest: (after..<length).dropFirst().dropLast()
    case .end: (0..<length).suffix(1)
    }
  }
}

extension TraceScores {
  /// The average indirect effects of a class of tokens.
  struct Average {
    /// By layer; nil if no fact has such a token.
    var mean, standardError: [Double?]
    /// How many facts have one.
    var facts: Int
  }

  /// A fact's tokens of a class count as one, by their mean; the error is over facts.
  func average(_ kind: TokenClass, subjects: [Range<Int>]) -> Average {
    let layers = sweep.layers.count
    let effects: [[Double]] = zip(facts, subjects).compactMap { fact, subject in
      let positions = kind.positions(of: subject, length: fact.length)
      guard !positions.isEmpty else { return nil }
      return (0..<layers).map { layer in
        positions.reduce(0) { $0 + fact.score(position: $1, layer: layer) - fact.low }
          / Double(positions.count)
      }
    }
    let statistics = (0..<layers).map { layer in
      CellStatistics(
        effects: effects.map { $0[layer] }, resampling: Resampling(resamples: 0, permutations: 0))
    }
    return Average(
      mean: statistics.map(\.mean), standardError: statistics.map(\.standardError),
      facts: effects.count)
  }
}
