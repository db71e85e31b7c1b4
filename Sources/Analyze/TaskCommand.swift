import ArgumentParser
import Tasks
import Terminal

struct TaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "task",
    abstract: "Makes prompt files for capture.",
    discussion: """
      Prompts come in pairs of equally many tokens, with answers of one token each, checked with the \
      tokenizer of --model. The same seed and tokenizer give the same file on every machine. \
      docs/tasks.md describes the tasks.
      """,
    subcommands: [
      IOITaskCommand.self, GreaterThanTaskCommand.self, DocstringTaskCommand.self,
      InductionTaskCommand.self, FactsTaskCommand.self,
    ])

  @Flag(name: .long, help: "List the tasks, and the corruptions of each.")
  var list = false

  func run() throws {
    guard list else { throw CleanExit.helpRequest(self) }
    var table = Table([.left, .left, .left])
    for task in TaskCommand.tasks {
      table.add([task.name, "", task.meaning])
      for corruption in task.corruptions {
        table.add(["", corruption.name, corruption.meaning])
      }
    }
    print(table.lines().joined(separator: "\n"))
  }

  private typealias Described = (name: String, meaning: String)

  private static let tasks: [(name: String, meaning: String, corruptions: [Described])] = [
    (
      "ioi", "who receives, of two names of which one is said again (Wang et al. 2022)",
      IOICorruption.named.map { ($0.name, "\($0.pattern)  \($0.meaning)") }
    ),
    (
      "greater-than", "a later year of the same century (Hanna et al. 2023)",
      [("01", "it began in the year 01")]
    ),
    (
      "docstring", "the next argument of a docstring (Heimersheim and Janiak 2023)",
      DocstringTask.Corruption.allCases.map { ($0.rawValue, $0.meaning) }
    ),
    (
      "induction", "what followed a random word the first time",
      [("word", "another word followed it")]
    ),
    (
      "facts", "the object of a subject and a relation, from a CSV file (Meng et al. 2022)",
      [("subject", "another subject"), ("none", "no corrupted prompt, to trace or ablate")]
    ),
  ]
}

extension DocstringTask.Corruption {
  fileprivate var meaning: String {
    switch self {
    case .answer: "the argument to come is another one in the function's head"
    case .definition: "all arguments are others in the function's head"
    case .documentation: "those in the docstring are others"
    }
  }
}
