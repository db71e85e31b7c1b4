import ArgumentParser
import Terminal

struct BenchmarkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "patchbay-bench",
    abstract: "Measures Patchbay's own parts beside what the machine could do at most.",
    version: toolVersion,
    subcommands: [
      StoreCommand.self, ArraysCommand.self, HooksCommand.self, PassCommand.self,
      ProductsCommand.self, PeakCommand.self, DiskCommand.self,
    ])
}

@main
enum Benchmark {
  static func main() {
    runCommand(BenchmarkCommand.self, name: "patchbay-bench")
  }
}
