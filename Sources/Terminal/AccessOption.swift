import ArgumentParser
import FileIO

extension FileAccess: ExpressibleByArgument {}

/// How a command reads the segments of a cache.
public struct AccessOption: ParsableArguments {
  @Option(
    name: .customLong("io"),
    help: "How segments are read: map, pread, or auto, which maps but on network file systems.")
  public var access: FileAccess = .automatic

  public init() {}
}
