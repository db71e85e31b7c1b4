import Foundation
import Terminal
import TestSupport
import Testing

@testable import Analyze

/// The pictures of `analyze patch --out`.
@Suite struct FigureTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// What a sweep wrote.
  private struct Output {
    let directory: String
    let page: String
    let file: PatchFile

    init(_ directory: String) throws {
      self.directory = directory
      page = try String(contentsOfFile: "\(directory)/patch.html", encoding: .utf8)
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      file = try decoder.decode(PatchFile.self, from: try contents("\(directory)/patch.json"))
    }

    func svg(_ name: String) throws -> Element {
      try Element(xml: try String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8))
    }

    /// The heatmaps of the page, in order.
    func figures() throws -> [Element] {
      try page.components(separatedBy: "<section data-figure").dropFirst().map { section in
        let rest = try #require(section.components(separatedBy: "<svg ").dropFirst().first)
        let end = try #require(rest.range(of: "</svg>"))
        return try Element(xml: "<svg " + rest[..<end.upperBound])
      }
    }

    var svgTexts: [String] {
      get throws {
        try names(in: directory).filter { $0.hasSuffix(".svg") }.map {
          try String(contentsOfFile: "\(directory)/\($0)", encoding: .utf8)
        }
      }
    }

    func data() throws -> PageData {
      let parts = page.components(separatedBy: #"<script type="application/json" id="data">"#)
      let json = try #require(parts.last?.components(separatedBy: "</script>").first)
      return try JSONDecoder().decode(PageData.self, from: Data(json.utf8))
    }
  }

  private func sweep(_ cache: String, _ arguments: String...) throws -> Output {
    let out = folder.path("out")
    let answer = try Program.analyze.run(
      ["patch", "--cache", cache, "--quiet", "--out", out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return try Output(out)
  }

  private func expectCells(
    _ svg: Element, _ effects: [Double?], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let cells = svg.all("g").filter { $0.classes.contains("cells") }.flatMap { $0.all("rect") }
    try #require(cells.count == effects.count, sourceLocation: sourceLocation)
    let places = Set(cells.map { "\($0["x"] ?? "") \($0["y"] ?? "")" })
    #expect(places.count == cells.count, "cells lie on each other", sourceLocation: sourceLocation)
    let scale = effects.compactMap { $0 }.map(abs).reduce(EffectGrid.smallestScale, max)
    for (cell, effect) in zip(cells, effects) {
      let title = try #require(cell.all("title").first?.text, sourceLocation: sourceLocation)
      guard let effect else {
        #expect(cell.classes == ["void"] && title.hasPrefix("no"), sourceLocation: sourceLocation)
        continue
      }
      #expect(title.hasPrefix("\(signed(effect, 4)) at "), sourceLocation: sourceLocation)
      #expect(cell.classes == [effect < 0 ? "n" : "p"], sourceLocation: sourceLocation)
      let opacity = cell["fill-opacity"].flatMap(Double.init) ?? .nan
      #expect(abs(opacity - abs(effect) / scale) < 0.001, sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: PatchTests.combinations, ["denoise", "noise"])
  func everyCellIsThereOnce(_ combination: PatchTests.Combination, direction: String) throws {
    let by = combination.by.map { ["--by=\($0)"] } ?? []
    let output = try sweep(
      shared.path, "--hooks", combination.hooks, "--direction=\(direction)", by.first ?? "--top=10")
    let result = try #require(output.file.sweeps.first)
    let effects = result.effect
    try expectCells(try output.svg("\(result.hook).svg"), effects)
    try expectCells(try #require(try output.figures().first), effects)
    #expect(try output.figures().count == 1)

    let data = try output.data()
    let sweep = try #require(data.sweeps.first)
    #expect(sweep.effect == effects && sweep.patched == result.metric)
    #expect(sweep.count == result.pairs)
    #expect(sweep.shape.reduce(1, *) == effects.count)
    #expect(sweep.layers == (result.axes.contains("layer") ? result.layers.map { "L\($0)" } : []))
    #expect(sweep.axes == result.axes)
    #expect(sweep.columns == (result.axes.last == "layer" ? 1 : result.shape.last ?? 1))
    #expect(sweep.place.isEmpty == (result.axes.contains("pos") || result.axes.contains("dest")))
  }

  @Test func singlePairsAreThoseOfTheTable() throws {
    let output = try sweep(shared.path, "--hooks", "resid_pre,z", "--metric", "logit-diff,prob")
    let data = try output.data()
    #expect(data.sweeps.map(\.sweep) == [0, 0, 1, 1] && data.sweeps.map(\.metric) == [0, 1, 0, 1])
    let rows = try String(contentsOfFile: "\(output.directory)/cells.csv", encoding: .utf8)
      .split(separator: "\n").dropFirst()
      .map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    var next = rows.makeIterator()
    for sweep in data.sweeps {
      let own = try #require(sweep.own)
      #expect(own.count == 4)
      for cell in sweep.effect.indices {
        for pair in own.indices {
          guard let row = next.next() else { throw HarnessError(description: "too few rows") }
          let (expected, found) = (Double(row[8]) ?? .nan, own[pair][cell] ?? .nan)
          #expect(abs(expected - found) <= 1e-8 * max(1, abs(expected)))
          let baselines = data.pairs[pair].baselines[sweep.metric].map { Float($0 ?? .nan) }
          #expect(baselines == [Float(row[5]), Float(row[6])])
        }
      }
    }
    let surplus = next.next()
    #expect(surplus == nil)
    #expect(data.pairs[0].clean == "ab cd ef g" && data.pairs[0].corrupted == "ab cx ef g")
    #expect(data.pairs[0].tokens?.texts[5] == "d → x")
    #expect(data.pairs[0].tokens?.differs == (0..<11).map { $0 == 5 })
  }

  @Test func severalMetricsHaveFilesOfTheirOwn() throws {
    let output = try sweep(shared.path, "--hooks", "resid_pre,z", "--metric", "logit-diff,prob")
    #expect(
      try names(in: output.directory).filter { !$0.hasSuffix(".npy") } == [
        "cells.csv", "patch.html", "patch.json", "resid_pre-logit-diff.svg", "resid_pre-prob.svg",
        "z-logit-diff.svg", "z-prob.svg",
      ])
    for (sweep, figure) in zip(output.file.sweeps, try output.figures()) {
      try expectCells(figure, sweep.effect)
    }
    // Identifiers are distinct in the page.
    let ids = try output.figures().flatMap { $0.all("title") + $0.all("desc") }.compactMap {
      $0["id"]
    }
    #expect(ids.count == 8 && Set(ids).count == 8)
  }

  @Test(arguments: [0, 1, 4, 1000])
  func tablesHaveTheLargestCells(top: Int) throws {
    let output = try sweep(shared.path, "--hooks", "resid_pre", "--top", "\(top)")
    let effects = output.file.sweeps[0].effect.compactMap { $0 }
    let sizes = effects.filter { $0 != 0 }.sorted { abs($0) > abs($1) }.prefix(top)
    let body = output.page.components(separatedBy: "<tbody>").dropFirst().first ?? ""
    let rows = body.components(separatedBy: "</tbody>")[0].components(separatedBy: "</tr>")
      .filter { $0.contains("<tr") }
    #expect(rows.count == sizes.count)
    for (row, size) in zip(rows, sizes) {
      let fields = row.components(separatedBy: "<td>")
      #expect(fields.count == 5)
      #expect(fields[1] == "\(signed(size, 4))</td>")
    }
  }

  @Test func nothingIsLoadedFromElsewhere() throws {
    let output = try sweep(shared.path, "--hooks", "resid_pre,z,mlp_post")
    for text in try [output.page] + output.svgTexts {
      let rest = text.replacingOccurrences(of: "http://www.w3.org/2000/svg", with: "")
      for word in ["http:", "https:", "src=", "href=", "url(", "@import", "<link", "<img"] {
        #expect(!rest.contains(word), "\(word)")
      }
    }
    #expect(output.page.contains("default-src 'none'"))
  }

  @Test func warningsBaselinesAndOriginAreShown() throws {
    let output = try sweep(shared.mixed, "--hooks", "resid_pre", "--skip-unaligned")
    let clean = try #require(output.file.baselines.clean)
    #expect(output.page.contains(#"<dd class="clean">\#(signed(clean, 4))</dd>"#))
    for text in output.file.warnings + [output.file.cache.plan, output.file.cache.promptFile] {
      #expect(output.page.contains(escaped(text)))
    }
    #expect(output.page.contains("--skip-unaligned"))
    // Pairs of different lengths: no tokens for all of them, but for each by itself.
    let svg = try output.svg("resid_pre.svg")
    #expect(svg.all("g").first { $0.classes == ["tokens"] } == nil)
    let data = try output.data()
    #expect(data.tokens.isEmpty)
    #expect(data.pairs.map { $0.tokens?.texts.count } == [5, 9])
    #expect(data.sweeps[0].own?[0][8] == .some(nil) && data.sweeps[0].own?[1][8] != nil)
  }

  @Test func hostileTextStaysText() throws {
    let model = folder.path(#"m <i>&"'"#)
    try HostileTokens.writeModel(to: model)
    let prompts = try folder.write("hostile.jsonl", HostileTokens.line + "\n")
    let cache = folder.path("hostile")
    try Program.capture.succeed(
      "--model", model, "--prompts", prompts, "--out", cache, "--quiet")
    let output = try sweep(cache, "--hooks", "resid_pre,z", "--by", "pos")

    let svg = try output.svg("resid_pre.svg")
    let labels = try #require(svg.all("g").first { $0.classes == ["tokens"] }).all("text")
    let texts = labels.map(\.text)
    for token in ["<!--", "]]>", "\"'", "</", "\\u{202e}"] {
      #expect(texts.contains(token), "\(token) in \(texts)")
    }
    // Two ends of the page's own scripts, and nothing that would be read as markup.
    #expect(output.page.components(separatedBy: "</script").count - 1 == 2)
    #expect(output.page.components(separatedBy: "<script").count - 1 == 2)
    #expect(!output.page.contains("<!--") && !output.page.contains("<i>"))
    for text in try [output.page] + output.svgTexts {
      #expect(!text.unicodeScalars.contains { $0 == "\u{202E}" || $0 == "\u{1}" })
    }
    let pair = try #require(try output.data().pairs.first)
    #expect(pair.name == #"0  </script><script>alert(1)</script>\u{1}"#)
    #expect(pair.clean?.hasPrefix("<!-- ]]> \"' </script>") == true)
    try expectCells(svg, output.file.sweeps[0].effect)
  }

  @Test func whatIsTooMuchForAPageIsLeftOutAndSaid() throws {
    let cache = folder.path("demo")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--quiet")
    let output = try sweep(
      cache, "--hooks", "resid_pre,resid_mid,resid_post,attn_out", "--metric",
      "logit-diff,prob,logprob,loss", "--permutations", "10")
    let data = try output.data()
    let own = data.sweeps.map { $0.own?.flatMap { $0 }.count ?? 0 }
    // 60 cells of 260 pairs, 3900 tokens.
    #expect(own == Array(repeating: 15_600, count: 12) + [0, 0, 0, 0])
    #expect(own.reduce(3900, +) <= PatchPage.mostPairValues)
    #expect(output.page.contains("Single pairs are left out"))
    let small = try sweep(cache, "--hooks", "resid_pre", "--permutations", "10")
    #expect(!small.page.contains("Single pairs are left out"))
  }
}

/// A model some of whose tokens are markup, and a pair with them.
enum HostileTokens {
  /// Bytes from 0xF5 on are in no UTF-8 text: their numbers serve for longer tokens.
  static func writeModel(to directory: String) throws {
    try TinyModel().write(to: directory)
    let path = "\(directory)/vocab.json"
    var ids = try #require(
      try JSONSerialization.jsonObject(with: try contents(path)) as? [String: Int])
    func letter(_ byte: Int) throws -> String { try #require(ids.first { $0.value == byte }).key }
    let mark = try [0xE2, 0x80, 0xAE].map(letter)
    let merges = [
      ("<", "/"), ("<", "!"), ("<!", "-"), ("<!-", "-"), ("]", "]"), ("]]", ">"), ("\"", "'"),
      (mark[0], mark[1]), (mark[0] + mark[1], mark[2]),
    ]
    for (number, merge) in merges.enumerated() {
      ids[try letter(0xF5 + number)] = nil
      ids[merge.0 + merge.1] = 0xF5 + number
    }
    try JSONSerialization.data(withJSONObject: ids).write(to: URL(fileURLWithPath: path))
    let lines = merges.map { "\($0.0) \($0.1)\n" }.joined()
    try Data(("#version: 0.2\n" + lines).utf8).write(
      to: URL(fileURLWithPath: "\(directory)/merges.txt"))
  }

  static let line =
    #"{"id": "</script><script>alert(1)</script>\u0001", "answer": "A", "wrong_answer": "B", "#
    + #""clean": "<!-- ]]> \"' </script>\u202e x", "corrupted": "<!-- ]]> \"' </script>\u202e y"}"#
}

/// What the page's script reads.
private struct PageData: Decodable {
  struct Sweep: Decodable {
    let sweep, metric: Int
    let shape: [Int]
    let axes, layers: [String]
    let columns: Int
    let place: String
    let effect, patched, error, q: [Double?]
    let count: [Int]
    let own: [[Double?]]?
  }
  struct Tokens: Decodable {
    let texts: [String]
    let varies, differs: [Bool]
  }
  struct Pair: Decodable {
    let name: String
    let baselines: [[Double?]]
    let clean, corrupted, answer, wrong: String?
    let tokens: Tokens?
  }
  let tokens: [String]
  let sweeps: [Sweep]
  let pairs: [Pair]
}
