import Terminal

/// A grid of effects as one SVG image. Lengths are in CSS pixels.
struct HeatmapSVG {
  let grid: EffectGrid
  /// What a reader who does not see the picture is told.
  let title: String
  let description: String

  private let cellWidth: Int
  private let cellHeight: Int
  private let hasNumbers: Bool
  /// How the tokens above the columns stand.
  private enum Tokens { case none, level, turned, upright }
  private let tokens: Tokens

  /// What the tokens above the columns take.
  private let tokenWidth: Int

  /// What a character is expected to take of the 11 px font.
  private static let advance = 6.4
  private static let gap = 6

  /// - Parameter labels: texts that may stand above the columns in place of the grid's.
  init(_ grid: EffectGrid, title: String, description: String, labels: [String] = []) {
    self.grid = grid
    self.title = title
    self.description = description
    cellWidth =
      switch grid.columns.count {
      case ...1: 72
      case ...30: 40
      case ...60: 20
      case ...200: 10
      default: 4
      }
    cellHeight = grid.rows.count <= 60 ? 24 : grid.rows.count <= 200 ? 16 : 10
    hasNumbers = cellWidth >= 40 && cellHeight >= 16
    let longest =
      grid.tokens.map { HeatmapSVG.width(of: ($0.texts + labels).map { shortened($0) }) } ?? 0
    tokenWidth = longest
    tokens =
      switch cellWidth {
      case _ where longest == 0: .none
      case (longest + 2)...: .level
      case 20...: .turned
      case 10...: .upright
      default: .none
      }
  }

  /// The image as an element of a page, whose style sheet has `Palette.figureRules`.
  ///
  /// - Parameter id: begins the identifiers inside, which must be distinct in a page.
  func element(id: String) -> String { markup(id: id, heading: [], style: nil) }

  /// The image as a file. It is light or dark as the reader's system is.
  ///
  /// - Parameter heading: lines above the grid, the first one a title.
  func file(heading: [String]) -> String {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      + markup(id: "map", heading: heading, style: Palette.fileRules)
  }

  private func markup(id: String, heading: [String], style: String?) -> String {
    let margin = 12
    let lines = heading.map { shortened($0, to: 110) }
    let rowLabels = HeatmapSVG.width(of: grid.rows)
    let left = margin + (grid.rowAxis.isEmpty ? 0 : 18) + rowLabels + 8
    let headingHeight = lines.isEmpty ? 0 : 14 + 17 * lines.count
    let (labels, overhang) = tokenRoom
    let top = margin + headingHeight + labels
    let gridWidth = cellWidth * grid.columns.count
    let gridHeight = rowTop(grid.rows.count - 1) + cellHeight
    let below = top + gridHeight
    let columnTitle = left + max(0, gridWidth - HeatmapSVG.width(of: [grid.columnAxis])) / 2
    let width =
      margin
      + max(
        left + gridWidth + overhang, left + 300, margin + HeatmapSVG.width(of: lines),
        columnTitle + HeatmapSVG.width(of: [grid.columnAxis]))
    let height = below + 36 + 46

    var text =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\" role=\"img\" width=\"\(width)\" "
      + "height=\"\(height)\" viewBox=\"0 0 \(width) \(height)\" "
      + "aria-labelledby=\"\(id)-title \(id)-description\">\n"
      + "<title id=\"\(id)-title\">\(escaped(title))</title>\n"
      + "<desc id=\"\(id)-description\">\(escaped(description))</desc>\n"
    if let style { text += "<style>\n\(style)</style>\n" }
    text += "<rect class=\"paper\" width=\"\(width)\" height=\"\(height)\"/>\n"
    for (number, line) in lines.enumerated() {
      text += HeatmapSVG.text(
        line, x: margin, y: margin + 13 + 17 * number + (number > 0 ? 3 : 0),
        class: number == 0 ? "title" : "faint")
    }
    text += "<g transform=\"translate(\(left) \(top))\">\n"
    text += tokenMarkup() + rowMarkup(titleX: margin - left + 9, height: gridHeight)
    text += "<rect class=\"frame\" width=\"\(gridWidth)\" height=\"\(gridHeight)\"/>\n"
    text += cellMarkup()
    text += "</g>\n"
    text += columnMarkup(x: left, y: below + 14)
    text += HeatmapSVG.text(grid.columnAxis, x: columnTitle, y: below + 30, class: "faint")
    text += legendMarkup(x: left, y: below + 44)
    return text + "</svg>\n"
  }

  // Cells.

  private func rowTop(_ row: Int) -> Int {
    let isGrouped = grid.rowsInGroup > 1
    return row * cellHeight + (isGrouped ? row / grid.rowsInGroup * HeatmapSVG.gap : 0)
  }

  private func cellMarkup() -> String {
    let scale = grid.scale
    var cells = ""
    var values = ""
    var crosses = ""
    for (index, effect) in grid.effects.enumerated() {
      let x = index % grid.columns.count * cellWidth
      let y = rowTop(index / grid.columns.count)
      let place = "x=\"\(x)\" y=\"\(y)\" width=\"\(cellWidth)\" height=\"\(cellHeight)\""
      var number = ""
      var isStrong = false
      if let effect, effect.isFinite {
        let strength = min(1, abs(effect) / scale)
        isStrong = strength >= Palette.strongFrom
        number = HeatmapSVG.short(effect)
        cells += "<rect class=\"\(effect < 0 ? "n" : "p")\" \(place) "
        cells += "fill-opacity=\"\(fixed(strength, 3))\">"
        cells += "<title>\(signed(effect, 4)) at \(escaped(grid.names[index]))</title></rect>\n"
      } else {
        let what = effect == nil ? "no value" : "not a finite number"
        cells += "<rect class=\"void\" \(place)>"
        cells += "<title>\(what) at \(escaped(grid.names[index]))</title></rect>\n"
        crosses += "M\(x) \(y)l\(cellWidth) \(cellHeight)"
      }
      guard hasNumbers else { continue }
      values +=
        "<text\(isStrong ? " class=\"s\"" : "") x=\"\(x + cellWidth / 2)\" "
        + "y=\"\(y + cellHeight / 2 + 4)\">\(number)</text>\n"
    }
    let lines = cellWidth >= 10 ? " lines" : ""
    return "<g class=\"cells\(lines)\">\n\(cells)</g>\n"
      + "<path class=\"cross\" d=\"\(crosses)\"/>\n"
      + (hasNumbers ? "<g class=\"values\">\n\(values)</g>\n" : "")
  }

  /// A number for a cell, of six characters at the most.
  private static func short(_ effect: Double) -> String {
    switch abs(effect) {
    case ..<0.005: "0"
    case ..<9.995: fixed(effect, 2)
    case ..<99.95: fixed(effect, 1)
    case ..<9999.5: fixed(effect, 0)
    default: significant(effect, 1)
    }
  }

  // Labels.

  /// The height that the tokens take above the grid, and the width to the right of it.
  private var tokenRoom: (height: Int, overhang: Int) {
    return switch tokens {
    case .none: (4, 0)
    case .level: (20, 0)
    case .turned: (tokenWidth * 71 / 100 + 18, tokenWidth * 71 / 100 - cellWidth / 2)
    case .upright: (tokenWidth + 12, 0)
    }
  }

  private func tokenMarkup() -> String {
    guard let labels = grid.tokens, tokens != .none else { return "" }
    var text = "<g class=\"tokens\">\n"
    for column in grid.columns.indices {
      let isKnown = labels.texts.indices.contains(column)
      let middle = column * cellWidth + cellWidth / 2
      let place =
        switch tokens {
        case .turned: "transform=\"translate(\(middle + 2) -7) rotate(-45)\""
        case .upright: "transform=\"translate(\(middle + 4) -6) rotate(-90)\""
        default: "text-anchor=\"middle\" x=\"\(middle)\" y=\"-7\""
        }
      let classes =
        (isKnown && labels.differs[column] ? ["differs"] : [])
        + (isKnown && labels.varies[column] ? ["varies"] : [])
      let whole = isKnown ? labels.texts[column] : ""
      let label = shortened(whole)
      text += "<text class=\"\(classes.joined(separator: " "))\" \(place)>\(escaped(label))"
      if label != whole { text += "<title>\(escaped(whole))</title>" }
      text += "</text>\n"
    }
    return text + "</g>\n"
  }

  private func rowMarkup(titleX: Int, height: Int) -> String {
    var text = "<g class=\"rows\(cellHeight < 16 ? " small" : "")\">\n"
    for (row, label) in grid.rows.enumerated() {
      text +=
        "<text text-anchor=\"end\" x=\"-7\" y=\"\(rowTop(row) + cellHeight / 2 + 4)\">"
        + "\(escaped(label))</text>\n"
    }
    text += "</g>\n"
    if !grid.rowAxis.isEmpty {
      text +=
        "<text class=\"faint\" text-anchor=\"middle\" "
        + "transform=\"translate(\(titleX) \(height / 2)) rotate(-90)\">\(grid.rowAxis)</text>\n"
    }
    return text
  }

  /// As many numbers below the columns as there is room for.
  private func columnMarkup(x: Int, y: Int) -> String {
    let needed = HeatmapSVG.width(of: grid.columns) + 4
    let step = [1, 2, 5, 10, 20, 50, 100, 200, 500].first { $0 * cellWidth >= needed } ?? 1000
    var text = "<g class=\"columns\">\n"
    for column in stride(from: 0, to: grid.columns.count, by: step) {
      text +=
        "<text text-anchor=\"middle\" x=\"\(x + column * cellWidth + cellWidth / 2)\" "
        + "y=\"\(y)\">\(grid.columns[column])</text>\n"
    }
    return text + "</g>\n"
  }

  private func legendMarkup(x: Int, y: Int) -> String {
    let steps = 20
    let width = 10
    let limit = significant(grid.scale, 3)
    var text = "<g class=\"legend\">\n"
    for step in -steps...steps {
      let opacity = fixed(Double(abs(step)) / Double(steps), 2)
      text +=
        "<rect class=\"\(step < 0 ? "n" : "p")\" x=\"\(x + (step + steps) * width / 2)\" y=\"\(y)\" "
        + "width=\"\(width / 2)\" height=\"10\" fill-opacity=\"\(opacity)\"/>\n"
    }
    let span = (2 * steps + 1) * width / 2
    for (place, anchor, name, number) in [
      (0, "start", "low", "-\(limit)"), (span / 2, "middle", "zero", "0"),
      (span, "end", "high", "+\(limit)"),
    ] {
      text +=
        "<text class=\"\(name)\" text-anchor=\"\(anchor)\" x=\"\(x + place)\" y=\"\(y + 22)\">"
        + "\(number)</text>\n"
    }
    text += HeatmapSVG.text(grid.quantity, x: x + span + 8, y: y + 9, class: "faint")
    return text + "</g>\n"
  }

  private static func text(_ text: String, x: Int, y: Int, class name: String) -> String {
    "<text class=\"\(name)\" x=\"\(x)\" y=\"\(y)\">\(escaped(text))</text>\n"
  }

  /// What the longest of some texts is expected to take.
  private static func width(of texts: [String]) -> Int {
    Int((Double(texts.map(displayWidth).max() ?? 0) * advance).rounded(.up))
  }
}
