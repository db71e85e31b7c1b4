import Terminal

/// The lengths of attention pictures, in CSS pixels. The page's script has them as well, for the
/// pictures that it draws.
struct AttentionLayout: Encodable {
  let margin = 12
  /// The most positions that cells of a size are for, and of how many positions one has a label.
  let cells = [[12, 30, 1], [30, 26, 1], [60, 14, 1], [100, 11, 1], [400, 4, 5]]
  /// The same of more positions.
  let smallest = [.max, 2, 10]
  /// Labels of smaller cells are small.
  let leastUsual = 13
  /// Smaller cells have no lines, and weights that could not be seen are left blank in them.
  let leastLined = 11
  let leastOfMany = 0.01
  /// Up to so many positions the larger weights stand in their cells.
  let mostNumbers = 30
  let leastNumber = 0.05
  /// From this opacity on a number is written in the colour for strong cells.
  let strongFrom = Palette.strongFrom
  /// The difference of the strongest colour, if all are smaller.
  let smallestScale = EffectGrid.smallestScale
  /// What the longest label takes.
  let labelWidth: Int

  /// - Parameter labels: of all positions of all pictures.
  init(labels: some Sequence<String>) {
    labelWidth = Int((Double(labels.map(displayWidth).max() ?? 0) * 6.4).rounded(.up))
  }

  static func label(_ position: Int, _ token: String) -> String {
    "\(position) \(shortened(token))"
  }

}

/// The attention weights of a head on a prompt: queries down, keys across.
struct AttentionSVG {
  let weights: AttentionWeights
  let tokens: [String]
  /// Positions with another token in the pair's other prompt.
  let differs: [Int]
  let layout: AttentionLayout
  /// What a reader who does not see the picture is told.
  let title: String

  private let positions: Int
  private let cell: Int
  private let labelStep: Int

  init(
    weights: AttentionWeights, tokens: [String], differs: [Int], layout: AttentionLayout,
    title: String
  ) {
    self.weights = weights
    self.tokens = tokens
    self.differs = differs
    self.layout = layout
    self.title = title
    positions = weights.positions
    let size = layout.cells.first { weights.positions <= $0[0] } ?? layout.smallest
    (cell, labelStep) = (size[1], size[2])
  }

  /// The picture as an element of a page, whose style sheet has `Palette.figureRules`.
  func element() -> String { markup(style: "") }

  /// The picture as a file. It is light or dark as the reader's system is.
  func file() -> String {
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      + markup(style: "<style>\n\(Palette.fileRules)</style>\n")
  }

  private func markup(style: String) -> String {
    let isTurned = cell >= 20
    let across = isTurned ? layout.labelWidth * 71 / 100 : 0
    let left = layout.margin + 18 + layout.labelWidth + 8
    let top = layout.margin + (isTurned ? across + 18 : layout.labelWidth + 12)
    let side = positions * cell
    let width = left + max(side + across, 300) + layout.margin
    let height = top + side + 76
    return """
      <svg xmlns="http://www.w3.org/2000/svg" class="map attention" role="img" width="\(width)" \
      height="\(height)" viewBox="0 0 \(width) \(height)" aria-label="\(escaped(title))">
      \(style)<rect class="paper" width="\(width)" height="\(height)"/>
      <g transform="translate(\(left) \(top))">
      \(labels(isTurned: isTurned))<path class="mesh" d="\(mesh)"/>
      \(cells)</g>
      <text class="faint" text-anchor="middle" \
      transform="translate(\(layout.margin + 9) \(top + side / 2)) rotate(-90)">query</text>
      <text class="faint" text-anchor="middle" x="\(left + side / 2)" y="\(top + side + 18)">key</text>
      \(legend(x: left, y: top + side + 34))</svg>

      """
  }

  private func labels(isTurned: Bool) -> String {
    var rows = ""
    var columns = ""
    for position in stride(from: 0, to: positions, by: labelStep) {
      let label = escaped(AttentionLayout.label(position, tokens[position]))
      let name = differs.contains(position) ? " class=\"differs\"" : ""
      let middle = position * cell + cell / 2
      rows += "<text\(name) text-anchor=\"end\" x=\"-7\" y=\"\(middle + 4)\">\(label)</text>\n"
      columns +=
        "<text\(name) transform=\"translate(\(middle + (isTurned ? 2 : 4)) -7) "
        + "rotate(\(isTurned ? -45 : -90))\">\(label)</text>\n"
    }
    let small = labelStep == 1 && cell < layout.leastUsual ? " small" : ""
    return "<g class=\"rows\(small)\">\n\(rows)</g>\n"
      + "<g class=\"tokens\(small)\">\n\(columns)</g>\n"
  }

  /// The lines around the cells that are not masked; around all of them if cells are small.
  private var mesh: String {
    let side = positions * cell
    guard cell >= layout.leastLined else { return "M0 0L\(side) \(side)H0z" }
    return (0...positions).map { line in
      let across = min(line + 1, positions) * cell
      return "M0 \(line * cell)H\(across)M\(line * cell) \(max(0, line - 1) * cell)V\(side)"
    }.joined()
  }

  private var cells: String {
    var rects = ""
    var numbers = ""
    var crosses = ""
    let least = cell >= layout.leastLined ? 0.0005 : layout.leastOfMany
    for query in 0..<positions {
      for key in 0...query {
        let (x, y) = (key * cell, query * cell)
        guard let weight = weights[query, key] else {
          crosses += "M\(x) \(y)l\(cell) \(cell)"
          continue
        }
        guard weight >= least else { continue }
        rects +=
          "<rect class=\"p\" x=\"\(x)\" y=\"\(y)\" width=\"\(cell)\" height=\"\(cell)\" "
          + "fill-opacity=\"\(fixed(weight, 3))\"/>\n"
        guard positions <= layout.mostNumbers, weight >= layout.leastNumber else { continue }
        let digits = fixed(weight, 2)
        numbers +=
          "<text\(weight >= layout.strongFrom ? " class=\"s\"" : "") x=\"\(x + cell / 2)\" "
          + "y=\"\(y + cell / 2 + 4)\">\(digits == "1.00" ? "1" : String(digits.dropFirst()))</text>\n"
      }
    }
    return "<g class=\"cells\">\n\(rects)</g>\n<path class=\"cross\" d=\"\(crosses)\"/>\n"
      + "<g class=\"values\">\n\(numbers)</g>\n"
  }

  private func legend(x: Int, y: Int) -> String {
    var text = "<g class=\"legend\">\n"
    for step in 0...20 {
      text +=
        "<rect class=\"p\" x=\"\(x + 10 * step)\" y=\"\(y)\" width=\"10\" height=\"10\" "
        + "fill-opacity=\"\(fixed(Double(step) / 20, 2))\"/>\n"
    }
    text += "<text x=\"\(x)\" y=\"\(y + 22)\">0</text>\n"
    text += "<text text-anchor=\"end\" x=\"\(x + 210)\" y=\"\(y + 22)\">1</text>\n"
    return text + "<text class=\"faint\" x=\"\(x + 218)\" y=\"\(y + 9)\">weight</text>\n</g>\n"
  }
}
