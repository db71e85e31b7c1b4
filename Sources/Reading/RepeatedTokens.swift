/// A sequence of n tokens and then the same sequence again, with one token or none before them, and
/// the attention that shows what a head does with repetitions.
///
/// Scores are means over a diagonal of the attention pattern of the 2n tokens, position i in it:
///
///     prev_token       A[i, i − 1]       i = 1 … 2n − 1
///     duplicate_token  A[i, i − n]       i = n … 2n − 1
///     induction        A[i, i − n + 1]   i = n − 1 … 2n − 1
///
/// as in TransformerLens's Exploratory Analysis demo, whose sequences have no token before them. A
/// token before them, such as <|endoftext|>, is neither a query nor a key of these diagonals.
public struct RepeatedTokens: Sendable, Equatable {
  /// The first position of the sequence: 0 or 1.
  public let first: Int
  /// n.
  public let period: Int

  public static let scores = ["prev_token", "duplicate_token", "induction"]

  /// nil if the tokens are not of that kind, or n is below 2.
  public init?(_ tokens: [Int32]) {
    let first = tokens.count % 2
    let period = tokens.count / 2
    guard period >= 2,
      tokens[first..<first + period].elementsEqual(tokens[(first + period)...])
    else { return nil }
    self.first = first
    self.period = period
  }

  /// The scores of a head, in the order of `scores`.
  ///
  /// - Parameter attention: [T, T], T = first + 2n.
  func scores(_ attention: UnsafePointer<Float>) -> [Float] {
    let length = first + 2 * period
    return [1, period, period - 1].map { offset in
      let sum = (first + offset..<length).reduce(0.0) {
        $0 + Double(attention[$1 * length + $1 - offset])
      }
      return Float(sum / Double(2 * period - offset))
    }
  }
}
