import Patching
import Terminal

/// The largest effects of a report as bars, pair by pair as points, and attention beside MLPs.
struct PatchCharts {
  let figures: PatchFigures

  /// The most cells in a bar chart, and in a scatter plot.
  private static let mostBars = 24
  private static let mostClouds = 3
  /// The most points of a cell.
  private static let mostPoints = 500

  private var report: PatchReport { figures.report }

  /// What unfolds under a figure: its largest effects as bars, and of the largest ones the pairs.
  ///
  /// - Parameter id: begins the identifiers inside.
  /// - Returns: nothing if no cell has an effect.
  func html(of figure: PatchFigures.Figure, id: String) -> String {
    let cells = figure.largest(min(PatchCharts.mostBars, figures.top))
    guard !cells.isEmpty else { return "" }
    return "<details class=\"mean charts\"><summary>The largest effects as bars, and pair by pair"
      + "</summary>\n"
      + pageFigure(bars(of: cells, in: figure).element(id: "\(id)-bars"))
      + pageFigure(
        scatter(of: Array(cells.prefix(PatchCharts.mostClouds)), in: figure)
          .element(id: "\(id)-pairs"),
        caption: "On the line a patch changes nothing.")
      + "</details>\n"
  }

  private func bars(of cells: [Int], in figure: PatchFigures.Figure) -> BarsSVG {
    BarsSVG(
      bars: cells.map {
        .init(label: shortened(figure.grid.names[$0], to: 32), values: [figure.grid.effects[$0]])
      }, series: ["effect"], x: "cell", y: "effect",
      title: "The largest effects of \(figures.title(of: figure).joined(separator: ", "))")
  }

  private func scatter(of cells: [Int], in figure: PatchFigures.Figure) -> ScatterSVG {
    let result = figure.result
    let run = result.direction == .denoise ? "corrupted" : "clean"
    let points = cells.enumerated().flatMap { order, cell in
      result.pairs(of: cell).prefix(PatchCharts.mostPoints).map { pair in
        let baseline = result.baselines[pair]
        return ScatterSVG.Point(
          x: Double(run == "clean" ? baseline.clean : baseline.corrupted),
          y: Double(result.patched[cell][pair] ?? .nan),
          title: "\(figure.grid.names[cell]), pair \(figures.pairName(pair))",
          isSecond: order == 1, isHollow: order > 1)
      }
    }
    let colours = zip(["blue", "red", "rings"], cells).map { "\(figure.grid.names[$1]) \($0)" }
    return ScatterSVG(
      heading: ["\(result.metric) of each pair", colours.joined(separator: ", ")],
      x: run, y: "patched", points: points, hasDiagonal: true,
      description: "\(counted(points.count, "point")): the \(run) run's \(result.metric) and the "
        + "patched run's.")
  }

  /// Attention beside MLPs, layer by layer: the effect of each, or its largest over positions.
  ///
  /// - Returns: nothing unless both were swept in the same way.
  func branches() -> String {
    report.metrics.indices.map { metric in
      func figure(_ name: String) -> PatchFigures.Figure? {
        figures.figures.first {
          $0.metric == metric && $0.result.sweep.name == name && !$0.result.sweep.layers.isEmpty
        }
      }
      guard let attention = figure("attn_out"), let mlp = figure("mlp_out"),
        attention.result.sweep.axis == mlp.result.sweep.axis,
        attention.result.sweep.layers == mlp.result.sweep.layers
      else { return "" }
      let isLargest = attention.result.sweep.axis != .all
      let layers = attention.result.sweep.layers
      let bars = layers.map { layer in
        BarsSVG.Bar(
          label: "L\(layer)",
          values: [attention, mlp].map { largest($0, ofLayer: layer) })
      }
      let what = isLargest ? "largest effect in each layer" : "effect of each layer"
      return "<section class=\"mean\">\n<h2>Attention and MLPs <span>\(escaped(what)), "
        + "\(escaped(report.metrics[metric])), "
        + "\(counted(report.selection.pairs.count, "pair"))</span></h2>\n"
        + pageFigure(
          BarsSVG(
            bars: bars, series: ["attn_out", "mlp_out"], x: "layer", y: "effect",
            title: "Attention and MLPs, \(what)"
          ).element(id: "branches-\(metric)"))
        + "</section>\n"
    }.joined()
  }

  private func largest(_ figure: PatchFigures.Figure, ofLayer layer: Int) -> Double? {
    figure.result.cells.indices.filter { figure.result.cells[$0].layer == layer }
      .compactMap { figure.grid.effects[$0] }.max { abs($0) < abs($1) }
  }
}
