import Terminal

/// Points on two axes as one SVG image. Lengths are in CSS pixels.
struct ScatterSVG {
  struct Point {
    let x, y: Double
    /// Stands beside the point; empty for none.
    var label = ""
    /// Shown for the point when it is pointed at.
    var title = ""
    /// Whether it is drawn in the colour of negative effects.
    var isSecond = false
    var isHollow = false
  }

  /// Lines above, the first one a title.
  let heading: [String]
  let x, y: String
  /// Those that are not finite are left out.
  let points: [Point]
  /// Whether the line x = y is drawn, on axes of the same range.
  var hasDiagonal = false
  /// What a reader who does not see the picture is told.
  let description: String

  private static let side = 420.0
  private static let margin = 12.0
  private static let left = 70.0

  /// The image as a file. It is light or dark as the reader's system is.
  func file() -> String {
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + markup(id: "map", style: Palette.fileRules)
  }

  /// The image as an element of a page, whose style sheet has `Palette.figureRules`.
  ///
  /// - Parameter id: begins the identifiers inside, which must be distinct in a page.
  func element(id: String) -> String { markup(id: id, style: nil) }

  private func markup(id: String, style: String?) -> String {
    let drawn = points.filter { $0.x.isFinite && $0.y.isFinite }
    var (horizontal, vertical) = (PlotAxis(drawn.map(\.x)), PlotAxis(drawn.map(\.y)))
    if hasDiagonal {
      horizontal = PlotAxis(drawn.flatMap { [$0.x, $0.y] })
      vertical = horizontal
    }
    let (side, left) = (ScatterSVG.side, ScatterSVG.left)
    let top = ScatterSVG.margin + 14 + 17 * Double(heading.count)
    let (width, height) = (Int(left + side + 150), Int(top + side + 48))
    var text =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\" role=\"img\" width=\"\(width)\" "
      + "height=\"\(height)\" viewBox=\"0 0 \(width) \(height)\" "
      + "aria-labelledby=\"\(id)-title \(id)-description\">\n"
      + "<title id=\"\(id)-title\">\(escaped(heading.first ?? ""))</title>\n"
      + "<desc id=\"\(id)-description\">\(escaped(description))</desc>\n"
    if let style { text += "<style>\n\(style)</style>\n" }
    text += "<rect class=\"paper\" width=\"\(width)\" height=\"\(height)\"/>\n"
    for (number, line) in heading.enumerated() {
      text += label(
        shortened(line, to: 90), ScatterSVG.margin, ScatterSVG.margin + 13 + 17 * Double(number),
        number == 0 ? "title" : "faint")
    }
    text += "<g transform=\"translate(\(number(left)) \(number(top)))\">\n"
    text += "<rect class=\"frame\" width=\"\(number(side))\" height=\"\(number(side))\"/>\n"
    func place(_ x: Double, _ y: Double) -> (x: Double, y: Double) {
      (horizontal.share(x) * side, (1 - vertical.share(y)) * side)
    }
    for tick in horizontal.ticks {
      let at = place(tick, 0).x
      text += "<path class=\"cross\" d=\"M\(number(at)) \(number(side))v5\"/>\n"
      text += label(significant(tick, 4), at, side + 18, "", anchor: "middle")
    }
    for tick in vertical.ticks {
      let at = place(0, tick).y
      text += "<path class=\"cross\" d=\"M0 \(number(at))h-5\"/>\n"
      text += label(significant(tick, 4), -8, at + 4, "", anchor: "end")
    }
    text += label(x, side / 2, side + 36, "faint", anchor: "middle")
    text +=
      "<text class=\"faint\" text-anchor=\"middle\" transform=\"translate(-52 \(number(side / 2))) "
      + "rotate(-90)\">\(escaped(y))</text>\n"
    if hasDiagonal {
      text += "<path class=\"cross\" d=\"M0 \(number(side))L\(number(side)) 0\"/>\n"
    }
    for point in drawn {
      let at = place(point.x, point.y)
      let kind = point.isHollow ? "ring" : point.isSecond ? "n" : "p"
      text += "<circle class=\"\(kind)\" cx=\"\(number(at.x))\" cy=\"\(number(at.y))\" r=\"4\">"
      text += "<title>\(escaped(name(of: point)))</title></circle>\n"
      if !point.label.isEmpty {
        text += label(shortened(point.label, to: 24), at.x + 7, at.y + 4, "")
      }
    }
    return text + "</g>\n</svg>\n"
  }

  private func name(of point: Point) -> String {
    let place = "\(x) \(significant(point.x, 5)), \(y) \(significant(point.y, 5))"
    return [point.label, point.title, place].filter { !$0.isEmpty }.joined(separator: ": ")
  }

  private func label(
    _ text: String, _ x: Double, _ y: Double, _ kind: String, anchor: String = "start"
  ) -> String {
    "<text class=\"\(kind)\" text-anchor=\"\(anchor)\" x=\"\(number(x))\" y=\"\(number(y))\">"
      + "\(escaped(text))</text>\n"
  }

  private func number(_ value: Double) -> String { fixed(value, 1) }
}
