import CacheFormat
import Foundation
import TestSupport
import Testing

/// What comes to a capture while it is under way: signals, and other captures.
@Suite struct SuspendedCaptureTests {
  private let demo: DemoCapture

  init() throws { demo = try DemoCapture() }

  /// What was begun is finished, and nothing else. Another kind of signal waits too, as when a
  /// scheduler warns before it ends a job.
  @Test(arguments: [[SIGINT], [SIGTERM], [SIGUSR1], [SIGUSR1, SIGTERM]])
  func aSignalEndsItInGoodOrder(signals: [Int32]) throws {
    let capture = try demo.suspendedCapture()
    let before = try CacheReader(directory: capture.out).committedPrompts
    for signal in signals { capture.send(signal) }
    capture.send(SIGCONT)
    let errors = try capture.errors()
    #expect(capture.process.terminationReason == .exit && capture.process.terminationStatus == 75)
    let reader = try CacheReader(directory: capture.out)
    #expect(reader.committedPrompts >= before && !reader.isComplete)
    #expect(try reader.verify().isHealthy && reader.verify().leftovers.isEmpty)
    let named = [SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGUSR1: "SIGUSR1"]
    let sentences = signals.compactMap { named[$0] }.map {
      "capture: stopped by \($0): \(reader.committedPrompts) of 520 prompts are safe in "
        + "\(capture.out); the same command with --resume goes on\n"
    }
    #expect(sentences.contains(errors), "\(errors)")
    let resumed = try demo.succeed(capture.arguments + ["--resume"])
    #expect(resumed.output.hasPrefix("captured 520 prompts"))
  }

  @Test func theSecondSignalOfAKindEndsItAtOnce() throws {
    let capture = try demo.suspendedCapture()
    capture.send(SIGINT)
    // It goes on for moments, until the first one has been seen and would not hide the second.
    while capture.catches(SIGINT) { capture.send(SIGCONT, SIGSTOP) }
    capture.send(SIGINT, SIGCONT)
    #expect(try capture.errors() == "")
    #expect(capture.process.terminationReason == .uncaughtSignal)
    #expect(capture.process.terminationStatus == SIGINT)
    #expect(try names(in: capture.out).contains("lock"))
    #expect(try CacheReader(directory: capture.out).verify().isHealthy)
    try demo.succeed(capture.arguments + ["--resume"])
    #expect(try CacheReader(directory: capture.out).verify().isHealthy)
  }

  @Test func twoProcessesDoNotMeet() throws {
    let capture = try demo.suspendedCapture()
    let before = try CacheReader(directory: capture.out).committedPrompts
    for more in [[], ["--resume"], ["--resume", "--break-lock"]] {
      let answer = try Program.capture.run(capture.arguments + more)
      #expect(answer.status == 73)
      #expect(
        answer.sentence.contains(
          "is being written by process \(capture.process.processIdentifier) on "), "\(answer)")
    }
    let reader = try CacheReader(directory: capture.out)
    #expect(try reader.committedPrompts == before && reader.verify().isHealthy)
    capture.send(SIGCONT)
    #expect(try capture.errors() == "")
    #expect(capture.process.terminationReason == .exit && capture.process.terminationStatus == 0)
    #expect(try CacheReader(directory: capture.out).isComplete)
    #expect(try !names(in: capture.out).contains("lock"))
  }

  @Test func theLockOfAnotherHostIsRefusedUntilItIsBroken() throws {
    let (expected, _) = try demo.undisturbed()
    let out = demo.folder.path("left")
    _ = try Program.capture.run(demo.arguments(out, ["--max-bytes", "0"]))
    let lock = #"{"host":"elsewhere","pid":7,"boot_id":"x","started":1}"#
    try demo.folder.write("left/lock", lock)
    for _ in 0..<2 {
      let answer = try Program.capture.run(demo.arguments(out, ["--resume"]))
      #expect(answer.status == 73)
      #expect(answer.sentence.contains("process 7 on elsewhere"), "\(answer)")
      #expect(answer.sentence.contains("--break-lock"), "\(answer)")
      #expect(try String(contentsOfFile: "\(out)/lock", encoding: .utf8) == lock)
    }
    try demo.expectResumed(out, expected, more: ["--break-lock"], "after breaking the lock")
  }
}
