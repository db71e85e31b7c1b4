import ArgumentParser
import Glibc

/// How a command works that takes a while: on how many threads, and whether it says how far it is.
public struct WorkOptions: ParsableArguments {
  @Option(help: "Threads to use; by default one a core.")
  public var threads = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  @Flag(help: "Show no progress.")
  public var quiet = false

  public init() {}

  public func validate() throws {
    guard 1...4096 ~= threads else { throw ValidationError("--threads takes 1 to 4,096.") }
  }
}
