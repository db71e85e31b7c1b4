import ArgumentParser
import CacheFormat
import FileIO
import FoundationEssentials
import Hub
import Model
import Tasks
import Terminal

/// What every task takes: how many rows, of which seed, for which tokenizer, and where they go.
struct TaskFileOptions: ParsableArguments {
  @Option(name: .long, help: "How many pairs; by default 100, or all where they are given.")
  var count: Int?

  @Option(name: .long, help: "Seed of everything that is drawn.")
  var seed: UInt64 = 0

  @Option(
    name: .long,
    help: "A model, as for capture; only its tokenizer and context length are read.")
  var model: String = "gpt2"

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      Write a .jsonl file, or a .txt file without roles and templates; without it, JSON lines are \
      printed.
      """,
      valueName: "file"))
  var out: String?

  @Flag(name: .long, help: "Replace the file if it is there.")
  var force = false

  /// Whether the rows go into a file of columns.
  private var isText: Bool {
    [".txt", ".tsv"].contains { out?.lowercased().hasSuffix($0) == true }
  }

  func validate() throws {
    if let count, !(1...10_000_000 ~= count) {
      throw ValidationError("--count takes 1 to 10 million.")
    }
    if let out {
      guard isText || [".jsonl", ".ndjson"].contains(where: { out.lowercased().hasSuffix($0) })
      else {
        throw ValidationError(
          "--out takes a name in .jsonl or .txt, which says the form of a prompt file.")
      }
    } else if force {
      throw ValidationError("--force replaces the file of --out.")
    }
  }

  /// Makes the rows of a task and writes them.
  ///
  /// - Parameters:
  ///   - make: the task, for a tokenizer.
  ///   - notes: what else is to be said of a task that was made.
  func run<Made: PromptTask>(
    skipUnusable: Bool = false, _ make: (Tokenizer) throws -> Made, notes: (Made) -> [String]
  ) throws {
    // Said before a minute's work rather than after it.
    if let out { try refuseToReplace(out) }
    let directory = try locateModel(model, for: .tokenizer)
    let tokenizer = try Tokenizer(directory: directory)
    if let doubt = tokenizer.doubt { printError("warning: \(doubt)") }
    let task = try make(tokenizer)
    let rows = try TaskRows(
      task, count: count ?? task.fixedCount ?? 100, seed: seed, tokenizer: tokenizer,
      contextLength: try contextLength(directory), skipUnusable: skipUnusable)
    let lines = try rows.rows.map(line)
    for skipped in rows.skipped {
      printError("warning: left out: \(skipped.source): \(skipped.rejection)")
    }
    guard let out else {
      for line in lines { print(line) }
      for note in facts(rows) + notes(task) { printError(note) }
      return
    }
    let text = (isText ? [header] : []) + lines
    try replaceFile(out, with: Array(text.map { $0 + "\n" }.joined().utf8))
    print("wrote \(out)")
    for note in facts(rows) + notes(task) { print(note) }
  }

  /// A model directory may hold a tokenizer alone; capture reads the configuration in any case.
  private func contextLength(_ directory: String) throws -> Int? {
    guard isPlainFile(directory + "/config.json") else { return nil }
    return try ModelConfig(directory: directory).contextLength
  }

  private func refuseToReplace(_ path: String) throws {
    try CacheReader.requireNoCache(in: directory(of: path))
    guard isTaken(path) else { return }
    guard force, isPlainFile(path) else {
      throw TaskFileError(path: path, isPlainFile: isPlainFile(path))
    }
  }

  private func line(_ row: TaskRow) throws -> String {
    guard isText else { return row.jsonLine() }
    guard let line = row.textLine() else {
      throw UsageError(
        "\(row.id ?? "a row") holds a line break, or begins with #; give --out a name in .jsonl")
    }
    return line
  }

  /// A comment that says how the file was made.
  private var header: String {
    let arguments = CommandLine.arguments.dropFirst().map(visible).joined(separator: " ")
    return "# analyze \(arguments)\n# clean <TAB> corrupted <TAB> answer <TAB> wrong answer"
  }

  private func facts(_ rows: TaskRows) -> [String] {
    let lengths =
      rows.shortest == rows.longest ? "\(rows.shortest)" : "\(rows.shortest) to \(rows.longest)"
    var notes = ["\(counted(rows.rows.count, "row")) of \(lengths) tokens, seed \(seed)"]
    let templates = Set(rows.rows.compactMap(\.template))
    if templates.count > 1 { notes[0] += ", \(templates.count) templates" }
    if rows.redrawn > 0 { notes.append("\(rows.redrawn) draws were refused and drawn again") }
    if let count, rows.rows.count + rows.skipped.count < count {
      notes.append("there are no more than \(counted(rows.rows.count, "row"))")
    }
    return notes
  }
}

/// How many words of each list are usable.
func note(_ supply: WordSupply) -> String {
  supply.entries.map { "\($0.usable) of \($0.total) \($0.list)" }.joined(separator: ", ")
    + " are one token"
}

/// A prompt file that would have to be replaced.
struct TaskFileError: ReportableError {
  let path: String
  let isPlainFile: Bool

  var description: String {
    isPlainFile
      ? "\(path) is there already; give --force to replace it, or another --out"
      : "\(path) is there and is not a plain file; give another --out"
  }

  var exitCode: SysExit { .cannotCreate }
}
