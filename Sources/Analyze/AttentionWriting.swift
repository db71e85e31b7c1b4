import CacheFormat
import Patching
import Reading
import Terminal

extension AttentionCommand {
  /// What heads write of the tokens that they attend to.
  func writing(
    of heads: [AttentionHead], _ opened: OpenedCache, _ command: [String]
  ) throws -> ReadingReport {
    let selection = try ReadingSelection(opened, run: which)
    let queries = try selection.places(try PlaceName.parse(from, option: "--from"))
    let keys = try selection.places(try PlaceName.parse(to, option: "--to"))
    let writing = try HeadWriting(of: heads, in: selection.reader, model: try opened.model())
    try options.makeOut(for: "attention-writing.json")
    let prompts = selection.read
    var progress = options.progress("reading", prompts.count)
    let found = try writing.run(
      from: queries, to: keys, in: prompts, tokens: selection.prompts,
      threads: options.work.threads
    ) { progress.update(done: $0) }
    func part(_ table: ReadingTable, _ title: String) -> ReadingReport.Part {
      .init(
        table: table, name: "attention-writing-\(table.quantity)", title: title, rowAxis: "head",
        columnAxis: "from→to")
    }
    let columns =
      found.attention.columns.count == 1 ? found.attention.columns[0] : "head × from→to"
    return ReadingReport(
      command: command, analysis: "attention-writing", selection: selection,
      threads: options.work.threads, prompts: prompts,
      formula: "attention, and what heads write on the token attended to,",
      parts: [
        part(found.attention, "attention  \(columns)"),
        part(found.written, "written  \(columns)"),
        part(found.correlation, "correlation of the two over prompts  \(columns)"),
      ], scatters: scatters(found, selection, prompts), top: top)
  }

  /// A picture a head: prompts by attention and by what is written, the second place in another
  /// colour.
  private func scatters(
    _ found: HeadWriting.Result, _ selection: ReadingSelection, _ prompts: [ReadPrompt]
  ) -> [ReadingReport.Scatter] {
    let (columns, cells) = (found.attention.columns, found.attention.means.count)
    return found.attention.rows.enumerated().map { row, head in
      let points = prompts.indices.flatMap { prompt in
        columns.indices.map { column in
          let cell = prompt * cells + row * columns.count + column
          return ScatterSVG.Point(
            x: Double(found.attention.values[cell]), y: Double(found.written.values[cell]),
            title: "\(columns[column]) of prompt \(prompts[prompt].number)",
            isSecond: column == 1, isHollow: column > 1)
        }
      }
      let colours = zip(columns, ["blue", "red", "rings"]).map { "\($0) \($1)" }
      return ReadingReport.Scatter(
        name: "attention-writing-\(head)",
        picture: ScatterSVG(
          heading: [
            "What \(head) writes of what it attends to",
            columns.count > 1 ? colours.joined(separator: ", ") : columns[0],
            "\(counted(prompts.count, "prompt")), \(selection.reader.plan.model.name)",
          ], x: "attention", y: "output along the token's unembedding", points: points,
          description: "Points of attention and output for \(counted(prompts.count, "prompt")).")
      )
    }
  }
}
