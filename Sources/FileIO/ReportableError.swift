/// The exit codes of sysexits.h that Patchbay's commands use.
public enum SysExit: Int32, Sendable {
  case usage = 64
  case badData = 65
  case noInput = 66
  case software = 70
  case cannotCreate = 73
  case ioError = 74
  case tryAgain = 75
  case configuration = 78
}

/// An error that a command can show to its user as it is.
///
/// `description` is one sentence that names the file, what is wrong with it, and the way on.
public protocol ReportableError: Error, CustomStringConvertible {
  var exitCode: SysExit { get }
}
