import ArgumentParser
import Model
import Tasks
import Terminal

struct IOITaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ioi",
    abstract: "Indirect object identification (Wang et al. 2022).",
    discussion: """
      Roles are IO, S1, S1+1, S2 and END. Orders and templates take turns. The answer is IO and the \
      wrong one S, whatever the corruption.
      """)

  enum Order: String, ExpressibleByArgument, CaseIterable {
    case mixed, abba, baba
  }

  enum Preset: String, ExpressibleByArgument, CaseIterable {
    case arena, seed1
  }

  @Option(name: .long, help: "Which name comes first: IO (abba), S (baba), or each in turn.")
  var templateOrder: Order = .mixed

  @Option(
    name: .long,
    help: """
      What changes: \(IOICorruption.named.map(\.name).joined(separator: ", ")), or letters such as \
      "ABB->CDD, BAB->DCD": A is IO, B is S, all others are fresh names.
      """)
  var corrupt: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Numbers of templates, separated by commas; prompts of one template have one length.",
      valueName: "numbers"))
  var templates: String?

  @Option(
    name: .long,
    help: "Known prompts instead: ARENA's eight (arena), or five with names exchanged (seed1).")
  var preset: Preset?

  @OptionGroup var options: TaskFileOptions

  func validate() throws {
    if preset != nil {
      guard templateOrder == .mixed, corrupt == nil, templates == nil, options.count == nil else {
        throw ValidationError(
          "--preset gives the prompts as they are; leave out --count, --corrupt, --templates and "
            + "--template-order.")
      }
    }
    _ = try templateNumbers()
  }

  func run() throws {
    if let preset {
      return try options.run(
        { _ in try preset == .arena ? IOIPreset.arena() : IOIPreset.seed1() }, notes: { _ in [] })
    }
    let orders: [IOIOrder] =
      switch templateOrder {
      case .mixed: IOIOrder.allCases
      case .abba: [.abba]
      case .baba: [.baba]
      }
    let corruption = try IOICorruption(corrupt ?? "s2")
    let numbers = try templateNumbers()
    try options.run({ tokenizer in
      try IOITask(
        tokenizer: tokenizer, templates: numbers, orders: orders, corruption: corruption)
    }) { [note($0.supply)] }
  }

  private func templateNumbers() throws -> [Int]? {
    guard let templates else { return nil }
    return try templates.split(separator: ",", omittingEmptySubsequences: false).map { text in
      guard let number = Int(text) else {
        throw ValidationError("--templates takes numbers separated by commas, such as 0,3.")
      }
      return number
    }
  }
}

struct GreaterThanTaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "greater-than",
    abstract: "A later year of the same century (Hanna et al. 2023).",
    discussion: """
      Something lasted from the year 17YY to the year 17..: the answer is a later year, the wrong one \
      a year that is not. In the corrupted prompt it began in 1701. Roles are event, century, year \
      (YY) and END.
      """)

  @OptionGroup var options: TaskFileOptions

  func run() throws {
    try options.run({ try GreaterThanTask(tokenizer: $0) }) { [note($0.supply)] }
  }
}

struct DocstringTaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "docstring",
    abstract: "The next argument of a docstring (Heimersheim and Janiak 2023).",
    discussion: """
      A Python function has the arguments A to D, its docstring describes A and B, and C comes next. \
      Roles are A_def to D_def, A_doc, B_doc and END.
      """)

  @Option(
    name: .long,
    help: """
      What is another word: the argument to come (answer), all arguments (def), or those in the \
      docstring (doc).
      """)
  var corrupt: DocstringTask.Corruption = .answer

  @OptionGroup var options: TaskFileOptions

  func run() throws {
    try options.run({ try DocstringTask(tokenizer: $0, corruption: corrupt) }) {
      [note($0.supply)]
    }
  }
}

extension DocstringTask.Corruption: ExpressibleByArgument {}

struct InductionTaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "induction",
    abstract: "Random words, and then the first of them again.",
    discussion: """
      The answer is the word that followed the last one the first time. Roles are A, the first \
      occurrence of the last word, B, the word after it, and END. Words are single tokens of letters.
      """)

  @Option(name: .long, help: "Words in the first round.")
  var length = 10

  @Option(name: .long, help: "How many of them come again: 1 up to --length, for all.")
  var repeated = 6

  @OptionGroup var options: TaskFileOptions

  func run() throws {
    try options.run({ tokenizer in
      try InductionTask(tokenizer: tokenizer, length: length, repeated: repeated)
    }) { ["words from \(counted($0.vocabulary.count, "token"))"] }
  }
}

struct FactsTaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "facts",
    abstract: "Facts of a CSV file: a subject, a relation and an object.",
    discussion: """
      The columns are subject, relation and object. A relation is a prompt with {} for the subject, \
      such as "{} is in the city of". The row's subject is filled in, for noise on its tokens; the \
      role subject_last is its last token.
      """)

  enum Corruption: String, ExpressibleByArgument, CaseIterable {
    case subject, none
  }

  @Option(name: .long, help: ArgumentHelp("The facts.", valueName: "file.csv"))
  var csv: String

  @Option(
    name: .long,
    help: """
      The corrupted prompt: another subject of the same relation, with as many tokens and another \
      object (subject), or none.
      """)
  var corrupt: Corruption = .subject

  @Flag(name: .long, help: "Leave out facts whose object is not one token.")
  var skipUnusable = false

  @OptionGroup var options: TaskFileOptions

  func run() throws {
    let facts = try factTable(path: csv)
    try options.run(
      skipUnusable: skipUnusable,
      { FactsTask(facts, tokenizer: $0, isPaired: corrupt == .subject) }
    ) { task in
      task.unpaired == 0
        ? []
        : ["\(counted(task.unpaired, "fact")) without a corrupted prompt: no other subject fits"]
    }
  }
}
