import CKernels
import Glibc
import Model

/// A number that is read from the logits at the last position of a run.
public protocol PatchMetric: Sendable {
  var name: String { get }
  /// The tokens whose logits it reads, at least one; nil for the whole vocabulary.
  func tokensRead(of pair: PatchingPair) -> [Int32]?
  /// - Parameters:
  ///   - logits: those of `tokensRead(of: pair)` in their order, or of the vocabulary [V].
  ///   - clean: the same of the pair's clean run.
  func value(of pair: PatchingPair, logits: Span<Float>, clean: Span<Float>) -> Float
  /// Whether it reads the clean run's logits. If it reads the whole vocabulary and not these, `clean` is empty.
  var readsCleanRun: Bool { get }
}

extension PatchMetric {
  public var readsCleanRun: Bool { true }
}

/// The metrics of a pair that has a right and a wrong answer.
public enum AnswerMetric: String, PatchMetric, CaseIterable {
  /// logit[answer] − logit[wrong answer] (Wang et al. 2022, section 2).
  case logitDiff = "logit-diff"
  /// logit[answer]. Of processed weights it is less the mean over the vocabulary.
  case logit
  /// p[answer], p the softmax of the logits (Meng et al. 2022, section 2.1).
  case probability = "prob"
  /// log p[answer], natural logarithm.
  case logProbability = "logprob"
  /// The cross-entropy of the answer, −log p[answer].
  case loss
  /// KL(clean ‖ run) = Σ p_clean · (log p_clean − log p) over the vocabulary, in nats; 0 for the clean
  /// run.
  case klDivergence = "kl"
  /// The number of tokens with a larger logit than the answer; 0 if it is the model's own answer.
  case rank

  public var name: String { rawValue }

  public func tokensRead(of pair: PatchingPair) -> [Int32]? {
    switch self {
    case .logitDiff:
      guard let answer = pair.answer, let wrongAnswer = pair.wrongAnswer else {
        preconditionFailure("a logit difference of a pair without answers")
      }
      return [answer, wrongAnswer]
    case .logit:
      guard let answer = pair.answer else {
        preconditionFailure("a logit of a pair without an answer")
      }
      return [answer]
    default: return nil
    }
  }

  public func value(of pair: PatchingPair, logits: Span<Float>, clean: Span<Float>) -> Float {
    switch self {
    case .logitDiff: logits[0] - logits[1]
    case .logit: logits[0]
    case .probability: Float(exp(AnswerMetric.logProbability(pair.answer, logits)))
    case .logProbability: Float(AnswerMetric.logProbability(pair.answer, logits))
    case .loss: Float(-AnswerMetric.logProbability(pair.answer, logits))
    case .klDivergence: Float(AnswerMetric.divergence(of: logits, from: clean))
    case .rank: AnswerMetric.rank(of: pair.answer, logits)
    }
  }

  /// Whether it reads the answer's logit.
  public var readsAnswer: Bool { self != .klDivergence }

  public var readsCleanRun: Bool { self == .klDivergence }

  /// Whether it reads the wrong answer's logit.
  public var readsWrongAnswer: Bool { self == .logitDiff }

  private static func logProbability(_ token: Int32?, _ logits: Span<Float>) -> Double {
    guard let token else { return .nan }
    return Double(logits[Int(token)]) - logSumExp(logits)
  }

  private static func divergence(of logits: Span<Float>, from clean: Span<Float>) -> Double {
    // Σ p_clean (clean - run) + ln Σ e^run - ln Σ e^clean, all in double precision: a small divergence
    // is a difference of large numbers.
    let (top, cleanTop) = (Double(largest(logits)), Double(largest(clean)))
    var (total, cleanTotal, difference) = (0.0, 0.0, 0.0)
    for token in logits.indices {
      let weight = exp(Double(clean[token]) - cleanTop)
      cleanTotal += weight
      total += exp(Double(logits[token]) - top)
      difference += weight * (Double(clean[token]) - Double(logits[token]))
    }
    return difference / cleanTotal + (top + log(total)) - (cleanTop + log(cleanTotal))
  }

  private static func largest(_ logits: Span<Float>) -> Float {
    logits.withUnsafeBufferPointer { $0.max() } ?? 0
  }

  private static func rank(of token: Int32?, _ logits: Span<Float>) -> Float {
    guard let token else { return .nan }
    let own = logits[Int(token)]
    guard !own.isNaN else { return .nan }
    return Float(logits.withUnsafeBufferPointer { $0.count { $0 > own } })
  }
}

/// ln Σ exp(x) of some logits, at least one, to about 1e-6; not a number if one is none.
public func logSumExp(_ logits: Span<Float>) -> Double {
  logits.withUnsafeBufferPointer { logits in
    logits.baseAddress.map { pb_log_sum_exp($0, logits.count) } ?? .nan
  }
}

/// Rows of ln_final.hook_normalized at the last position of some runs of a pair.
struct FinalRows {
  let pair: PatchingPair
  /// [count, D]
  let rows: [Float]
  /// [D], of the pair's clean run.
  let clean: [Float]
}

/// Reads metrics from rows of ln_final.hook_normalized.
struct MetricReader: Sendable {
  let model: GPT2
  let metrics: [any PatchMetric]

  /// Rows whose logits are held at a time, at most: of GPT-2's vocabulary 26 MB. Fewer take W_U from memory more
  /// often.
  private static let rowsAtATime = 128

  /// What a thread keeps from call to call: fresh memory is slow.
  final class Scratch {
    let products = MultiplyScratch()
    let rows = PassBuffer()  // [count, D]
    let logits = PassBuffer()  // [count, V]
  }

  /// The metrics of some runs of some pairs. W_U, which is larger than any cache, is read once for many
  /// runs, whosever they are.
  ///
  /// - Parameter scratch: counts the operations.
  /// - Returns: by element of `all`, run and metric.
  func values(of all: [FinalRows], scratch: Scratch = Scratch()) -> [[[Float]]] {
    let (width, vocabulary) = (model.config.width, model.config.vocabulary)
    let tokens = all.map { rows in metrics.map { $0.tokensRead(of: rows.pair) } }
    var values = all.map { rows in
      [[Float]](
        repeating: Array(repeating: 0, count: metrics.count), count: rows.rows.count / width)
    }
    for (index, some) in all.enumerated() {
      for (number, metric) in metrics.enumerated() {
        guard let tokens = tokens[index][number] else { continue }
        let count = values[index].count
        let logits = model.unembedding.logits(
          of: some.clean + some.rows, count: 1 + count, tokens: tokens)
        for run in 0..<count {
          let (clean, own) = (logits[0], logits[1 + run])
          values[index][run][number] = metric.value(
            of: some.pair, logits: own.span, clean: clean.span)
        }
      }
    }
    // The clean run of an element stands before its others.
    var wanted: [(index: Int, run: Int?)] = []
    for index in all.indices {
      let whole = metrics.indices.filter { tokens[index][$0] == nil }
      guard !whole.isEmpty, !values[index].isEmpty else { continue }
      if whole.contains(where: { metrics[$0].readsCleanRun }) { wanted.append((index, nil)) }
      wanted += values[index].indices.map { (index, $0) }
    }
    var clean: [Float] = []
    let parts = (wanted.count + MetricReader.rowsAtATime - 1) / MetricReader.rowsAtATime
    for part in 0..<parts {
      let some = wanted[part * wanted.count / parts..<(part + 1) * wanted.count / parts]
      let rows = scratch.rows.need(some.count * width)
      for (place, (index, run)) in some.enumerated() {
        let row =
          run.map { all[index].rows[$0 * width..<($0 + 1) * width] } ?? all[index].clean[...]
        for (d, value) in row.enumerated() { rows[place * width + d] = value }
      }
      // Room for the most from the first time on: what is not used yet costs nothing.
      let found = scratch.logits.need(MetricReader.rowsAtATime * vocabulary)
      model.unembedding.linear.apply(rows, rows: some.count, into: found, scratch: scratch.products)
      for (place, (index, run)) in some.enumerated() {
        let logits = UnsafeBufferPointer(start: found + place * vocabulary, count: vocabulary)
        guard let run else {
          clean = Array(logits)
          continue
        }
        for (number, metric) in metrics.enumerated() where tokens[index][number] == nil {
          let cleanLogits = metric.readsCleanRun ? clean : []
          values[index][run][number] = metric.value(
            of: all[index].pair, logits: logits.span, clean: cleanLogits.span)
        }
      }
    }
    return values
  }
}
