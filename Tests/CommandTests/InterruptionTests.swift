import CacheFormat
import Foundation
import TestSupport
import Testing

/// The built `capture`, killed, stopped and limited, and then resumed.
@Suite struct InterruptionTests {
  private let demo: DemoCapture

  init() throws { demo = try DemoCapture() }

  /// Each cache is killed up to three times, resumed in between and at last.
  ///
  /// `PATCHBAY_KILLS=200 swift test -c release --filter InterruptionTests` kills more often.
  @Test func killedAtAnyInstant() throws {
    let (expected, seconds) = try demo.undisturbed()
    #expect(expected.keys.count { $0.hasPrefix("segment") } > 2)
    let kills = Int(ProcessInfo.processInfo.environment["PATCHBAY_KILLS"] ?? "") ?? 12
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    var kill = 0
    while kill < kills {
      let out = demo.folder.path("killed-\(kill)")
      var note = "seed \(seed)"
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let wait = Double.random(in: 0...0.8 * seconds, using: &generator)
        note += ", kill \(kill) after \(wait) s"
        let process = try demo.start(
          demo.arguments(out, ["--resume", "--threads", "\(kill % 2 + 1)"]))
        Thread.sleep(forTimeInterval: wait)
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        kill += 1
        if FileManager.default.fileExists(atPath: "\(out)/manifest") {
          let verified = try Program.cachedump.run(["verify", out, "--quiet"])
          #expect(verified.status == 0, "\(note): \(verified)")
        }
      }
      try demo.expectResumed(out, expected, more: ["--threads", "\(kill % 2 + 1)"], "\(note)")
      try FileManager.default.removeItem(atPath: out)
    }
  }

  @Test func aFullDiskLeavesWholePromptsAndCanBeResumed() throws {
    let (expected, _) = try demo.undisturbed()
    let out = demo.folder.path("full")
    let sizes = expected.filter { $0.key.hasPrefix("segment") }.mapValues(\.count)
    let largest = try #require(sizes.values.max())
    // The system refuses files above a size as it refuses a full disk.
    let answer = try Program.capture.run(
      demo.arguments(out, ["--threads", "1"]), blocks: largest / 512 - 1)
    #expect(answer.status == 74)
    #expect(answer.sentence.contains("File too large"), "\(answer)")
    #expect(answer.sentence.contains("--resume"), "\(answer)")
    #expect(try !names(in: out).contains { $0 == "lock" || $0.hasSuffix(".open") })
    #expect(try CacheReader(directory: out).verify().isHealthy)
    try demo.expectResumed(out, expected, "after the full disk")
  }

  @Test func aLimitOfBytesStopsAtAWholePrompt() throws {
    let (expected, _) = try demo.undisturbed()
    let out = demo.folder.path("limited")
    let first = try #require(expected["segment-000000.pbs"]?.count)
    let second = try #require(expected["segment-000001.pbs"]?.count)
    var safe = 0
    for (limit, segments) in [(first - 1, 0), (first + second, 2)] {
      let answer = try Program.capture.run(
        demo.arguments(out, ["--max-bytes", "\(limit)"] + (segments == 0 ? [] : ["--resume"])))
      let reader = try CacheReader(directory: out)
      safe = reader.committedPrompts
      #expect(answer.status == 75)
      #expect(answer.sentence.contains("\(safe) of \(reader.plan.promptCount) prompts are safe in"))
      #expect(answer.sentence.contains("--resume"))
      #expect(try names(in: out).count { $0.hasPrefix("segment") } == segments)
    }
    #expect(safe > 0)
    let unfinished = try Program.capture.run(demo.arguments(out))
    #expect(unfinished.status == 73)
    #expect(unfinished.sentence.contains("unfinished capture, \(safe) of"))
    try demo.expectResumed(out, expected, "after the limit")

    let complete = try Program.capture.run(demo.arguments(out, ["--resume"]))
    #expect(complete.status == 0)
    #expect(complete.output.contains("is complete"))
  }

  @Test func aResumedCaptureMustBeTheSame() throws {
    let out = demo.folder.path("begun")
    _ = try Program.capture.run(demo.arguments(out, ["--max-bytes", "0"]))
    let other = try Program.capture.run(demo.arguments(out, ["--resume", "--no-bos"]))
    #expect(other.status == 78)
    #expect(other.sentence.contains("BOS was prepended, now left out"))
  }

  /// A model whose configuration was changed meanwhile is another model, of the same weights.
  @Test(arguments: ["compact", "full"])
  func aResumedCaptureMustBeOfTheSameConfiguration(store: String) throws {
    let model = demo.folder.path("model-\(store)")
    try FileManager.default.copyItem(
      atPath: repositoryPath("examples/demo-model"), toPath: model)
    let out = demo.folder.path("begun-\(store)")
    func capture(_ more: String...) throws -> Answer {
      try Program.capture.run(
        [
          "--model", model, "--prompts", repositoryPath("examples/ioi.txt"), "--out", out,
          "--quiet",
        ]
          + ["--store", store, "--hooks", "z,resid_pre"] + more)
    }
    #expect(try capture("--max-bytes", "0").status == 75)
    let path = "\(model)/config.json"
    let config = try String(contentsOfFile: path, encoding: .utf8)
    let changed = config.replacingOccurrences(of: "1e-05", with: "0.01")
    try #require(changed != config)
    try changed.write(toFile: path, atomically: true, encoding: .utf8)
    let other = try capture("--resume")
    #expect(other.status == 78, "\(other)")
    #expect(other.sentence.contains("LayerNorm epsilon was 1e-05, now 0.01"), "\(other)")
    try config.write(toFile: path, atomically: true, encoding: .utf8)
    #expect(try capture("--resume").status == 0)
  }
}
