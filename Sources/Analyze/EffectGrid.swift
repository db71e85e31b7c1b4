import CacheFormat
import Model
import Patching
import Terminal

/// The tokens at the positions of some pairs, to label an axis with.
struct TokenLabels: Encodable, Equatable {
  /// By position, as `tokenText` writes them; empty where pairs differ in length.
  var texts: [String] = []
  /// Where the texts are of the first pair only, because others have another token there.
  var varies: [Bool] = []
  /// Where a clean prompt has another token than its corrupted one.
  var differs: [Bool] = []

  init() {}

  /// The labels of several pairs, from the first clean prompt; none if lengths differ.
  init(_ pairs: [PatchingPair], prompts: [Prompt]) {
    guard let first = pairs.first, Set(pairs.map { prompts[$0.clean].tokens.count }).count == 1
    else { return }
    let tokens = prompts[first.clean].tokens
    texts = prompts[first.clean].pieces.map(tokenText)
    varies = tokens.indices.map { position in
      pairs.contains { prompts[$0.clean].tokens[position] != tokens[position] }
    }
    differs = tokens.indices.map { position in
      pairs.contains {
        prompts[$0.clean].tokens[position] != prompts[$0.corrupted].tokens[position]
      }
    }
  }

  /// The labels of one pair, `clean → corrupted` where its prompts differ.
  init(_ pair: PatchingPair, prompts: [Prompt]) {
    let (clean, corrupted) = (prompts[pair.clean], prompts[pair.corrupted])
    differs = zip(clean.tokens, corrupted.tokens).map { $0 != $1 }
    varies = differs.map { _ in false }
    texts = differs.indices.map { position in
      let text = tokenText(clean.pieces[position])
      return differs[position] ? "\(text) → \(tokenText(corrupted.pieces[position]))" : text
    }
  }
}

/// A token as a label, in which nothing is unseen.
func tokenText(_ piece: String) -> String { printable(visible(piece)) }

/// A sweep as rows and columns of effects: layers down, positions or heads across; layers and
/// positions down where a cell is a head at a position.
struct EffectGrid {
  var rows: [String]
  /// How many rows stand together; a gap follows them.
  var rowsInGroup = 1
  var columns: [String]
  /// What stands above the columns.
  var tokens: TokenLabels?
  var rowAxis: String
  var columnAxis: String
  /// Row by row. nil or not finite where a cell has no effect to show.
  var effects: [Double?]
  /// By cell.
  var names: [String]
  /// What the effects are, in a word.
  var quantity = "effect"

  /// The least effect that has the strongest colour, so that rounding errors stay pale.
  static let smallestScale = 0.01

  /// The effect of the strongest colour: the largest one of either sign.
  var scale: Double { EffectGrid.scale(of: effects) }

  static func scale(of effects: [Double?]) -> Double {
    effects.reduce(smallestScale) { largest, effect in
      guard let effect, effect.isFinite else { return largest }
      return max(largest, abs(effect))
    }
  }
}

extension EffectGrid {
  init(_ result: SweepResult, tokens: TokenLabels) {
    let sweep = result.sweep
    let inner = [.all, .list].contains(sweep.axis) ? 1 : result.shape.last ?? 1
    effects = result.cells.indices.map { result.ratioOfMeans(cell: $0) }
    names = result.cells.map { cell in
      sweep.name(of: cell) { position in
        tokens.texts.indices.contains(position) ? tokens.texts[position] : nil
      }
    }
    let starts = stride(from: 0, to: result.cells.count, by: max(1, inner))
    let outer = starts.map { result.cells[$0] }
    rows = outer.map { $0.layer.map { "L\($0)" } ?? sweep.name }
    rowAxis = sweep.axisNames.first == "layer" ? "layer" : ""
    let fixed = sweep.placeText
    switch sweep.axis {
    case .position:
      columns = (0..<inner).map(String.init)
      columnAxis = "position"
      self.tokens = tokens
    case .head:
      columns = (0..<inner).map { "H\($0)" }
      columnAxis = "head, \(fixed)"
    case .neuron:
      columns = (0..<inner).map(String.init)
      columnAxis = "neuron, \(fixed)"
    case .role:
      columns = sweep.roles
      columnAxis = "role"
    case .direction:
      columns = (0..<inner).map(String.init)
      columnAxis = "direction, \(fixed)"
    case .list:
      rows = sweep.list.map(\.name)
      columns = [""]
      columnAxis = ""
    case .headRole:
      columns = (0..<inner).map { "H\($0)" }
      columnAxis = "head"
      rowAxis = "layer, role"
      rowsInGroup = sweep.roles.count
      for (row, cell) in outer.enumerated() { rows[row] += " " + (cell.role ?? "") }
    case .headPosition, .headEdge:
      let isEdge = sweep.axis == .headEdge
      columns = (0..<inner).map { isEdge ? "\($0)" : "H\($0)" }
      columnAxis = isEdge ? "attended position" : "head"
      rowAxis = isEdge ? "layer, head, position" : "layer, position"
      if isEdge { self.tokens = tokens }
      rowsInGroup = result.shape.dropLast().last ?? 1
      for (row, cell) in outer.enumerated() {
        guard let position = cell.position else { continue }
        if let head = cell.head, isEdge { rows[row] += " H\(head)" }
        rows[row] += " pos \(position)"
        if tokens.texts.indices.contains(position) {
          rows[row] += " " + shortened(tokens.texts[position])
        }
      }
    case .all:
      columns = [""]
      columnAxis = fixed
    }
  }
}
