import ArgumentParser
import Terminal

struct AnalyzeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "analyze",
    abstract: "Analyses a cache of activations that `capture` wrote.",
    version: toolVersion,
    subcommands: [
      PatchCommand.self, AblateCommand.self, PathCommand.self, CircuitCommand.self,
      TraceCommand.self, ReportCommand.self, ResultsCommand.self, AuditCommand.self,
      LensCommand.self, AttributionCommand.self, AttentionCommand.self, StatsCommand.self,
      ScoresCommand.self, HooksCommand.self,
      TaskCommand.self, TokensCommand.self,
    ])
}

@main
enum Analyze {
  static func main() {
    runCommand(AnalyzeCommand.self, name: "analyze")
  }
}
