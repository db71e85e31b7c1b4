import Model
import Patching

/// What is read from the logits: one token's, or the difference of two.
public enum LogitTarget: String, Sendable, CaseIterable {
  /// logit[answer] − logit[wrong answer].
  case logitDiff = "logit-diff"
  /// logit[answer].
  case logit

  func tokens(of pair: PatchingPair) -> LogitTokens? {
    guard let answer = pair.answer else { return nil }
    switch self {
    case .logitDiff: return pair.wrongAnswer.map { LogitTokens(answer: answer, wrong: $0) }
    case .logit: return LogitTokens(answer: answer, wrong: nil)
    }
  }
}

struct LogitTokens: Hashable {
  let answer: Int32
  let wrong: Int32?
}

/// A direction of the residual stream along which it moves a logit or a difference of logits,
/// TransformerLens's `tokens_to_residual_directions`, as the final LayerNorm hands it on.
///
/// With u = W_U[:, answer] − W_U[:, wrong] and ln_final's weight w and bias b, which are 1 and 0 once
/// they are folded, the logit difference of a stream x is
///
///     ((x − mean x) / s ∘ w + b) · u + b_U[answer] − b_U[wrong] = x · d / s + constant,
///     d = w ∘ u − mean(w ∘ u),   constant = b · u + b_U[answer] − b_U[wrong]
///
/// because x − mean x and d are orthogonal to the vector of ones. So x need not be centred.
struct LogitDirection {
  /// d, [D].
  let values: [Float]
  let constant: Double

  /// - Parameter columns: of the model's unembedding.
  /// - Precondition: the tokens are in the vocabulary.
  init(_ tokens: LogitTokens, of model: GPT2, columns: TokenColumns) {
    let unembedding = model.unembedding
    var u = columns.column(tokens.answer).map(Double.init)
    var constant = Double(unembedding.bias?.pointer[Int(tokens.answer)] ?? 0)
    if let wrong = tokens.wrong {
      for (i, value) in columns.column(wrong).enumerated() { u[i] -= Double(value) }
      constant -= Double(unembedding.bias?.pointer[Int(wrong)] ?? 0)
    }
    if let ln = model.lnFinal {
      for i in u.indices {
        constant += Double(ln.bias.pointer[i]) * u[i]
        u[i] *= Double(ln.weight.pointer[i])
      }
    }
    let mean = u.reduce(0, +) / Double(max(1, u.count))
    values = u.map { Float($0 - mean) }
    self.constant = constant
  }
}
