import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

/// The tokens that the logit lens shows of one prompt.
struct LensTokens {
  let options: ReadingOptions
  let model: String?
  /// As the user wrote them.
  let places: [String]
  let count: Int

  func show(_ number: Int) throws {
    let reader = try CacheReader(directory: options.cache, access: options.io.access)
    let found = try reader.prompt(number)
    let (read, positions) = try self.positions(of: number, found, reader)
    let gpt2 = try loadModel(
      for: reader, name: model, preparing: .unembedding, work: options.work)
    let tokenizer = try loadTokenizer(
      for: reader, name: model, quiet: options.work.quiet)
    let lens = try LogitLens(reader, model: gpt2, places: [])
    try options.makeOut(for: "lens-\(number).json")
    let scores = try lens.top(
      min(count, gpt2.config.vocabulary), of: read, positions: positions)
    let file = File(
      tool: toolVersion, command: CommandLine.arguments, cache: cacheIdentity(reader),
      prompt: number, text: found.text,
      positions: zip(positions, scores).map { position, rows in
        .init(
          position: position, piece: found.pieces[position],
          rows: zip(lens.labels, rows).map { label, tokens in
            .init(
              row: label,
              top: tokens.map {
                .init(
                  token: Int($0.token), text: tokenizer.piece($0.token),
                  logit: $0.logit.isFinite ? $0.logit : nil,
                  probability: $0.probability.isFinite ? $0.probability : nil)
              })
          })
      })
    let json = try encodedJSON(file)
    if let out = options.out {
      try replaceFile("\(out)/lens-\(number).json", with: Array(json.utf8))
    }
    if options.json {
      print(json)
    } else {
      for line in file.lines(style: .forStandardOutput()) { print(line) }
      if let out = options.out { printError("wrote \(out)/lens-\(number).json") }
    }
  }

  /// The prompt with the roles of its first row, and the positions that are asked for.
  private func positions(of number: Int, _ prompt: Prompt, _ reader: CacheReader) throws -> (
    ReadPrompt, [Int]
  ) {
    let length = prompt.tokens.count
    let row = try reader.pairs().first { $0.clean == number || $0.corrupted == number }
    let roles = row.map { rolePositions(of: $0, length: length) } ?? [:]
    let pair = PatchingPair(
      clean: number, corrupted: number, answer: nil, wrongAnswer: nil, roles: roles)
    let read = ReadPrompt(pair, number: number, length: length)
    var positions: Set<Int> = []
    for name in try PlaceName.parse(places, option: "--pos") {
      switch name {
      case .all: positions.formUnion(0..<length)
      case .roles: positions.formUnion(roles.values.joined())
      case .place(let place):
        if let range = read.positions(of: place) {
          positions.formUnion(range)
        } else if case .role(let role) = place {
          throw PatchingError.noSuchRole(role, known: roles.keys.sorted())
        } else if case .index(let index) = place {
          throw PatchingError.noSuchPosition(index, longest: length)
        }
      }
    }
    return (read, positions.sorted())
  }

  private struct File: Encodable {
    struct Token: Encodable {
      let token: Int
      let text: String
      let logit: Float?
      let probability: Double?
    }
    struct Row: Encodable {
      let row: String
      let top: [Token]
    }
    struct Place: Encodable {
      let position: Int
      let piece: String
      let rows: [Row]
    }

    let tool: String
    let command: [String]
    let cache: PatchFile.Identity
    let prompt: Int
    let text: String
    let positions: [Place]

    /// A table a position: rows streams, columns the first, second … token with its probability.
    func lines(style: Style) -> [String] {
      var lines = [style.bold("logit lens: largest logits of prompt \(prompt)")]
      if let patched = cache.patched { lines.append("runs: \(visible(patched))") }
      for place in positions {
        lines += [
          "",
          style.bold("position \(place.position) \(tokenText(place.piece))  layer × rank"),
        ]
        let most = place.rows.map(\.top.count).max() ?? 0
        var table = Table([.right] + Array(repeating: .left, count: most))
        for row in place.rows {
          table.add(
            [row.row]
              + row.top.map {
                "\(shortened(tokenText($0.text), to: 14)) "
                  + ($0.probability.map { fixed($0, 3) } ?? "nan")
              })
        }
        lines += table.lines()
      }
      return lines
    }
  }
}
