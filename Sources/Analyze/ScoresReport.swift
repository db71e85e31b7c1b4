import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

/// The scores of heads in words and in files.
struct ScoresReport {
  let command: [String]
  /// Its name.
  let model: String
  let gpt2: GPT2
  /// Those that copying is scored on.
  let tokens: [Int32]
  let eigenvalues: EigenvalueScores
  let copying: CopyingScores?
  let top: Int

  /// Names, what they are, and scores [L, H].
  private var maps: [(name: String, title: String, scores: [Double?])] {
    let words = counted(tokens.count, "token")
    return
      (copying.map {
        [
          ("copying", "share of \(words) among their \($0.top) largest logits", $0.copying),
          ("negative", "the same with the sign of OV turned", $0.negative),
        ]
      } ?? []) + [
        ("ov", "Σ Re λ / Σ |λ| of W_E W_V W_O W_U", eigenvalues.ov),
        ("qk", "Σ Re λ / Σ |λ| of W_E W_Q W_Kᵀ W_Eᵀ", eigenvalues.qk),
      ]
  }

  func lines(style: Style) -> [String] {
    let heads = gpt2.config.heads
    var lines = [
      style.bold("scores of heads")
        + "  (\(shown(model)), weights \(gpt2.processing.rawValue), \(Linear.arithmetic) kernels)"
    ]
    if gpt2.processing == .raw {
      lines.append("warning: LayerNorms are not folded into these weights, and are left out")
    }
    for map in maps {
      let grid = EffectGrid(
        rows: (0..<gpt2.config.layers).map { "L\($0)" }, columns: (0..<heads).map { "H\($0)" },
        tokens: nil, rowAxis: "layer", columnAxis: "head", effects: map.scores,
        names: map.scores.indices.map(name), quantity: map.name)
      lines += ["", style.bold("\(map.name): \(map.title)")]
      lines += Heatmap(grid).lines(style: style)
      guard top > 0 else { continue }
      var table = Table([.left, .right])
      table.add(["head", map.name])
      for index in rankedCells(map.scores, count: top) {
        table.add([name(index), map.scores[index].map { signed($0, 4) } ?? ""])
      }
      lines += [""] + table.lines()
    }
    return lines
  }

  private func name(_ index: Int) -> String {
    AttentionHead(layer: index / gpt2.config.heads, head: index % gpt2.config.heads).description
  }

  /// Writes `scores.json`, `scores.csv` and an NPY a score, [L, H] of float64, NaN where there is none.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try ResultsDirectory.write("scores.json", try json(), to: directory) {
      try writeTables(to: directory)
    }
  }

  private func writeTables(to directory: String) throws {
    var text = "layer,head," + maps.map(\.name).joined(separator: ",") + "\n"
    for index in 0..<gpt2.config.layers * gpt2.config.heads {
      text += "\(index / gpt2.config.heads),\(index % gpt2.config.heads),"
      text += maps.map { csvNumber($0.scores[index]) }.joined(separator: ",") + "\n"
    }
    try replaceFile(directory + "/scores.csv", with: Array(text.utf8))
    for map in maps {
      try replaceFile(
        "\(directory)/\(map.name).npy",
        with: NumPyFile.bytes(
          map.scores.map { $0 ?? .nan }, shape: [gpt2.config.layers, gpt2.config.heads]))
    }
  }

  func json() throws -> String {
    try encodedJSON(
      File(
        tool: toolVersion, command: command, model: model, weights: gpt2.weightsDigest,
        weightProcessing: gpt2.processing.rawValue, kernel: Linear.arithmetic, tokens: tokens,
        largest: copying?.top, shape: [gpt2.config.layers, gpt2.config.heads],
        scores: Dictionary(uniqueKeysWithValues: maps.map { ($0.name, $0.scores) })))
  }

  private struct File: Encodable {
    let tool: String
    let command: [String]
    let model, weights, weightProcessing, kernel: String
    let tokens: [Int32]
    let largest: Int?
    let shape: [Int]
    /// By name, [L, H].
    let scores: [String: [Double?]]
  }
}
