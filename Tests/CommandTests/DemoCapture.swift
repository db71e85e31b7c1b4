import CacheFormat
import Foundation
import TestSupport
import Testing

/// Captures of the demo model by the built program, to be disturbed.
struct DemoCapture {
  let folder: TemporaryDirectory
  private let model: String

  /// Prompts of the demo model, enough for several segments.
  init() throws {
    folder = try TemporaryDirectory()
    model = repositoryPath("examples/demo-model")
    let rows = try String(contentsOfFile: repositoryPath("examples/ioi.txt"), encoding: .utf8)
      .split(separator: "\n").filter { !$0.hasPrefix("#") }.prefix(120)
    try folder.write("prompts.txt", rows.joined(separator: "\n") + "\n")
  }

  func arguments(_ out: String, _ more: [String] = []) -> [String] {
    ["--model", model, "--prompts", folder.path("prompts.txt"), "--out", out, "--quiet"] + more
  }

  /// The same of all 520 prompts, on one thread.
  func longArguments(_ out: String) -> [String] {
    [
      "--model", model, "--prompts", repositoryPath("examples/ioi.txt"), "--out", out, "--quiet",
      "--threads", "1",
    ]
  }

  /// - Parameter errors: a file to take standard error.
  func start(_ arguments: [String], errors: String? = nil) throws -> Process {
    try Program.capture.start(arguments, errors: errors)
  }

  @discardableResult
  func succeed(_ arguments: [String]) throws -> Answer {
    let answer = try Program.capture.run(arguments)
    try #require(answer.status == 0, "\(answer)")
    return answer
  }

  func undisturbed() throws -> (contents: [String: Data], seconds: Double) {
    let start = Date()
    try succeed(arguments(folder.path("undisturbed")))
    return (try contents(folder.path("undisturbed")), Date().timeIntervalSince(start))
  }

  func contents(_ directory: String) throws -> [String: Data] {
    try names(in: directory).reduce(into: [:]) {
      $0[$1] = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\($1)"))
    }
  }

  func expectResumed(
    _ out: String, _ expected: [String: Data], more: [String] = [], _ note: Comment
  ) throws {
    let answer = try Program.capture.run(arguments(out, ["--resume"] + more))
    #expect(answer.status == 0, note)
    #expect(try contents(out) == expected, note)
  }

  /// Waits for the first commit, which shows that signals are watched and that work is under way.
  func awaitCommit(_ out: String) {
    let deadline = Date().addingTimeInterval(60)
    while (try? CacheReader(directory: out).committedPrompts) ?? 0 == 0, Date() < deadline {
      Thread.sleep(forTimeInterval: 0.001)
    }
  }

  /// Stops a process where it stands, until SIGCONT.
  func suspend(_ process: Process) {
    kill(process.processIdentifier, SIGSTOP)
    let deadline = Date().addingTimeInterval(60)
    while Date() < deadline {
      // number (name) state …
      let status = try? String(
        contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8)
      guard let state = status?.split(separator: ")").last?.dropFirst().first, state != "T" else {
        return
      }
      Thread.sleep(forTimeInterval: 0.001)
    }
  }

  /// A capture that stands still with some segments committed and most of them not begun.
  struct Suspended {
    let process: Process
    let out: String
    /// Of all prompts, as `longArguments` has them.
    let arguments: [String]
    private let errorPath: String

    fileprivate init(process: Process, out: String, arguments: [String], errorPath: String) {
      self.process = process
      self.out = out
      self.arguments = arguments
      self.errorPath = errorPath
    }

    func send(_ signals: Int32...) {
      for signal in signals { kill(process.processIdentifier, signal) }
    }

    /// Whether it has a handler for a signal; false once it has ended.
    func catches(_ signal: Int32) -> Bool {
      let status = try? String(
        contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)
      let line = status?.split(separator: "\n").first { $0.hasPrefix("SigCgt:\t") }
      let mask = line.flatMap { UInt64($0.dropFirst("SigCgt:\t".count), radix: 16) } ?? 0
      return mask >> (signal - 1) & 1 == 1
    }

    /// Waits for its end; what it wrote to standard error.
    func errors() throws -> String {
      process.waitUntilExit()
      return try String(contentsOfFile: errorPath, encoding: .utf8)
    }
  }

  func suspendedCapture() throws -> Suspended {
    for attempt in 0..<50 {
      let out = folder.path("suspended-\(attempt)")
      let arguments = longArguments(out)
      let errorPath = try folder.write("errors-\(attempt)", "")
      let process = try start(arguments, errors: errorPath)
      awaitCommit(out)
      suspend(process)
      let reader = try CacheReader(directory: out)
      if reader.committedPrompts < reader.plan.promptCount / 3 {
        return Suspended(process: process, out: out, arguments: arguments, errorPath: errorPath)
      }
      // The machine is busy: this one got too far unseen.
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    throw HarnessError(description: "every capture ended before it could be stopped")
  }
}
