/// A pair of runs that a patch goes between, and what is read from the patched run.
public struct PatchingPair: Sendable, Equatable {
  public var id: String?
  /// Numbers of the prompts in the cache.
  public var clean: Int
  /// The clean one's for a prompt that has no counterpart: it can only be ablated, or made noisy.
  public var corrupted: Int
  /// The right answer in the clean prompt; nil only where no metric reads it.
  public var answer: Int32?
  /// The answer that the corrupted prompt asks for; nil only where no metric reads it.
  public var wrongAnswer: Int32?
  /// The positions of each role, such as the subject, in both prompts.
  public var roles: [String: Range<Int>]
  /// What the pair's prompts were made from; nil if that is not known.
  public var template: String?
  /// What is added to the corrupted run's token embeddings; nil where the prompt itself is another.
  public var noise: EmbeddingNoise?

  public init(
    id: String? = nil, clean: Int, corrupted: Int, answer: Int32?, wrongAnswer: Int32?,
    roles: [String: Range<Int>] = [:], template: String? = nil, noise: EmbeddingNoise? = nil
  ) {
    self.id = id
    self.clean = clean
    self.corrupted = corrupted
    self.answer = answer
    self.wrongAnswer = wrongAnswer
    self.roles = roles
    self.template = template
    self.noise = noise
  }
}

/// What is asked of a model: pairs of prompts, and what is read from the logits of a run.
///
/// Conform to it to define a task of your own; `PatchEngine` runs any task.
public protocol PatchingTask: Sendable {
  var pairs: [PatchingPair] { get }
  /// At least one.
  var metrics: [any PatchMetric] { get }
}

/// Pairs that have a right and a wrong answer.
public struct AnswerTask: PatchingTask {
  public let pairs: [PatchingPair]
  public let metrics: [any PatchMetric]

  public init(pairs: [PatchingPair], metrics: [any PatchMetric] = [AnswerMetric.logitDiff]) {
    self.pairs = pairs
    self.metrics = metrics
  }
}
