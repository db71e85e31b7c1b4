import Foundation
import TestSupport
import Testing

/// `analyze results` on results as `analyze patch` writes them.
@Suite struct ResultsTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// Writes a result into a directory of the test's own; answers its path.
  private func patched(_ name: String, cache: String? = nil, _ arguments: String...) throws
    -> String
  {
    let out = folder.path(name)
    let answer = try Program.analyze.run(
      ["patch", "--cache", cache ?? shared.path, "--quiet", "--out", out] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return out
  }

  private func results(_ arguments: String...) throws -> Answer {
    let answer = try Program.analyze.run(["results"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    #expect(answer.errors == "")
    return answer
  }

  /// What `--json` prints of the cells.
  private struct Listed: Decodable {
    struct Cell: Decodable, Equatable {
      let hook: String
      let layer, head, pos, src, neuron: Int?
      let role: String?
      let cell: String
      let effect, effectMeanOfRatios, patched, standardError, lower, upper, p, q: Double?
      let pairs: Int
      let metric: String
    }
    struct Sweep: Decodable {
      let hook, metric, source: String
      let axes: [String]
      let shape: [Int]
      let cells, fewestPairs, mostPairs, tested, discoveries: Int
      let largestEffect: Double?
      let largestCell: String?
    }
    let direction, fdr: String
    let warnings: [String]
    let pairs: Int
    let sweeps: [Sweep]
    let cells: [Cell]?
  }

  private func listed(_ directory: String, _ arguments: String...) throws -> Listed {
    let answer = try Program.analyze.run(["results", directory, "--json"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return try snakeCase().decode(Listed.self, from: Data(answer.output.utf8))
  }

  private func cells(_ directory: String, _ arguments: String...) throws -> [Listed.Cell] {
    let answer = try Program.analyze.run(["results", directory, "--json"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    let file = try snakeCase().decode(Listed.self, from: Data(answer.output.utf8))
    return try #require(file.cells)
  }

  private func snakeCase() -> JSONDecoder {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return decoder
  }

  /// The arrays of a sweep. (`JSONSerialization` does not give every double back.)
  private struct Arrays: Decodable {
    struct Differences: Decodable {
      let standardError, lower, upper, p, q: [Double?]
    }
    let hook, metricName: String
    let metric, effect, effectMeanOfRatios: [Double?]
    let difference: Differences
    let pairs: [Int]
  }

  private func arrays(_ directory: String) throws -> [Arrays] {
    struct File: Decodable { let sweeps: [Arrays] }
    return try snakeCase().decode(File.self, from: try contents("\(directory)/patch.json")).sweeps
  }

  private func object(_ directory: String) throws -> [String: Any] {
    try #require(
      JSONSerialization.jsonObject(with: try contents("\(directory)/patch.json"))
        as? [String: Any])
  }

  private func sweeps(_ directory: String) throws -> [[String: Any]] {
    try #require(try object(directory)["sweeps"] as? [[String: Any]])
  }

  @Test func theTableHasALineForEachSweepAndMetric() throws {
    let out = try patched(
      "out", "--hooks", "resid_pre,z,ln_final.hook_scale", "--metric", "logit-diff,kl",
      "--direction", "noise", "--fdr", "by")
    let answer = try results(out)
    #expect(
      answer.lines[0].hasPrefix(
        "logit-diff, kl of 4 pairs, noise  (weights transformerlens, "))
    #expect(answer.lines[0].contains("patchbay "))
    let normalisation = try #require(try object(out)["normalisation"] as? String)
    for (line, metric) in zip(answer.lines[1...2], ["logit-diff", "kl"]) {
      #expect(line.hasPrefix("\(metric): clean "))
      #expect(line.hasSuffix("effect = \(normalisation)"))
    }
    let warnings = try #require(try object(out)["warnings"] as? [String])
    for warning in warnings { #expect(answer.lines.contains(warning)) }
    let cache = try #require(try object(out)["cache"] as? [String: Any])
    let plan = try #require(cache["plan"] as? String)
    #expect(answer.lines.contains("cache \(shared.path), plan \(plan.prefix(12))"))

    let sweeps = try arrays(out)
    #expect(sweeps.count == 6)
    let table = answer.lines.suffix(7)
    #expect(table.first?.contains("q ≤ 0.05 (by)") == true)
    for (line, sweep) in zip(table.dropFirst(), sweeps) {
      let (hook, effect) = (sweep.hook, sweep.effect)
      let q = sweep.difference.q.compactMap { $0 }
      let largest = effect.compactMap { $0 }.max { abs($0) < abs($1) } ?? 0
      let axes = [
        "resid_pre": "layer 3 × pos 11", "z": "layer 3 × head 3, all positions",
        "ln_final.scale": "all positions",
      ]
      #expect(line.hasPrefix("\(hook)  "))
      #expect(line.contains("  \(sweep.metricName)  "))
      #expect(line.contains("  \(axes[hook] ?? "?")  "))
      #expect(line.contains("  \(effect.count)      4  "), "\(line)")
      #expect(line.contains(String(format: "%+.4f", largest)))
      #expect(line.contains("  \(q.count { $0 <= 0.05 }) of \(q.count)  "))
    }

    let json = try listed(out)
    #expect(json.cells == nil && json.fdr == "by" && json.direction == "noise" && json.pairs == 4)
    #expect(json.warnings == warnings)
    #expect(json.sweeps.map(\.cells) == [33, 33, 9, 9, 1, 1])
    #expect(json.sweeps.allSatisfy { $0.fewestPairs == 4 && $0.mostPairs == 4 })
    for (line, sweep) in zip(table.dropFirst(), json.sweeps) {
      #expect(line.contains("  \(sweep.largestCell ?? "?")  "))
      #expect(line.contains("  \(sweep.discoveries) of \(sweep.tested)  "))
    }
  }

  @Test(arguments: [
    ["--hooks", "resid_pre"], ["--hooks", "z"], ["--hooks", "z", "--pos", "-1"],
    ["--hooks", "pattern", "--by", "head-pos"], ["--hooks", "mlp_post", "--by", "all"],
    ["--hooks", "pattern1", "--by", "head-dest-src"], ["--hooks", "mlp_out", "--by", "neuron"],
    ["--hooks", "resid_pre", "--by", "role"], ["--hooks", "z", "--by", "head-role"],
    ["--hooks", "z", "--pos", "END"],
    ["--hooks", "embed"], ["--hooks", "ln_final.hook_normalized"], ["--hooks", "k-1,k0"],
  ])
  func cellsHaveTheNamesAndNumbersOfThePatch(arguments: [String]) throws {
    // Pairs of two lengths: tokens have no place in the names.
    let out = folder.path("out")
    let patch = try Program.analyze.run(
      ["patch", "--cache", shared.mixed, "--skip-unaligned", "--out", out, "--top", "100000"]
        + arguments)
    try #require(patch.status == 0, "\(patch)")
    let all = try cells(out, "--cells", "--top", "0", "--sort", "cell")
    let sweep = try #require(try arrays(out).first)
    #expect(all.map(\.effect) == sweep.effect)
    #expect(all.map(\.effectMeanOfRatios) == sweep.effectMeanOfRatios)
    #expect(all.map(\.patched) == sweep.metric)
    #expect(all.map(\.standardError) == sweep.difference.standardError)
    #expect(all.map(\.lower) == sweep.difference.lower)
    #expect(all.map(\.upper) == sweep.difference.upper)
    #expect(all.map(\.p) == sweep.difference.p)
    #expect(all.map(\.q) == sweep.difference.q)
    #expect(all.map(\.pairs) == sweep.pairs)
    #expect(Set(all.map(\.cell)).count == all.count)

    // The columns are those of cells.csv, the cells in its order.
    let rows = try String(contentsOfFile: "\(out)/cells.csv", encoding: .utf8)
      .split(separator: "\n").dropFirst().map {
        $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      }
    var sites: [[String]] = []
    for row in rows {
      let place = row[12].isEmpty ? row[3] : row[12]
      let site = [row[1], row[2], place, row[10], row[11]]
      if sites.last != site { sites.append(site) }
    }
    func text(_ number: Int?) -> String { number.map(String.init) ?? "" }
    #expect(
      all.filter { $0.pairs > 0 }.map {
        [text($0.layer), text($0.head), $0.role ?? text($0.pos), text($0.src), text($0.neuron)]
      } == sites)

    // So are the names those of the table of top cells, in its order.
    let names = patch.lines.drop { !$0.hasPrefix("top cells ") }.dropFirst().prefix {
      !$0.hasPrefix("Denoising")
    }.compactMap { line in
      line.firstRange(of: #/ +[+-]\d+\.\d{4}/#).map { String(line[..<$0.lowerBound]) }
    }
    #expect(!names.isEmpty)
    let ranked = try cells(out, "--top", "0").filter { $0.effect ?? 0 != 0 }
    #expect(ranked.map(\.cell) == Array(names))
  }

  @Test func listsAreSortedAndCut() throws {
    let out = try patched("out", "--hooks", "resid_pre,z,embed")
    let all = try cells(out, "--cells", "--top", "0", "--sort", "cell")
    #expect(all.count == 33 + 9 + 11)
    #expect(try cells(out, "--cells").count == 20)
    func sorted(_ value: (Listed.Cell) -> Double?) -> [String] {
      all.enumerated().sorted {
        (value($0.element) ?? .infinity, $0.offset) < (value($1.element) ?? .infinity, $1.offset)
      }.map { "\($0.element.hook) \($0.element.cell)" }
    }
    for (order, expected) in [
      ("effect", sorted { $0.effect.map { -abs($0) } }), ("q", sorted(\.q)),
      ("patched", sorted { $0.patched.map { -$0 } }),
    ] {
      let found = try cells(out, "--sort", order, "--top", "0")
      #expect(found.map { "\($0.hook) \($0.cell)" } == expected, "\(order)")
      #expect(try cells(out, "--sort", order, "--top", "7") == Array(found.prefix(7)))
    }
    let text = try results(out, "--top", "3")
    #expect(text.lines.contains("3 of 53 cells"))
    #expect(text.lines.suffix(4).first?.hasPrefix("hook ") == true)
  }

  @Test func filtersLeaveTheCellsAskedFor() throws {
    let out = try patched(
      "out", "--hooks", "resid_pre,z,pattern", "--by", "pos", "--metric", "logit-diff,prob")
    let edges = try patched("edges", "--hooks", "pattern", "--by", "head-dest-src")
    let someQ = try #require(try arrays(out).flatMap(\.difference.q).compactMap { $0 }.min())
    for (directory, arguments, keeps) in [
      (
        out, ["--hooks", "z,resid_pre2"],
        { $0.hook == "z" || $0.hook == "resid_pre" && $0.layer == 2 }
      ),
      (out, ["--hook", "blocks.*.hook_resid_pre"], { $0.hook == "resid_pre" }),
      (out, ["--layer", "0,2"], { $0.layer != 1 }),
      (out, ["--pos", "3-5,9"], { [3, 4, 5, 9].contains($0.pos) }),
      (out, ["--metric", "prob"], { $0.metric == "prob" }),
      (out, ["--min-effect", "0.05"], { abs($0.effect ?? 0) >= 0.05 }),
      (out, ["--max-q", "\(someQ)"], { $0.q ?? 2 <= someQ }),
      (
        edges, ["--head", "1-2", "--pos", "7", "--layer", "1"],
        {
          $0.head != 0 && $0.pos == 7 && $0.layer == 1
        }
      ),
      (out, ["--head", "0"], { _ in false }),
    ] as [(String, [String], (Listed.Cell) -> Bool)] {
      let all = try cells(directory, "--cells", "--top", "0", "--sort", "cell")
      let answer = try Program.analyze.run(
        ["results", directory, "--json", "--top", "0", "--sort", "cell"] + arguments)
      let found = try snakeCase().decode(Listed.self, from: Data(answer.output.utf8)).cells
      #expect(found == all.filter(keeps), "\(arguments)")
      #expect(found?.count != all.count)
      #expect(found?.isEmpty == (arguments == ["--head", "0"]), "\(arguments)")
    }
    let last = try patched("last", "--hooks", "z", "--pos", "-1")
    #expect(try cells(last, "--pos", "-1", "--top", "0").count == 9)
    #expect(try cells(last, "--pos", "-3--2").isEmpty)
    try Program.analyze.refuse(
      "results", out, "--hooks", "resid_prr", status: 64, saying: ["it has resid_pre, z, pattern"])
    try Program.analyze.refuse(
      "results", out, "--hooks", "z-1", status: 64, saying: ["how many layers"])
    try Program.analyze.refuse(
      "results", out, "--metric", "prob,kl", status: 64,
      saying: ["no metric 'kl'; it has logit-diff, prob"])
  }

  /// Benjamini and Yekutieli's q-value of a test among m, as it is defined: over the p-values that
  /// are not smaller, the least of c m p / (the number of p-values up to it), at most 1.
  private func qValue(_ p: Double, among all: [Double], penalty: Double) -> Double {
    all.filter { $0 >= p }.map { other in
      penalty * Double(all.count) * other / Double(all.count { $0 <= other })
    }.reduce(1, min)
  }

  @Test func fdrChoosesTheMethod() throws {
    for (method, arguments) in [("bh", []), ("bh", ["--fdr", "bh"]), ("by", ["--fdr", "by"])] {
      let out = folder.path(method)
      let answer = try Program.analyze.run(
        ["patch", "--cache", shared.path, "--hooks", "resid_pre", "--out", out] + arguments)
      try #require(answer.status == 0, "\(answer)")
      #expect(try object(out)["fdr"] as? String == method)
      let tested = try cells(out, "--cells", "--top", "0").filter { $0.q != nil }
      #expect(tested.count > 5)
      let p = tested.compactMap(\.p)
      let penalty = method == "bh" ? 1 : (1...p.count).reduce(0) { $0 + 1 / Double($1) }
      for cell in tested {
        let expected = qValue(cell.p ?? .nan, among: p, penalty: penalty)
        #expect(abs((cell.q ?? .nan) - expected) < 1e-13, "\(method), \(cell.cell)")
      }
    }
  }

  @Test func cellsAsCSV() throws {
    let out = try patched("out", "--hooks", "resid_pre,z")
    let lines = try results(out, "--csv", "--sort", "cell", "--top", "0").lines
    #expect(
      lines[0]
        == "hook,layer,head,pos,src,neuron,cell,effect,effect_mean_of_ratios,patched,"
        + "standard_error,lower,upper,p,q,pairs,metric")
    let all = try cells(out, "--cells", "--sort", "cell", "--top", "0")
    #expect(lines.count == all.count + 1)
    for (line, cell) in zip(lines.dropFirst(), all) {
      let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      try #require(fields.count == 17, "\(line)")
      #expect(fields[0] == cell.hook && fields[6] == cell.cell && fields[16] == cell.metric)
      #expect(
        fields[1...5].map { Int($0) } == [cell.layer, cell.head, cell.pos, cell.src, cell.neuron])
      #expect(
        fields[7...14].map { Double($0) } == [
          cell.effect, cell.effectMeanOfRatios, cell.patched, cell.standardError, cell.lower,
          cell.upper, cell.p, cell.q,
        ])
      #expect(Int(fields[15]) == cell.pairs)
    }
  }

  /// What was found goes on as the cells of another sweep.
  @Test func aListOfCellsCanBePatchedAgain() throws {
    for arguments in [
      ["--hooks", "resid_pre,z"], ["--hooks", "pattern1", "--by", "head-dest-src"],
      ["--hooks", "mlp_out2", "--by", "neuron"], ["--hooks", "ln_final.hook_scale,k0"],
    ] {
      let out = folder.path("first")
      let first = try Program.analyze.run(
        ["patch", "--cache", shared.path, "--out", out] + arguments)
      try #require(first.status == 0, "\(first)")
      let list = try results(out, "--csv", "--top", "9", "--min-effect", "1e-9").output
      let path = try folder.write("list.csv", list)
      try Program.analyze.succeed(
        "patch", "--cache", shared.path, "--cells", path, "--out", folder.path("second"))
      let expected = try cells(out, "--top", "9", "--min-effect", "1e-9").map(\.effect)
      let found = try #require(try arrays(folder.path("second")).first?.effect)
      #expect(found.count == expected.count && found.count > 0)
      for (one, other) in zip(found, expected) {
        #expect(abs((one ?? .nan) - (other ?? .nan)) < 1e-5, "\(arguments)")
      }
    }
  }

  /// Axes that are read off the file alone.
  @Test func axesOfOtherKindsAreNamedByTheirLabels() throws {
    let out = try patched("out", "--hooks", "z")
    func names(_ change: ([String: Any]) -> [String: Any]) throws -> [Listed.Cell] {
      var changed = try object(out)
      changed["sweeps"] = try sweeps(out).map(change)
      let directory = folder.path("changed")
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true)
      try folder.write(
        "changed/patch.json", try JSONSerialization.data(withJSONObject: changed))
      return try cells(directory, "--cells", "--sort", "cell", "--top", "0")
    }
    func setting(_ values: [String: Any]) -> ([String: Any]) -> [String: Any] {
      { $0.merging(values) { $1 } }
    }
    let roles = try names(
      setting(["axes": ["layer", "role"], "labels": ["role": ["IO", "S, 2", "END"]]]))
    #expect(roles.map(\.cell).prefix(4) == ["L0 IO", "L0 S, 2", "L0 END", "L1 IO"])
    #expect(roles.map(\.layer) == [0, 0, 0, 1, 1, 1, 2, 2, 2])
    #expect(roles.allSatisfy { $0.pos == nil && $0.head == nil })
    #expect(roles.map(\.role).prefix(3) == ["IO", "S, 2", "END"])
    let csv = try results(folder.path("changed"), "--csv", "--sort", "cell").lines
    #expect(csv[2].hasPrefix("z,0,,\"S, 2\",,,\"L0 S, 2\","))
    let end = try cells(folder.path("changed"), "--role", "END", "--top", "0", "--sort", "cell")
    #expect(end.map(\.cell) == ["L0 END", "L1 END", "L2 END"])
    try Program.analyze.refuse(
      "results", folder.path("changed"), "--role", "S1", status: 64, saying: ["IO, S, 2, END"])

    let labels = ["a", "b \u{1B}[2J", "c", "d", "e", "f", "g", "h", "i"]
    let listed = try names(setting(["axes": ["cell"], "shape": [9], "labels": ["cell": labels]]))
    #expect(listed.map(\.cell) == ["a", "b \\u{1b}[2J", "c", "d", "e", "f", "g", "h", "i"])
    let other = try names(setting(["axes": ["layer", "tide"]]))
    #expect(other.map(\.cell).prefix(2) == ["L0 tide 0 all positions", "L0 tide 1 all positions"])
    try Program.analyze.refuse(
      "results", folder.path("changed"), "--csv", status: 64,
      saying: ["z, layer 3 × tide 3", "--json"])
    let places = try names(
      setting(["axes": ["layer", "pos"], "labels": ["pos": ["<|endoftext|>", " a", "b"]]]))
    #expect(places.map(\.cell).prefix(2) == ["L0 pos 0 <|endoftext|>", "L0 pos 1 ␣a"])
    #expect(places.map(\.pos).prefix(3) == [0, 1, 2])
  }
}
