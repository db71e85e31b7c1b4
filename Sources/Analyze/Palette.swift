/// The colours of figures. Effects go from the paper's colour at 0 to blue (positive) or red
/// (negative), which people without red or green cones tell apart, by the opacity of the two ends.
struct Palette {
  private let colors: [(name: String, value: String)]

  static let light = Palette(colors: [
    ("paper", "#ffffff"), ("ink", "#14171a"), ("faint", "#57606a"), ("line", "#d0d7de"),
    ("panel", "#f6f8fa"), ("positive", "#08428e"), ("negative", "#a50f15"), ("value", "#000000"),
    ("strong", "#ffffff"), ("link", "#0550ae"), ("caution", "#7a4d00"),
  ])
  static let dark = Palette(colors: [
    ("paper", "#14171a"), ("ink", "#e6edf3"), ("faint", "#9aa4af"), ("line", "#3d444d"),
    ("panel", "#1c2126"), ("positive", "#6a9ddb"), ("negative", "#e27f6b"), ("value", "#ffffff"),
    ("strong", "#000000"), ("link", "#79b8ff"), ("caution", "#e3b341"),
  ])

  /// From this opacity on `strong` is easier to read on `positive` and `negative` than `value`, in
  /// both palettes, and before it the other way round. The contrast is 4.5 at the least (WCAG 2.2,
  /// 1.4.3), which the ends are chosen for.
  static let strongFrom = 0.72

  subscript(_ name: String) -> String {
    colors.first { $0.name == name }?.value ?? "currentColor"
  }

  /// As CSS custom properties.
  var properties: String { colors.map { "--\($0.name):\($0.value)" }.joined(separator: ";") }

  /// The rules of a picture in a file of its own, light or dark as the reader's system is.
  static var fileRules: String {
    let light = figureRules { Palette.light[$0] }
    let dark = figureRules { Palette.dark[$0] }
    return "\(light)@media (prefers-color-scheme:dark){\n\(dark)}\n"
  }

  /// The rules of `HeatmapSVG`.
  ///
  /// - Parameter color: how a colour is written: its value, or the property that has it.
  static func figureRules(_ color: (String) -> String) -> String {
    let text = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
    return """
      .map text{\(text);font-size:11px;fill:\(color("ink"));white-space:pre}
      .map .small text{font-size:9px}
      .map .paper{fill:\(color("paper"))}
      .map .title{font-size:15px;font-weight:600}
      .map .faint{fill:\(color("faint"))}
      .map .p{fill:\(color("positive"))}
      .map .n{fill:\(color("negative"))}
      .map .void{fill:none;pointer-events:all}
      .map .lines rect{stroke:\(color("line"));stroke-width:.5}
      .map .frame{fill:none;stroke:\(color("line"));pointer-events:none}
      .map .cross{stroke:\(color("faint"));stroke-width:1;pointer-events:none}
      .map .varies{font-style:italic}
      .map .differs{font-weight:700}
      .map .values text{fill:\(color("value"));text-anchor:middle;pointer-events:none}
      .map .values .s{fill:\(color("strong"))}
      .map .ring{fill:none;stroke:\(color("ink"));stroke-width:2;pointer-events:none}

      """
  }
}
