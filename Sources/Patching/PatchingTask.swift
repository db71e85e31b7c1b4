/// A pair of runs that a patch goes between, and what is read from the patched run.
public struct PatchingPair: Sendable, Equatable {
  public var id: String?
  /// Numbers of the prompts in the cache.
  public var clean: Int
  public var corrupted: Int
  /// The right answer in the clean prompt.
  public var answer: Int32
  /// The answer that the corrupted prompt asks for.
  public var wrongAnswer: Int32

  public init(id: String? = nil, clean: Int, corrupted: Int, answer: Int32, wrongAnswer: Int32) {
    self.id = id
    self.clean = clean
    self.corrupted = corrupted
    self.answer = answer
    self.wrongAnswer = wrongAnswer
  }
}

/// What is asked of a model: pairs of prompts, and one number from the logits of a run.
///
/// Conform to it to define a task of your own; `PatchEngine` runs any task.
public protocol PatchingTask: Sendable {
  var pairs: [PatchingPair] { get }
  /// The tokens of a pair whose logits the metric reads, at the last position.
  func tokensRead(of pair: PatchingPair) -> [Int32]
  /// The metric of one run of a pair.
  ///
  /// - Parameter logits: those of `tokensRead(of: pair)`, in their order.
  func metric(of pair: PatchingPair, logits: [Float]) -> Float
}

/// logit[answer] − logit[wrong answer] at the last position (Wang et al. 2022, section 2).
public struct LogitDifferenceTask: PatchingTask {
  public let pairs: [PatchingPair]

  public init(pairs: [PatchingPair]) {
    self.pairs = pairs
  }

  public func tokensRead(of pair: PatchingPair) -> [Int32] { [pair.answer, pair.wrongAnswer] }

  public func metric(of pair: PatchingPair, logits: [Float]) -> Float { logits[0] - logits[1] }
}
