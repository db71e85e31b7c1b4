import FoundationEssentials
import Model
import Patching
import Terminal

/// The part of `patch.html` that shows attention patterns: without script that of the head with the
/// largest effect on the first clean prompt, with script those of all heads and pairs that the page
/// carries.
struct AttentionSection {
  private let patterns: AttentionPatterns
  private let figures: PatchFigures
  private let layout: AttentionLayout

  init(_ figures: PatchFigures) {
    self.figures = figures
    patterns = AttentionPatterns(figures)
    let runs = patterns.runs
    let changes = patterns.pairs.flatMap { pair in
      pair.differs.map {
        ($0, "\(runs[pair.clean].tokens[$0]) → \(runs[pair.corrupted].tokens[$0])")
      }
    }
    let places = runs.flatMap { Array($0.tokens.enumerated()) }.map { ($0.offset, $0.element) }
    layout = AttentionLayout(labels: (places + changes).map(AttentionLayout.label))
  }

  /// Empty if no sweep has heads.
  var html: String {
    guard patterns.isWanted else { return "" }
    let notes = patterns.notes.map { "<li>\(escaped($0))</li>\n" }.joined()
    return """
      <section id="attention" aria-labelledby="attention-title">
      <h2 id="attention-title">Attention\(picture)\
      \(notes.isEmpty ? "" : "<ul class=\"notes\">\n\(notes)</ul>\n")</section>

      """
  }

  /// From the end of the title to the picture's last line.
  private var picture: String {
    guard let head = patterns.heads.first, let pair = patterns.pairs.first else { return "</h2>\n" }
    let run = patterns.runs[pair.clean]
    let what = "\(head.name), clean prompt, pair \(figures.pairName(pair.number))"
    let svg = AttentionSVG(
      weights: run.weights[0], tokens: run.tokens, differs: pair.differs, layout: layout,
      title: "Attention weights of \(what)")
    let heads = patterns.heads.map { "\($0.name)   \(reason($0))" }
    let pairs = patterns.pairs.map { figures.pairName($0.number) }
    // Ablated prompts have no counterpart.
    let hasCorrupted = patterns.pairs.contains { $0.clean != $0.corrupted }
    let choosers =
      chooser("attention-head", "Head", heads) + chooser("attention-pair", "Pair", pairs)
      + chooser(
        "attention-run", "Prompt",
        hasCorrupted ? ["clean", "corrupted", "clean − corrupted"] : ["clean"])
    return """
       <span>\(escaped(what))</span></h2>
      <form class="controls" hidden>
      \(choosers)</form>
      <p class="reading">Each row is a query, a position that attends, and shows how its attention is \
      shared out among the keys, itself and the positions before it; the weights of a row sum to 1. \
      \(heads.count == 1 ? "The head has" : "The \(heads.count) heads have") the largest \
      \(heads.count == 1 ? "effect" : "effects") of the sweeps above.</p>
      <figure>
      <div class="scroll">
      \(svg.element())</div>
      <figcaption>\(run.weights[0].lastRow(tokens: run.tokens))</figcaption>
      </figure>

      """
  }

  /// The sweep in which a head has its largest effect, and that effect.
  private func reason(_ head: AttentionPatterns.Head) -> String {
    let figure = figures.figures[head.figure]
    let metric = figures.report.metrics.count > 1 ? " \(figure.result.metric)" : ""
    return "\(figure.result.sweep.name)\(metric) \(signed(head.effect, 4))"
  }

  /// What the script reads; nil if there is no picture.
  var data: Content? {
    guard !patterns.heads.isEmpty, !patterns.pairs.isEmpty else { return nil }
    return Content(
      one: Int(AttentionWeights.one), layout: layout,
      heads: patterns.heads.map { .init(name: $0.name, layer: "L\($0.layer)", head: $0.head) },
      pairs: patterns.pairs.map {
        .init(
          pair: $0.number, name: figures.pairName($0.number), clean: $0.clean,
          corrupted: $0.corrupted, differs: $0.differs)
      },
      runs: patterns.runs.map { .init(tokens: $0.tokens, patterns: $0.weights.map(\.text)) })
  }

  struct Content: Encodable {
    struct Head: Encodable {
      let name, layer: String
      let head: Int
    }
    struct Pair: Encodable {
      /// The number among the page's pairs.
      let pair: Int
      let name: String
      let clean, corrupted: Int
      let differs: [Int]
    }
    struct Run: Encodable {
      let tokens: [String]
      /// By head, `AttentionWeights.text`.
      let patterns: [String]
    }

    /// The units of a weight of 1; what has more is not a number.
    let one: Int
    let layout: AttentionLayout
    let heads: [Head]
    let pairs: [Pair]
    let runs: [Run]
  }
}
