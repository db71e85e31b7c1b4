import Terminal
import Testing

@Suite struct NumberFormatTests {
  @Test func decimalsAndDigits() {
    #expect(fixed(1.0 / 3, 4) == "0.3333")
    #expect(fixed(-0.004, 2) == "-0.00")
    #expect(fixed(2.5, 0) == "2")
    #expect(signed(1.5, 1) == "+1.5")
    #expect(signed(-1.5, 1) == "-1.5")
    #expect(significant(123_456.789, 3) == "1.23e+05")
    #expect(significant(0.5) == "0.5")
    #expect(fixed(.nan, 2) == "nan" || fixed(.nan, 2) == "-nan")
    #expect(fixed(.infinity, 2) == "inf")
    #expect(fixed(Double.greatestFiniteMagnitude, 9).count == 319)
  }

  @Test(arguments: [
    (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9_960, "10.0 kB"), (999_499, "999 kB"),
    (999_500, "1.00 MB"), (87_300_000, "87.3 MB"), (1_200_000_000_000, "1.20 TB"),
    (Int.max, "9223 PB"),
  ])
  func bytes(count: Int, text: String) {
    #expect(byteSize(count) == text)
  }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1000, "1,000"), (50257, "50,257"), (1_234_567, "1,234,567"),
    (-1000, "-1,000"), (Int.min, "-9,223,372,036,854,775,808"),
  ])
  func thousands(number: Int, text: String) {
    #expect(grouped(number) == text)
  }

  @Test(arguments: [
    (0.04, "0.0 s"), (9.4, "9.4 s"), (42.4, "42 s"), (72, "1 min 12 s"), (3599.6, "1 h 00 min"),
    (7380, "2 h 03 min"), (.infinity, "very long"), (.nan, "very long"),
  ])
  func durations(seconds: Double, text: String) {
    #expect(duration(seconds) == text)
  }
}

@Suite struct TableTests {
  @Test func columnsAlignWithoutTrailingSpaces() {
    var table = Table([.left, .right, .left])
    table.add(["a", "1", "x"])
    table.add(["long", "1000", ""])
    #expect(table.lines() == ["a        1  x", "long  1000"])
  }

  @Test func widthsAreThoseOfATerminal() {
    #expect(displayWidth("abc") == 3)
    #expect(displayWidth("日本") == 4)
    #expect(displayWidth("😀") == 2)
    #expect(displayWidth("e\u{301}") == 1)
    #expect(displayWidth("\u{1B}[1mbold\u{1B}[0m") == 4)
    #expect(padded("日", to: 4, .right) == "  日")
    #expect(padded("longer", to: 3, .left) == "longer")
  }

  @Test func tokensStayOnOneLine() {
    #expect(visible(" John") == "␣John")
    #expect(visible("a b") == "a b")
    #expect(visible("\n\t\r") == "\\n\\t\\r")
    #expect(visible("\u{1B}[2J") == "\\u{1b}[2J")
    #expect(visible("\u{7F}") == "\\u{7f}")
  }

  @Test func noColorMeansNoEscapes() {
    #expect(Style(usesColor: false).bold("x") == "x")
    #expect(Style(usesColor: true).bold("x") == "\u{1B}[1mx\u{1B}[0m")
  }
}
