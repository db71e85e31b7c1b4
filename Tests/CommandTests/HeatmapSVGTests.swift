import Foundation
import TestSupport
import Testing

@testable import Analyze

/// Layout and colours by themselves.
@Suite struct HeatmapSVGTests {
  private func grid(rows: Int, columns: Int, effects: [Double?], token: String = "tok")
    -> EffectGrid
  {
    var tokens = TokenLabels()
    tokens.texts = Array(repeating: token, count: columns)
    tokens.varies = Array(repeating: false, count: columns)
    tokens.differs = Array(repeating: true, count: columns)
    return EffectGrid(
      rows: (0..<rows).map { "L\($0)" }, columns: (0..<columns).map(String.init), tokens: tokens,
      rowAxis: "layer", columnAxis: "position", effects: effects,
      names: effects.indices.map { "cell \($0)" })
  }

  @Test(arguments: [(1, 1), (1, 1000), (48, 1000), (12, 15), (5, 31), (4, 61), (3, 201), (300, 2)])
  func everySizeHasItsCellsInsideThePicture(rows: Int, columns: Int) throws {
    var generator = SeededGenerator(seed: UInt64(rows * 1000 + columns))
    let effects = generator.floats(rows * columns, in: -2...2).map { Double?(Double($0)) }
    let image = HeatmapSVG(
      grid(rows: rows, columns: columns, effects: effects), title: "t", description: "d")
    for text in [image.file(heading: ["a", "b"]), image.element(id: "x")] {
      let svg = try Element(xml: text)
      let cells = svg.all("g").filter { $0.classes.contains("cells") }.flatMap { $0.all("rect") }
      #expect(cells.count == rows * columns)
      let width = try #require(svg["width"].flatMap(Int.init))
      let height = try #require(svg["height"].flatMap(Int.init))
      let offset = try #require(
        svg.all("g").compactMap { $0["transform"] }.first { $0.hasPrefix("translate(") })
      let shift = offset.split { !$0.isNumber }.compactMap { Int($0) }
      for cell in cells {
        let box = ["x", "y", "width", "height"].compactMap { cell[$0].flatMap(Int.init) }
        try #require(box.count == 4)
        #expect(box[2] >= 4 && box[3] >= 10)
        #expect(shift[0] + box[0] + box[2] <= width && shift[1] + box[1] + box[3] <= height)
      }
      // Labels do not run into each other: a step of numbers is as wide as they are.
      let numbers = svg.all("g").filter { $0.classes == ["columns"] }.flatMap { $0.all("text") }
      let places = numbers.compactMap { $0["x"].flatMap(Int.init) }
      #expect(zip(places, places.dropFirst()).allSatisfy { $1 - $0 >= 6 * "\(columns - 1)".count })
      #expect(!places.isEmpty)
    }
  }

  @Test func cellsWithoutAnEffectAreCrossed() throws {
    let values: [Double?] = [nil, .nan, .infinity, -.infinity, 0, -0.5, 0.25, 1e300]
    let image = HeatmapSVG(grid(rows: 2, columns: 4, effects: values), title: "t", description: "d")
    let svg = try Element(xml: image.file(heading: []))
    let cells = svg.all("g").filter { $0.classes.contains("cells") }.flatMap { $0.all("rect") }
    #expect(cells.prefix(4).allSatisfy { $0.classes == ["void"] && $0["fill-opacity"] == nil })
    #expect(cells[0].text == "no value at cell 0")
    #expect(cells[1].text == "not a finite number at cell 1")
    #expect(cells.suffix(4).map { $0["fill-opacity"] } == ["0.000", "0.000", "0.000", "1.000"])
    let cross = svg.all("path").first { $0.classes == ["cross"] }?["d"]
    #expect(cross?.filter { $0 == "M" }.count == 4)
  }

  @Test func roundingErrorsStayPale() throws {
    let effects: [Double?] = [1e-7, -1e-7, 0]
    let image = HeatmapSVG(
      grid(rows: 1, columns: 3, effects: effects), title: "t", description: "d")
    let svg = try Element(xml: image.element(id: "x"))
    let cells = svg.all("g").filter { $0.classes.contains("cells") }.flatMap { $0.all("rect") }
    #expect(cells.allSatisfy { $0["fill-opacity"] == "0.000" })
    #expect(svg.all("text").contains { $0.text == "+0.01" })
  }

  /// WCAG 2.2, relative luminance and contrast ratio.
  @Test(arguments: ["light", "dark"])
  func everythingIsReadable(_ name: String) throws {
    let palette = name == "light" ? Palette.light : Palette.dark
    func channels(_ color: String) throws -> [Double] {
      let number = try #require(UInt32(palette[color].dropFirst(), radix: 16))
      return [16, 8, 0].map { Double(number >> $0 & 255) / 255 }
    }
    func luminance(_ channels: [Double]) -> Double {
      let linear = channels.map { $0 <= 0.04045 ? $0 / 12.92 : pow(($0 + 0.055) / 1.055, 2.4) }
      return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }
    func contrast(_ one: [Double], _ other: [Double]) -> Double {
      let (a, b) = (luminance(one), luminance(other))
      return (max(a, b) + 0.05) / (min(a, b) + 0.05)
    }
    let paper = try channels("paper")
    for end in try [channels("positive"), channels("negative")] {
      for step in 0...1000 {
        let strength = Double(step) / 1000
        let cell = zip(paper, end).map { $0 + ($1 - $0) * strength }
        let ink = try channels(strength >= Palette.strongFrom ? "strong" : "value")
        #expect(contrast(cell, ink) >= 4.5, "\(strength)")
      }
    }
    for background in try [paper, channels("panel")] {
      for ink in ["ink", "faint", "link", "caution"] {
        #expect(contrast(background, try channels(ink)) >= 4.5, "\(ink)")
      }
    }
  }

  @Test func textIsEscaped() throws {
    let hostile = "</title>&\"'\u{0}\u{1B}\u{85}\u{202E}\u{2067}\u{FEFF}\u{FFFE}\u{10FFFF}]]>é漢\n"
    let image = HeatmapSVG(
      grid(rows: 1, columns: 2, effects: [1, -1], token: hostile), title: hostile,
      description: hostile)
    let svg = try Element(xml: image.file(heading: [hostile]))
    let expected =
      #"</title>&"'\u{0}\u{1b}\u{85}\u{202e}\u{2067}\u{feff}\u{fffe}\u{10ffff}]]>é漢"# + "\n"
    #expect(svg.all("title").first?.text == expected)
    #expect(svg.all("desc").first?.text == expected)
  }

  @Test func aWordIsOneForTheShell() throws {
    for word in ["", "a b", "it's", "$HOME", "`id`", "a\nb", "*", "--hooks=z,k", "é", "\"", "\\"] {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", "printf %s \(shellWord(word))"]
      let pipe = Pipe()
      process.standardOutput = pipe
      try process.run()
      let output = pipe.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      #expect(String(decoding: output, as: UTF8.self) == word)
    }
  }
}
