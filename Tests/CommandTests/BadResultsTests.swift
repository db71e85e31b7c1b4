import Foundation
import TestSupport
import Testing

/// What `analyze results` says of files that `analyze patch` did not write.
@Suite struct BadResultsTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory
  /// A result's `patch.json`.
  private let whole: Data

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
    let answer = try Program.analyze.succeed(
      "patch", "--cache", shared.path, "--hooks", "z", "--json", "--quiet")
    whole = Data(answer.output.utf8)
    try FileManager.default.createDirectory(
      atPath: folder.path("out"), withIntermediateDirectories: true)
    try folder.write("out/patch.json", whole)
    try Program.analyze.succeed("results", folder.path("out"))
  }

  private func expectRefused(
    _ contents: Data, status: Int32 = 65, _ words: String...,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try folder.write("out/patch.json", contents)
    for arguments in [[], ["--csv"], [folder.path("out")]] {
      let answer = try Program.analyze.run(["results", folder.path("out")] + arguments)
      #expect(answer.status == status, "\(answer)", sourceLocation: sourceLocation)
      #expect(answer.output == "", sourceLocation: sourceLocation)
      #expect(
        answer.errors.split(separator: "\n").count == 1, "\(answer)",
        sourceLocation: sourceLocation)
      for word in words + ["analyze: \(folder.path("out"))/patch.json"] {
        #expect(
          answer.errors.contains(word), "no “\(word)” in \(answer)",
          sourceLocation: sourceLocation)
      }
    }
  }

  @Test func aFileThatEndsEarly() throws {
    for length in stride(from: 0, to: whole.count - 2, by: 97) {
      try folder.write("out/patch.json", whole.prefix(length))
      try Program.analyze.refuse(
        "results", folder.path("out"), status: 65, saying: ["patch.json is not the JSON"])
    }
  }

  @Test func bytesThatAreOtherOnes() throws {
    let seed = UInt64.random(in: 0 ... .max)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<60 {
      var changed = whole
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let place = Int.random(in: 0..<changed.count, using: &generator)
        changed[place] =
          [UInt8](Array("0-9{}[]\",:.eEx\n\\".utf8) + [0, 0xFF]).randomElement(
            using: &generator) ?? 0
      }
      try folder.write("out/patch.json", changed)
      let answer = try Program.analyze.run(["results", folder.path("out"), "--cells"])
      #expect([0, 65].contains(answer.status), "seed \(seed): \(answer)")
    }
  }

  /// A change of the first sweep, or of the file if no sweep is asked for.
  private func changed(_ change: (inout [String: Any]) -> Void, ofFile: Bool = false) throws -> Data
  {
    var file = try #require(try JSONSerialization.jsonObject(with: whole) as? [String: Any])
    if ofFile {
      change(&file)
    } else {
      var sweeps = try #require(file["sweeps"] as? [[String: Any]])
      change(&sweeps[0])
      file["sweeps"] = sweeps
    }
    return try JSONSerialization.data(withJSONObject: file)
  }

  @Test func entriesThatAreMissing() throws {
    let file = try #require(try JSONSerialization.jsonObject(with: whole) as? [String: Any])
    for key in file.keys {
      try expectRefused(try changed({ $0[key] = nil }, ofFile: true), key, "is missing")
    }
    let sweep = try #require((file["sweeps"] as? [[String: Any]])?.first)
    #expect(sweep.count > 10)
    for key in sweep.keys {
      let camelCase = key.split(separator: "_").enumerated().map {
        $0.offset == 0 ? String($0.element) : $0.element.capitalized
      }.joined()
      let answer = try changed { $0[key] = nil }
      try folder.write("out/patch.json", answer)
      let refused = try Program.analyze.run(["results", folder.path("out")])
      #expect(refused.status == 65 && refused.sentence.contains("sweeps[0]."), "\(refused)")
      #expect(
        refused.sentence.contains(key) || refused.sentence.contains(camelCase), "\(refused)")
    }
  }

  @Test func arraysThatDoNotFit() throws {
    let nine = Array(repeating: 0.5, count: 9)
    func sweep(_ values: [String: Any]) throws -> Data {
      try changed { $0.merge(values) { $1 } }
    }
    try expectRefused(try sweep(["effect": [0.5]]), "effect has 1 values", "9 cells")
    try expectRefused(try sweep(["pairs": [Int]()]), "pairs has 0 values")
    try expectRefused(try sweep(["shape": [3, 4]]), "has 9 values where the shape has 12 cells")
    try expectRefused(try sweep(["shape": [-3, -3]]), "sweeps[0].shape is impossible")
    try expectRefused(try sweep(["shape": [3, -9_223_372_036_854_775_808]]), "shape is impossible")
    try expectRefused(
      try sweep(["shape": [4_294_967_296, 4_294_967_296]]), "shape is impossible")
    try expectRefused(
      try sweep(["shape": [0, 9_223_372_036_854_775_807]]), "9 values where the shape has 0 cells")
    try expectRefused(try sweep(["shape": [9]]), "axes", "each of the 1 lengths")
    try expectRefused(try sweep(["axes": ["layer", "layer"]]), "axes")
    try expectRefused(try sweep(["axes": ["layer"], "shape": [9]]), "layers are not 9")
    try expectRefused(try sweep(["layers": [0, 0, 1]]), "layers are not 3 different numbers")
    try expectRefused(try sweep(["layers": [0, 1, -1]]), "an impossible layer")
    try expectRefused(
      try sweep(["layers": [0, 1, 9_223_372_036_854_775_807]]), "an impossible layer")
    try expectRefused(
      try sweep(["pairs": nine.map { _ in 5 }]), "counts other than the 4 pairs that there are")
    try expectRefused(try sweep(["labels": ["head": ["a"]]]), "1 for the 3 places of the axis head")
    try expectRefused(
      try sweep(["axes": ["layer", "role"], "labels": ["role": ["a", "b"]]]), "2 for the 3 places")
    try expectRefused(
      try sweep(["axes": ["layer", "\u{1B}[2J"], "labels": ["\u{1B}[2J": ["a"]]]), "\\u{1b}[2J")
    let difference: [String: Any] = Dictionary(
      uniqueKeysWithValues: ["mean", "standard_error", "median", "lower", "upper", "p", "q"].map {
        ($0, nine)
      })
    try expectRefused(
      try sweep(["difference": difference.merging(["q": Array(nine.dropLast())]) { $1 }]),
      "difference.q")
    try expectRefused(
      try sweep(["difference": difference.merging(["p": nine.map { _ in 1.5 }]) { $1 }]),
      "not between 0 and 1")
  }

  @Test func valuesOfAnotherKind() throws {
    func sweep(_ key: String, _ value: Any) throws -> Data { try changed { $0[key] = value } }
    try expectRefused(
      try sweep("effect", Array(repeating: "NaN", count: 9)), "sweeps[0].effect[0]", "wrong kind")
    try expectRefused(try sweep("layers", [0.5, 1, 2]))
    try expectRefused(try sweep("layers", [true, 1, 2]), "sweeps[0].layers[0]")
    try expectRefused(try sweep("hook", 3), "sweeps[0].hook")
    try expectRefused(try sweep("shape", NSNull()), "sweeps[0].shape")
    try expectRefused(Data("[]".utf8))
    try expectRefused(Data("null".utf8))
    try expectRefused(Data([0xFF, 0xFE, 0x00]))
    let text = String(decoding: whole, as: UTF8.self)
    for literal in ["NaN", "1e999", "-Infinity", "99999999999999999999"] {
      try expectRefused(
        Data(text.replacing(#/"pairs":\[4,/#, with: "\"pairs\":[\(literal),").utf8))
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
      let nested =
        String(repeating: open, count: 200_000) + "1" + String(repeating: close, count: 200_000)
      try expectRefused(Data(nested.utf8))
      try expectRefused(
        Data(text.replacing("\"layers\":", with: "\"layers\":\(nested),\"x\":").utf8))
    }
  }

  /// Numbers at the end of what a Double holds are legal, and overflow nothing but themselves.
  @Test func hugeNumbers() throws {
    let cells = (0..<9).map { $0 % 2 == 0 ? 1e308 : -1e308 }
    try folder.write("out/patch.json", try changed { $0["effect"] = cells })
    try FileManager.default.createDirectory(
      atPath: folder.path("other"), withIntermediateDirectories: true)
    try folder.write("other/patch.json", try changed { $0["effect"] = cells.map { -$0 } })
    for arguments in [["--csv"], ["--json"], ["--top", "0"]] {
      let answer = try Program.analyze.run(
        ["results", folder.path("out"), folder.path("other")] + arguments)
      #expect(answer.status == 0, "\(answer)")
      #expect(answer.output.contains(#/\binf|Infinity/#), "\(answer)")
    }
    try Program.analyze.succeed("results", folder.path("out"), "--cells")
  }

  @Test func whatIsNoFile() throws {
    let none = folder.path("none")
    for directory in [none, folder.path, folder.path("out/patch.json")] {
      try Program.analyze.refuse(
        "results", directory, status: 66,
        saying: ["there is no result \(directory)/patch.json", "analyze patch --out"])
    }
    try Program.analyze.refuse(
      "results", folder.path("out"), none, status: 66, saying: ["there is no result \(none)"])

    let path = folder.path("out/patch.json")
    try FileManager.default.removeItem(atPath: path)
    try #require(mkfifo(path, 0o600) == 0)
    try Program.analyze.refuse(
      "results", folder.path("out"), status: 65, saying: ["patch.json is not a plain file"])
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    try Program.analyze.refuse(
      "results", folder.path("out"), status: 65, saying: ["patch.json is not a plain file"])
    try FileManager.default.removeItem(atPath: path)
    // Sparse: of a size, but of no blocks.
    try folder.write("out/patch.json", "")
    try #require(truncate(path, 1 << 40) == 0)
    try Program.analyze.refuse(
      "results", folder.path("out"), status: 65, saying: ["patch.json is larger than"])
  }
}
