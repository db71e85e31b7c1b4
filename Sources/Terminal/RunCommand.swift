import ArgumentParser
import FileIO
@preconcurrency import Glibc

/// The program's name and version, as caches and results record it.
public let toolVersion = "patchbay 0.1.0"

/// Runs a command line and ends the process.
///
/// An error is shown as one sentence on standard error, `name: sentence`, and its sysexits code is
/// the exit status. Mistakes in the arguments get ArgumentParser's own message and 64.
public func runCommand<Root: ParsableCommand>(_ root: Root.Type, name: String) -> Never {
  openStandardStreams()
  reportBusErrors(name: name)
  // A file that would become larger than the system lets it is an error like a full disk.
  signal(SIGXFSZ, SIG_IGN)
  do {
    var command = try root.parseAsRoot()
    try command.run()
    try finishOutput()
    exit(EXIT_SUCCESS)
  } catch let error as any ReportableError {
    printError("\(name): \(error)")
    exit(error.exitCode.rawValue)
  } catch {
    root.exit(withError: error)
  }
}

/// Puts /dev/null where the caller closed a standard stream, before a file of the cache gets its
/// number and messages are written into that file.
private func openStandardStreams() {
  for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]
  where fcntl(descriptor, F_GETFD) < 0 {
    _ = open("/dev/null", O_RDWR)
  }
}

/// Writes out what is buffered for standard output. A result that did not get there whole must not
/// look like success.
private func finishOutput() throws(FileError) {
  let flushed = fflush(stdout)
  let reason = errno
  guard flushed == 0, ferror(stdout) == 0 else {
    throw FileError(.write, "standard output", errno: flushed == 0 ? EIO : reason)
  }
}

/// Writes a line to standard error.
public func printError(_ line: String) {
  writeError(line + "\n")
}

/// Writes text to standard error as it is. What cannot be written there has nowhere else to go.
func writeError(_ text: String) {
  var text = text
  text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// A mistake in how a command was called that the argument parser cannot see.
public struct UsageError: ReportableError {
  public let description: String
  public var exitCode: SysExit { .usage }
  public init(_ description: String) { self.description = description }
}
