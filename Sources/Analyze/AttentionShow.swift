import CacheFormat
import FileIO
import Model
import Patching
import Reading
import Terminal

/// The attention patterns of some heads on one prompt.
struct AttentionShow {
  let options: ReadingOptions
  let heads: [AttentionHead]
  /// Of the prompt.
  let number: Int
  /// The command line, as the result records it.
  var command = CommandLine.arguments

  /// The most positions whose pattern is printed.
  private static let mostPrinted = 40

  func show() throws {
    let reader = try CacheReader(directory: options.cache, access: options.io.access)
    let prompt = try reader.prompt(number)
    let patterns = try patterns(in: reader, of: prompt)
    if options.json {
      print(try json(patterns, prompt, reader))
    } else {
      printPatterns(patterns, prompt, reader.plan)
    }
    if let out = options.out {
      printError("wrote \(out)/attention-\(number).json, and an SVG and an NPY a head")
    }
  }

  /// Reads the patterns, [T, T] by head, and writes them if there is an `--out`.
  ///
  /// - Parameter prompt: that with the number.
  /// - Throws: `ReadingError.hooksNotCached`, `.noSuchHead`, `CacheError`, `FileError`.
  func patterns(in reader: CacheReader, of prompt: Prompt) throws -> [[Float]] {
    let attention = try AttentionReading(reader)
    for head in heads { try attention.check(layer: head.layer, head: head.head) }
    try options.makeOut(for: "attention-\(number).json")
    let pair = PatchingPair(clean: number, corrupted: number, answer: nil, wrongAnswer: nil)
    let read = ReadPrompt(pair, number: number, length: prompt.tokens.count)
    let patterns = try heads.map {
      try attention.pattern(layer: $0.layer, head: $0.head, of: read)
    }
    if let out = options.out {
      let json = try json(patterns, prompt, reader)
      try replaceFile("\(out)/attention-\(number).json", with: Array(json.utf8))
      try write(patterns, prompt, to: out)
    }
    return patterns
  }

  private func json(_ patterns: [[Float]], _ prompt: Prompt, _ reader: CacheReader) throws
    -> String
  {
    let length = prompt.tokens.count
    return try encodedJSON(
      File(
        tool: toolVersion, command: command, cache: cacheIdentity(reader),
        prompt: number, text: prompt.text, pieces: prompt.pieces,
        heads: zip(heads, patterns).map { head, pattern in
          .init(
            layer: head.layer, head: head.head,
            pattern: stride(from: 0, to: pattern.count, by: max(1, length)).map {
              pattern[$0..<$0 + length].map { $0.isFinite ? $0 : nil }
            })
        }))
  }

  /// The picture of a head's pattern.
  func picture(_ pattern: [Float], of head: AttentionHead, _ prompt: Prompt) -> AttentionSVG {
    let tokens = prompt.pieces.map(tokenText)
    return AttentionSVG(
      weights: AttentionWeights(pattern, positions: tokens.count), tokens: tokens, differs: [],
      layout: AttentionLayout(
        labels: tokens.enumerated().map { AttentionLayout.label($0.offset, $0.element) }),
      title: "L\(head.layer) H\(head.head) on prompt \(number)")
  }

  private func write(_ patterns: [[Float]], _ prompt: Prompt, to out: String) throws {
    let length = prompt.tokens.count
    for (head, pattern) in zip(heads, patterns) {
      let path = "\(out)/attention-\(number)-L\(head.layer)H\(head.head)"
      try replaceFile(
        path + ".svg", with: Array(picture(pattern, of: head, prompt).file().utf8))
      try replaceFile(path + ".npy", with: NumPyFile.bytes(pattern, shape: [length, length]))
    }
  }

  private func printPatterns(_ patterns: [[Float]], _ prompt: Prompt, _ plan: CachePlan) {
    let style = Style.forStandardOutput()
    let tokens = prompt.pieces.map(tokenText)
    print(style.bold("attention patterns of prompt \(number)"))
    for line in plan.patchedLines { print(line) }
    for (head, pattern) in zip(heads, patterns) {
      print()
      print(style.bold("L\(head.layer) H\(head.head)  query × key"))
      if tokens.count <= AttentionShow.mostPrinted {
        let width = tokens.map(displayWidth).max() ?? 0
        let grid = EffectGrid(
          rows: tokens.enumerated().map { "\($0.offset) " + padded($0.element, to: width, .left) },
          columns: tokens.indices.map(String.init), tokens: nil, rowAxis: "query",
          columnAxis: "key",
          effects: pattern.indices.map {
            $0 % tokens.count <= $0 / tokens.count ? Double(pattern[$0]) : nil
          }, names: [], quantity: "weight")
        for line in Heatmap(grid).lines(style: style) { print(line) }
      } else {
        print("\(counted(tokens.count, "position")); --out writes the picture")
      }
      guard let last = tokens.indices.last else { continue }
      let weights = AttentionWeights(pattern, positions: tokens.count)
      print(
        "position \(last) \(tokens[last]) attends most to "
          + weights.largest(5, query: last).map {
            "\($0.key) \(tokens[$0.key]) \(fixed($0.weight, 3))"
          }.joined(separator: ", "))
    }
  }

  private struct File: Encodable {
    struct Head: Encodable {
      let layer, head: Int
      /// [query][key]
      let pattern: [[Float?]]
    }

    let tool: String
    let command: [String]
    let cache: PatchFile.Identity
    let prompt: Int
    let text: String
    let pieces: [String]
    let heads: [Head]
  }
}
