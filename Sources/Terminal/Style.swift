import Glibc

/// Colours for standard output, or none when it is not a terminal or the user set NO_COLOR.
public struct Style: Sendable {
  public let usesColor: Bool

  public init(usesColor: Bool) {
    self.usesColor = usesColor
  }

  /// The style that suits standard output (https://no-color.org).
  public static func forStandardOutput() -> Style {
    let disabled = getenv("NO_COLOR").map { String(cString: $0) != "" } ?? false
    let dumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? false
    return Style(usesColor: isatty(STDOUT_FILENO) == 1 && !disabled && !dumb)
  }

  public func bold(_ text: String) -> String { usesColor ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
  public func faint(_ text: String) -> String { usesColor ? "\u{1B}[2m\(text)\u{1B}[0m" : text }
}
