import Foundation
import TestSupport
import Testing

@testable import Analyze
@testable import CacheFormat

/// The attention patterns of `patch.html`.
@Suite struct AttentionPictureTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// What the page carries.
  private struct Carried: Decodable {
    struct Head: Decodable {
      let name, layer: String
      let head: Int
    }
    struct Pair: Decodable {
      let pair: Int
      let name: String
      let clean, corrupted: Int
      let differs: [Int]
    }
    struct Run: Decodable {
      let tokens, patterns: [String]
    }
    let one: Int
    let heads: [Head]
    let pairs: [Pair]
    let runs: [Run]

    /// The weights of a run, row by row; nil for what is not a number.
    func weights(run: Int, head: Int) throws -> [Double?] {
      let bytes = try #require(Data(base64Encoded: runs[run].patterns[head]))
      return stride(from: 0, to: bytes.count, by: 2).map {
        let units = Int(bytes[$0]) + 256 * Int(bytes[$0 + 1])
        return units > one ? nil : Double(units) / Double(one)
      }
    }
  }

  private struct Output {
    let page: String
    let file: PatchFile
    /// The section, nil if there is none.
    let section: String?
    let data: Carried?

    init(_ directory: String) throws {
      page = try String(contentsOfFile: "\(directory)/patch.html", encoding: .utf8)
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      file = try decoder.decode(PatchFile.self, from: try contents("\(directory)/patch.json"))
      section =
        page.components(separatedBy: #"<section id="attention""#).dropFirst().first?
        .components(separatedBy: "</section>").first
      struct Content: Decodable {
        let attention: Carried?
      }
      let script = page.components(separatedBy: #"<script type="application/json" id="data">"#)
      let json = try #require(script.last?.components(separatedBy: "</script>").first)
      data = try JSONDecoder().decode(Content.self, from: Data(json.utf8)).attention
    }

    func svg() throws -> Element {
      let section = try #require(section)
      let start = try #require(section.range(of: "<svg "))
      let end = try #require(section.range(of: "</svg>"))
      return try Element(xml: String(section[start.lowerBound..<end.upperBound]))
    }

    var notes: [String] {
      (section ?? "").components(separatedBy: "<li>").dropFirst().compactMap {
        $0.components(separatedBy: "</li>").first
      }
    }
  }

  private func sweep(_ cache: String, _ arguments: String...) throws -> Output {
    let out = folder.path("out")
    let answer = try Program.analyze.run(
      ["patch", "--cache", cache, "--quiet", "--permutations", "10", "--out", out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return try Output(out)
  }

  /// The heads of all sweeps by their largest effect, as patch.json has it.
  private func ranked(_ file: PatchFile) throws -> [String] {
    var best: [String: Double] = [:]
    for sweep in file.sweeps {
      guard let axis = sweep.axes.firstIndex(of: "head") else { continue }
      let inner = sweep.shape[(axis + 1)...].reduce(1, *)
      for (cell, effect) in sweep.effect.enumerated() {
        guard let effect, effect != 0 else { continue }
        let layer = sweep.layers[cell / sweep.shape[1...].reduce(1, *)]
        let name = "L\(layer) H\(cell / inner % sweep.shape[axis])"
        best[name] = max(best[name] ?? 0, abs(effect))
      }
    }
    return best.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
  }

  /// That the page has the very values of the cache.
  private func expectValues(_ data: Carried, of cache: String, _ file: PatchFile) throws {
    let reader = try CacheReader(directory: cache)
    let texts = try reader.prompts()
    for pair in data.pairs {
      let prompts = file.pairs[pair.pair]
      let corrupted = try #require(prompts.corrupted)
      for (run, prompt) in [(pair.clean, prompts.clean), (pair.corrupted, corrupted)] {
        let T = texts[prompt].tokens.count
        #expect(data.runs[run].tokens == texts[prompt].pieces.map(tokenText))
        for (number, head) in data.heads.enumerated() {
          let hook = try #require(
            reader.hookIndex("blocks.\(head.layer.dropFirst()).attn.hook_pattern"))
          let expected = try reader.read(hook: hook, prompt: prompt)
          let found = try data.weights(run: run, head: number)
          try #require(found.count == T * (T + 1) / 2)
          var place = 0
          for query in 0..<T {
            for key in 0...query {
              let weight = try #require(found[place])
              let difference = weight - Double(expected[(head.head * T + query) * T + key])
              #expect(abs(difference) <= 1.0 / 65_535)
              place += 1
            }
          }
        }
      }
    }
  }

  @Test(arguments: [
    ["--hooks", "resid_pre,z"], ["--hooks", "q,pattern", "--metric", "logit-diff,prob"],
    ["--hooks", "v", "--by", "head-pos"], ["--hooks", "k2"],
    ["--hooks", "attn_scores", "--by", "head-dest-src", "--direction", "noise"],
  ])
  func thePageHasTheHeadsWithTheLargestEffects(arguments: [String]) throws {
    let out = folder.path("out")
    let answer = try Program.analyze.run(
      ["patch", "--cache", shared.path, "--quiet", "--permutations", "10", "--out", out]
        + arguments)
    try #require(answer.status == 0, "\(answer)")
    let output = try Output(out)
    let data = try #require(output.data)
    let heads = try ranked(output.file)
    #expect(!heads.isEmpty && data.heads.map(\.name) == heads)
    #expect(data.heads.map { "\($0.layer) H\($0.head)" } == heads)
    #expect(output.notes.isEmpty)
    // Four pairs of seven prompts, of which one is in two pairs.
    #expect(data.pairs.map(\.pair) == [0, 1, 2, 3])
    #expect(data.pairs.map(\.name) == ["0", "1", "2", "3"])
    #expect(data.runs.count == SharedCache.promptCount)
    #expect(data.pairs[0].differs == [5] && data.pairs[0].clean == data.pairs[3].clean)
    try expectValues(data, of: shared.path, output.file)
  }

  @Test func theDrawnPictureIsThatOfTheFirstHeadAndPair() throws {
    let output = try sweep(shared.path, "--hooks", "z")
    let data = try #require(output.data)
    let head = data.heads[0].name
    let section = try #require(output.section)
    #expect(section.contains("<span>\(head), clean prompt, pair 0</span>"))
    let svg = try output.svg()
    #expect(svg["aria-label"] == "Attention weights of \(head), clean prompt, pair 0")
    let weights = try data.weights(run: data.pairs[0].clean, head: 0)
    var drawn: [[Int]: Double] = [:]
    for cell in svg.all("g").filter({ $0.classes == ["cells"] }).flatMap({ $0.all("rect") }) {
      let place = try ["y", "x"].map { try #require(cell[$0].flatMap(Int.init)) / 30 }
      drawn[place] = cell["fill-opacity"].flatMap(Double.init) ?? .nan
    }
    for query in 0..<SharedCache.positions {
      var sum = 0.0
      for key in 0..<SharedCache.positions {
        let weight = key > query ? 0 : weights[query * (query + 1) / 2 + key] ?? .nan
        let shown = drawn[[query, key]] ?? 0
        #expect(abs(shown - weight) <= 0.000501)
        sum += shown
      }
      #expect(abs(sum - 1) < 0.0006 * Double(SharedCache.positions))
    }
    // Labels: every position twice, and where the pair differs in bold.
    for side in ["rows", "tokens"] {
      let group = try #require(svg.all("g").first { $0.classes.contains(side) })
      let expected = data.runs[data.pairs[0].clean].tokens.enumerated().map { "\($0) \($1)" }
      #expect(group.all("text").map(\.text) == expected)
      #expect(group.all("text").filter { $0.classes == ["differs"] }.map(\.text) == ["5 d"])
    }
    // The line below names the keys of the last position by their weights.
    let last = SharedCache.positions - 1
    let row = weights.suffix(last + 1).enumerated().sorted { ($0.element ?? 0) > ($1.element ?? 0) }
    let caption = try #require(section.components(separatedBy: "<figcaption>").last)
    #expect(
      caption.hasPrefix("Position \(last) <bdi>g</bdi> attends most to \(row[0].offset) <bdi>"))
    #expect(caption.contains("</bdi> \(fixedText(row[0].element ?? 0))"))
  }

  private func fixedText(_ weight: Double) -> String { String(format: "%.3f", weight) }

  @Test func sweepsWithoutHeadsHaveNoSection() throws {
    for hooks in [["resid_pre,mlp_out"], ["z", "--by", "pos"]] {
      let out = folder.path(hooks.joined())
      let answer = try Program.analyze.run(
        ["patch", "--cache", shared.path, "--quiet", "--out", out, "--hooks"] + hooks)
      try #require(answer.status == 0, "\(answer)")
      let output = try Output(out)
      #expect(output.section == nil && output.data == nil)
    }
  }

  @Test func aCacheWithoutPatternsSaysSo() throws {
    let cache = folder.path("few")
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--quiet", "--hooks",
      "z,resid_pre,resid_mid,resid_post,mlp_out,attn_out,q,k,v,ln_final.hook_normalized,pattern1")
    let output = try sweep(cache, "--hooks", "z")
    let heads = try ranked(output.file)
    let missing = heads.filter { !$0.hasPrefix("L1 ") }
    #expect(!missing.isEmpty && missing.count < heads.count)
    #expect(output.notes.count == 1)
    #expect(output.notes[0].contains("blocks.L.attn.hook_pattern"))
    #expect(output.notes[0].contains(missing.joined(separator: ", ")))
    let data = try #require(output.data)
    #expect(data.heads.map(\.name) == heads.filter { $0.hasPrefix("L1 ") })
    try expectValues(data, of: cache, output.file)

    let none = try sweep(cache, "--hooks", "z0,z2")
    #expect(none.data == nil && none.notes.count == 1 && none.section?.contains("<svg") == false)
  }

  @Test func damageIsSaidAndLeavesThePage() throws {
    let cache = folder.path("damaged")
    // Patterns that are stored, so that the sweep itself does not read them.
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--quiet", "--store",
      "full")
    let reader = try CacheReader(directory: cache)
    let hook = try #require(reader.hookIndex("blocks.1.attn.hook_pattern"))
    guard case .stored(let entry) = try reader.segment(0).place(hook: hook, prompt: 0) else {
      throw HarnessError(description: "the pattern is not stored")
    }
    let path = "\(cache)/segment-000000.pbs"
    var bytes = try contents(path)
    bytes[Int(entry.offset) + 64 + 20] ^= 0x10
    try bytes.write(to: URL(fileURLWithPath: path))
    let output = try sweep(cache, "--hooks", "z1")
    #expect(output.data == nil && output.notes.count == 1)
    #expect(output.notes[0].hasPrefix("Attention patterns cannot be shown: "))
    #expect(output.notes[0].contains("damaged at prompt 0, blocks.1.attn.hook_pattern"))
    #expect(output.file.sweeps[0].effect.contains { $0 != 0 })
  }

  @Test func onlyWhatFitsIsCarriedAndTheRestIsSaid() throws {
    let cache = folder.path("demo")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--quiet")
    // Sixteen heads, of which the page has twelve, for all pairs.
    let whole = try sweep(cache, "--hooks", "z")
    let data = try #require(whole.data)
    #expect(data.heads.map(\.name) == Array(try ranked(whole.file).prefix(12)))
    #expect(data.pairs.count == 260 && whole.notes.isEmpty)
    let bytes = data.runs.map { $0.patterns.map(\.count).reduce(0, +) }.reduce(0, +)
    #expect(bytes <= AttentionPatterns.mostBytes)
    try expectValues(data, of: cache, whole.file)
    #expect(data.runs[0].patterns[0].count == AttentionWeights.textLength(positions: 15))
  }

  @Test func longPromptsLeaveRoomForFewerPairsAndHeads() throws {
    let model = folder.path("long")
    try TinyModel(contextLength: 1024).write(to: model)
    var generator = SeededGenerator(seed: 5)
    func letters(_ count: Int) -> String {
      String((0..<count).map { _ in "abcdefgh ".randomElement(using: &generator) ?? "a" })
    }
    // 27 heads of the tiny model are nine: 9 of 2 × 300 positions come to 2.2 MB, of 900 to 19 MB.
    for (length, heads, pairs) in [(300, 9, 1), (860, 2, 1)] {
      let lines = (0..<3).map { _ in
        let start = letters(length)
        return "\(start)x\t\(start)y\tA\tB"
      }
      let prompts = try folder.write("long-\(length).txt", lines.joined(separator: "\n") + "\n")
      let cache = folder.path("long-\(length)")
      try Program.capture.succeed(
        "--model", model, "--prompts", prompts, "--out", cache, "--quiet")
      let output = try sweep(cache, "--hooks", "z", "--pos", "-1")
      let data = try #require(output.data)
      #expect(data.heads.map(\.name) == Array(try ranked(output.file).prefix(heads)))
      #expect(data.pairs.count == pairs)
      #expect(output.notes.contains { $0.contains("the first \(pairs) of 3 pairs") })
      #expect(output.notes.contains { $0.contains("Of 9 heads \(heads) fit") } == (heads < 9))
      let bytes = data.runs.map {
        $0.patterns.map(\.count).reduce(0, +) + $0.tokens.map(\.utf8.count).reduce(0, +)
      }
      #expect(bytes.reduce(0, +) <= AttentionPatterns.mostBytes)
      // The picture leaves out what cannot be seen, and thins its labels.
      let svg = try output.svg()
      let cells = svg.all("g").filter { $0.classes == ["cells"] }.flatMap { $0.all("rect") }
      let weights = try data.weights(run: data.pairs[0].clean, head: 0)
      #expect(cells.count == weights.count { ($0 ?? 0) >= 0.01 })
      let labels = try #require(svg.all("g").first { $0.classes == ["rows"] }).all("text")
      #expect(labels.count < 100 && labels.count > 50)
    }
  }

  @Test func hostileTokensStayText() throws {
    let model = folder.path("model")
    try HostileTokens.writeModel(to: model)
    let prompts = try folder.write("hostile.jsonl", HostileTokens.line + "\n")
    let cache = folder.path("hostile")
    try Program.capture.succeed(
      "--model", model, "--prompts", prompts, "--out", cache, "--quiet")
    let output = try sweep(cache, "--hooks", "z")
    let texts = try output.svg().all("text").map(\.text)
    for token in ["<!--", "]]>", "\"'", "</", "\\u{202e}"] {
      #expect(texts.contains { $0.hasSuffix(" \(token)") }, "\(token) in \(texts)")
    }
    #expect(output.page.components(separatedBy: "</script").count - 1 == 2)
    #expect(output.page.components(separatedBy: "<script").count - 1 == 2)
    #expect(!output.page.contains("<!--"))
    #expect(!output.page.unicodeScalars.contains { $0 == "\u{202E}" || $0 == "\u{1}" })
    let name = try #require(output.data).pairs[0].name
    #expect(name == #"0  </script><script>alert(1)</script>\u{1}"#)
  }

  @Test func whatIsNotAWeightIsNoNumber() {
    let pattern: [Float] = [1, 0, 0, 0.25, .nan, 0, -0.5, 1.5, 1]
    let weights = AttentionWeights(pattern, positions: 3)
    #expect(weights[0, 0] == 1 && weights[1, 1] == nil && weights[2, 0] == nil)
    #expect(weights[2, 1] == nil && weights[2, 2] == 1)
    #expect(abs((weights[1, 0] ?? 0) - 0.25) < 1e-5)
    #expect(weights.largest(3, query: 2).map(\.key) == [2])
    #expect(weights.text.utf8.count == AttentionWeights.textLength(positions: 3))
    let svg = AttentionSVG(
      weights: weights, tokens: ["a", "b", "c"], differs: [],
      layout: AttentionLayout(labels: ["0 a"]), title: "t"
    ).element()
    #expect(svg.contains(#"<path class="cross" d="M30 30l30 30M0 60l30 30M30 60l30 30"/>"#))
  }

  @Test(arguments: [1, 2, 12, 13, 60, 100, 101, 400, 401])
  func everySizeHasItsCellsInsideThePicture(positions: Int) throws {
    var generator = SeededGenerator(seed: UInt64(positions))
    let weights = AttentionWeights(
      generator.floats(positions * positions, in: 0.01...1), positions: positions)
    let svg = try Element(
      xml: AttentionSVG(
        weights: weights, tokens: Array(repeating: "token", count: positions), differs: [0],
        layout: AttentionLayout(labels: ["400 token"]), title: "t"
      ).element())
    let size = try ["width", "height"].map { try #require(svg[$0].flatMap(Int.init)) }
    let place = try #require(svg.all("g").first?["transform"])
    let shift = place.split { !$0.isNumber }.compactMap { Int($0) }
    let cells = svg.all("g").filter { $0.classes == ["cells"] }.flatMap { $0.all("rect") }
    #expect(cells.count == positions * (positions + 1) / 2)
    for cell in cells {
      let box = ["x", "y", "width", "height"].compactMap { cell[$0].flatMap(Int.init) }
      try #require(box.count == 4)
      #expect(shift[0] + box[0] + box[2] <= size[0] && shift[1] + box[1] + box[3] <= size[1])
      #expect(box[0] <= box[1])
    }
  }
}
