import Terminal

/// Bars side by side on one axis, as an element of a page. Lengths are in CSS pixels.
struct BarsSVG {
  struct Bar {
    let label: String
    /// By series. What is not a finite number is left out.
    let values: [Double?]
    /// The standard error of the one series, if it has one.
    var error: Double?
  }

  let bars: [Bar]
  /// The names of the series; a single one is blue above and red below 0, of two the second one is red.
  let series: [String]
  /// What stands at the axes.
  let x, y: String
  /// Whether labels are the lower ends of bars, as in a histogram, and stand at these.
  var isHistogram = false
  /// What a reader who does not see the picture is told.
  let title: String

  private static let height = 190
  private static let left = 64
  private static let top = 30
  private static let advance = 6.4

  /// What a bar, or the bars of a label, take.
  private var slot: Int {
    switch bars.count {
    case ...16: 34
    case ...32: 24
    case ...64: 14
    default: 8
    }
  }

  /// - Parameter id: begins the identifiers inside, which must be distinct in a page.
  func element(id: String) -> String {
    let axis = PlotAxis([0] + bars.flatMap(extent))
    let plot = slot * max(1, bars.count)
    let longest = Int((Double(longestLabel) * BarsSVG.advance).rounded(.up))
    let room = isTurned ? longest * 71 / 100 + 10 : 12
    let width = BarsSVG.left + max(plot + 24, 260)
    let height = BarsSVG.top + BarsSVG.height + room + 30
    return """
      <svg xmlns="http://www.w3.org/2000/svg" class="map bars" role="img" width="\(width)" \
      height="\(height)" viewBox="0 0 \(width) \(height)" aria-labelledby="\(id)-title">
      <title id="\(id)-title">\(escaped(title))</title>
      <rect class="paper" width="\(width)" height="\(height)"/>
      \(legend)<g transform="translate(\(BarsSVG.left) \(BarsSVG.top))">
      <rect class="frame" width="\(plot)" height="\(BarsSVG.height)"/>
      \(ticks(axis))\(bars.indices.map { self.bar($0, axis) }.joined())\
      <path class="cross" d="M0 \(place(0, axis))h\(plot)"/>
      \(labels)</g>
      \(BarsSVG.text(x, BarsSVG.left + plot / 2, height - 8, "faint", anchor: "middle"))\
      <text class="faint" text-anchor="middle" transform="translate(14 \
      \(BarsSVG.top + BarsSVG.height / 2)) rotate(-90)">\(escaped(y))</text>
      </svg>

      """
  }

  /// Between which values a bar needs room.
  private func extent(of bar: Bar) -> [Double] {
    let values = bar.values.compactMap { $0 }
    let error = bar.error ?? 0
    return (values + values.map { $0 + error } + values.map { $0 - error }).filter(\.isFinite)
  }

  private var longestLabel: Int { bars.map { displayWidth($0.label) }.max() ?? 0 }

  private var isTurned: Bool {
    Double(longestLabel) * BarsSVG.advance > Double(slot)
  }

  /// The height at which a value stands.
  private func place(_ value: Double, _ axis: PlotAxis) -> String {
    fixed((1 - axis.share(value)) * Double(BarsSVG.height), 1)
  }

  private func ticks(_ axis: PlotAxis) -> String {
    axis.ticks.map { tick in
      let y = (1 - axis.share(tick)) * Double(BarsSVG.height)
      return "<path class=\"cross\" d=\"M0 \(fixed(y, 1))h-5\"/>\n"
        + "<text text-anchor=\"end\" x=\"-8\" y=\"\(fixed(y + 4, 1))\">"
        + "\(tick == 0 ? "0" : significant(tick, 4))</text>\n"
    }.joined()
  }

  private func bar(_ number: Int, _ axis: PlotAxis) -> String {
    let bar = bars[number]
    let each = (slot - 4) / max(1, series.count)
    var text = ""
    for (index, value) in bar.values.enumerated() {
      guard let value, value.isFinite else { continue }
      let x = number * slot + 2 + index * each
      let (low, high) = (axis.share(min(0, value)), axis.share(max(0, value)))
      let isSecond = series.count > 1 ? index > 0 : value < 0
      let what = series.count > 1 ? ", \(series[index])" : ""
      text +=
        "<rect class=\"\(isSecond ? "n" : "p")\" x=\"\(x)\" "
        + "y=\"\(fixed((1 - high) * Double(BarsSVG.height), 1))\" width=\"\(max(1, each - 1))\" "
        + "height=\"\(fixed((high - low) * Double(BarsSVG.height), 1))\"><title>"
        + "\(escaped("\(bar.label)\(what): \(significant(value, 5))"))</title></rect>\n"
    }
    if series.count == 1, let value = bar.values.first ?? nil, value.isFinite,
      let error = bar.error, error.isFinite
    {
      let x = fixed(Double(number * slot) + 1.5 + Double(each) / 2, 1)
      text +=
        "<path class=\"error\" d=\"M\(x) \(place(value - error, axis))V\(place(value + error, axis))\"/>\n"
    }
    return text
  }

  private var labels: String {
    let step = slot >= 14 ? 1 : 2
    var text = "<g class=\"columns\(slot < 13 ? " small" : "")\">\n"
    for number in stride(from: 0, to: bars.count, by: step) {
      let x = number * slot + (isHistogram ? 0 : slot / 2)
      let place =
        isTurned
        ? "text-anchor=\"end\" transform=\"translate(\(x + 4) \(BarsSVG.height + 12)) rotate(-45)\""
        : "text-anchor=\"middle\" x=\"\(x)\" y=\"\(BarsSVG.height + 15)\""
      text += "<text \(place)>\(escaped(bars[number].label))</text>\n"
    }
    return text + "</g>\n"
  }

  private var legend: String {
    guard series.count > 1 else { return "" }
    var x = BarsSVG.left
    return series.enumerated().map { index, name in
      defer { x += 26 + Int(Double(displayWidth(name)) * 7) }
      return
        "<rect class=\"\(index > 0 ? "n" : "p")\" x=\"\(x)\" y=\"10\" width=\"10\" height=\"10\"/>\n"
        + BarsSVG.text(name, x + 15, 19, "faint", anchor: "start")
    }.joined()
  }

  private static func text(
    _ text: String, _ x: Int, _ y: Int, _ kind: String, anchor: String
  ) -> String {
    "<text class=\"\(kind)\" text-anchor=\"\(anchor)\" x=\"\(x)\" y=\"\(y)\">\(escaped(text))</text>\n"
  }
}

/// Numbers counted in bins of a round width.
struct Histogram {
  /// The lower ends of the bins.
  let edges: [Double]
  let width: Double
  /// By set of numbers and bin.
  let counts: [[Int]]

  /// - Parameter sets: numbers, of which those that are not finite are left out.
  /// - Returns: nil where none is finite.
  init?(_ sets: [[Double]]) {
    let finite = sets.map { $0.filter(\.isFinite) }
    guard let low = finite.joined().min(), let high = finite.joined().max() else { return nil }
    // Half of an axis's step: eight to fourteen bins or so.
    let width = PlotAxis([low, high]).step / 2
    let first = (low / width).rounded(.down)
    let count = (high / width).rounded(.down) - first + 1
    guard width.isFinite, width > 0, first.isFinite, 1...64 ~= count else { return nil }
    self.width = width
    edges = (0..<Int(count)).map { (first + Double($0)) * width }
    counts = finite.map { values in
      values.reduce(into: Array(repeating: 0, count: Int(count))) { bins, value in
        let bin = Int((value / width).rounded(.down) - first)
        if bins.indices.contains(bin) { bins[bin] += 1 }
      }
    }
  }
}
