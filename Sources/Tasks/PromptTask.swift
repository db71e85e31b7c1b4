import Patching

/// Something that prompt files can be made of: what a row says, and where its roles stand.
///
/// Conform to it to make prompts of your own; `TaskRows` draws the rows and checks each of them
/// against a tokenizer. (What is read from the runs of a model is a `PatchingTask`.)
public protocol PromptTask: Sendable {
  /// What ids begin with, such as `ioi`.
  var name: String { get }
  /// How many rows there are, each with the same texts at every draw but for its corruption; nil if
  /// rows are drawn at random, as many as are wanted.
  var fixedCount: Int? { get }
  /// Draws a row. Drawn again with other random numbers if the tokenizer refuses it.
  ///
  /// - Parameter number: counted from 0, below `fixedCount`; with it, templates can take turns.
  func draft(_ number: Int, using random: inout SplitMix64) -> RowDraft
}

extension PromptTask {
  public var fixedCount: Int? { nil }
}

/// A row before it was seen by a tokenizer.
public struct RowDraft: Sendable, Equatable {
  /// With the roles as marks. END, the last token, need not be marked.
  public var clean: MarkedText
  /// nil for prompts to be ablated or traced, not patched.
  public var corrupted: String?
  /// What follows the clean prompt: one token.
  public var answer: String
  /// What the corrupted prompt calls for: one token.
  public var wrongAnswer: String?
  public var template: String?
  /// A text that occurs once in the clean prompt.
  public var subject: String?
  /// The tokens that the clean prompt must have, without `<|endoftext|>`; nil for whatever it has.
  public var tokens: [Int32]?
  /// Where the row comes from, in words, for messages.
  public var source: String?

  public init(
    clean: MarkedText, corrupted: String?, answer: String, wrongAnswer: String?,
    template: String? = nil, subject: String? = nil, tokens: [Int32]? = nil, source: String? = nil
  ) {
    self.clean = clean
    self.corrupted = corrupted
    self.answer = answer
    self.wrongAnswer = wrongAnswer
    self.template = template
    self.subject = subject
    self.tokens = tokens
    self.source = source
  }
}
