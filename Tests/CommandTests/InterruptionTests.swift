import CacheFormat
import Foundation
import TestSupport
import Testing

/// The built `capture`, killed, stopped and limited, and then resumed.
@Suite struct InterruptionTests {
  private let folder: TemporaryDirectory
  private let model: String

  /// Prompts of the demo model, enough for several segments.
  init() throws {
    folder = try TemporaryDirectory()
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    model = root.appendingPathComponent("examples/demo-model").path
    let rows = try String(
      contentsOf: root.appendingPathComponent("examples/ioi.txt"), encoding: .utf8
    )
    .split(separator: "\n").filter { !$0.hasPrefix("#") }.prefix(120)
    try folder.write("prompts.txt", rows.joined(separator: "\n") + "\n")
  }

  private func arguments(_ out: String, _ more: [String] = []) -> [String] {
    ["--model", model, "--prompts", folder.path("prompts.txt"), "--out", out, "--quiet"] + more
  }

  private func start(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try Program.capture.path())
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }

  private func undisturbed() throws -> (contents: [String: Data], seconds: Double) {
    let start = Date()
    let answer = try Program.capture.run(arguments(folder.path("undisturbed")))
    try #require(answer.status == 0, "\(answer)")
    return (try contents(folder.path("undisturbed")), Date().timeIntervalSince(start))
  }

  private func contents(_ directory: String) throws -> [String: Data] {
    try names(in: directory).reduce(into: [:]) {
      $0[$1] = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\($1)"))
    }
  }

  private func expectResumed(
    _ out: String, _ expected: [String: Data], more: [String] = [], _ note: Comment
  ) throws {
    let answer = try Program.capture.run(arguments(out, ["--resume"] + more))
    #expect(answer.status == 0, note)
    #expect(try contents(out) == expected, note)
  }

  /// `PATCHBAY_KILLS=200 swift test -c release --filter InterruptionTests` kills more often.
  @Test func killedAtAnyInstant() throws {
    let (expected, seconds) = try undisturbed()
    #expect(expected.keys.count { $0.hasPrefix("segment") } > 2)
    let kills = Int(ProcessInfo.processInfo.environment["PATCHBAY_KILLS"] ?? "") ?? 8
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    for kill in 0..<kills {
      let out = folder.path("killed-\(kill)")
      let wait = Double.random(in: 0...1.1 * seconds, using: &generator)
      let note = Comment("seed \(seed), kill \(kill) after \(wait) s")
      let process = try start(arguments(out, ["--threads", "\(kill % 2 + 1)"]))
      Thread.sleep(forTimeInterval: wait)
      Foundation.kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      if FileManager.default.fileExists(atPath: "\(out)/manifest") {
        let verified = try Program.cachedump.run(["verify", out, "--quiet"])
        #expect(verified.status == 0, "\(note): \(verified)")
      }
      try expectResumed(out, expected, more: ["--threads", "\(2 - kill % 2)"], note)
      try FileManager.default.removeItem(atPath: out)
    }
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGUSR1])
  func aSignalEndsItInGoodOrder(signal: Int32) throws {
    let (expected, _) = try undisturbed()
    let out = folder.path("stopped")
    let process = try start(arguments(out, ["--threads", "1"]))
    // The first commit shows that signals are watched and that work is under way.
    let deadline = Date().addingTimeInterval(60)
    while (try? CacheReader(directory: out).committedPrompts) ?? 0 == 0, Date() < deadline {
      Thread.sleep(forTimeInterval: 0.002)
    }
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    #expect(process.terminationReason == .exit)
    #expect([0, 75].contains(process.terminationStatus))
    #expect(try !names(in: out).contains { $0 == "lock" || $0.hasSuffix(".open") })
    let reader = try CacheReader(directory: out)
    #expect(reader.verify().isHealthy && reader.verify().leftovers.isEmpty)
    #expect(reader.isComplete == (process.terminationStatus == 0))
    try expectResumed(out, expected, "after \(signal)")
  }

  @Test func aLimitOfBytesStopsAtAWholePrompt() throws {
    let (expected, _) = try undisturbed()
    let out = folder.path("limited")
    let first = try #require(expected["segment-000000.pbs"]?.count)
    let second = try #require(expected["segment-000001.pbs"]?.count)
    var safe = 0
    for (limit, segments) in [(first - 1, 0), (first + second, 2)] {
      let answer = try Program.capture.run(
        arguments(out, ["--max-bytes", "\(limit)"] + (segments == 0 ? [] : ["--resume"])))
      let reader = try CacheReader(directory: out)
      safe = reader.committedPrompts
      #expect(answer.status == 75)
      #expect(answer.sentence.contains("\(safe) of \(reader.plan.promptCount) prompts are safe in"))
      #expect(answer.sentence.contains("--resume"))
      #expect(try names(in: out).count { $0.hasPrefix("segment") } == segments)
    }
    #expect(safe > 0)
    let unfinished = try Program.capture.run(arguments(out))
    #expect(unfinished.status == 73)
    #expect(unfinished.sentence.contains("unfinished capture, \(safe) of"))
    try expectResumed(out, expected, "after the limit")

    let complete = try Program.capture.run(arguments(out, ["--resume"]))
    #expect(complete.status == 0)
    #expect(complete.output.contains("is complete"))
  }

  @Test func aResumedCaptureMustBeTheSame() throws {
    let out = folder.path("begun")
    _ = try Program.capture.run(arguments(out, ["--max-bytes", "0"]))
    let other = try Program.capture.run(arguments(out, ["--resume", "--no-bos"]))
    #expect(other.status == 78)
    #expect(other.sentence.contains("BOS was prepended, now left out"))
  }
}
