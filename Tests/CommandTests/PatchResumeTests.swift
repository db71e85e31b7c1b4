import Foundation
import TestSupport
import Testing

/// Sweeps of the built `analyze` that are killed go on, and end with the same bytes.
@Suite struct PatchResumeTests {
  private let demo: DemoCapture
  private let cache: String

  init() throws {
    demo = try DemoCapture()
    cache = demo.folder.path("cache")
    try demo.succeed(demo.arguments(cache))
  }

  /// Some seconds of work: every neuron of a block.
  private func sweep(_ hook: String, into out: String) -> [String] {
    [
      "patch", "--cache", cache, "--hooks", hook, "--by", "neuron", "--top", "0", "--quiet",
      "--out", out,
    ]
  }

  /// Every file but patch.json and patch.html, which say how long the sweep took; and what patch.json
  /// says of the cells.
  private func results(_ out: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try names(in: out) where !["patch.json", "patch.html"].contains(name) {
      files[name] = try contents("\(out)/\(name)")
    }
    let json = try JSONSerialization.jsonObject(with: contents("\(out)/patch.json"))
    var sweeps = (json as? [String: Any])?["sweeps"] as? [[String: Any]] ?? []
    for index in sweeps.indices {
      sweeps[index]["seconds"] = nil
      sweeps[index]["gflop"] = nil
    }
    files["sweeps"] = try JSONSerialization.data(withJSONObject: sweeps, options: .sortedKeys)
    return files
  }

  /// `PATCHBAY_KILLS=50 swift test -c release --filter PatchResumeTests` kills more often.
  @Test func killedAtAnyInstant() throws {
    let plain = demo.folder.path("plain")
    let start = Date()
    let undisturbed = try Program.analyze.run(sweep("post0", into: plain))
    let seconds = Date().timeIntervalSince(start)
    #expect(undisturbed.status == 0, "\(undisturbed)")
    let expected = try results(plain)
    #expect(expected.keys.contains("post.npy") && expected.keys.contains("cells.csv"))

    let kills = Int(ProcessInfo.processInfo.environment["PATCHBAY_KILLS"] ?? "") ?? 2
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    var kill = 0
    while kill < kills {
      let out = demo.folder.path("killed-\(kill)")
      var note = "seed \(seed)"
      for _ in 0..<Int.random(in: 2...3, using: &generator) {
        let wait = Double.random(in: 0...seconds, using: &generator)
        note += ", kill \(kill) after \(wait) s"
        let process = try Program.analyze.start(
          sweep("post0", into: out) + ["--threads", "\(kill % 2 + 1)"])
        Thread.sleep(forTimeInterval: wait)
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        kill += 1
      }
      let resumed = try Program.analyze.run(sweep("post0", into: out))
      #expect(resumed.status == 0, "\(note): \(resumed)")
      #expect(try results(out) == expected, "\(note)")
    }
  }

  @Test func whatIsUnfinishedBelongsToItsSweep() throws {
    let out = demo.folder.path("resumed")
    let process = try Program.analyze.start(sweep("post0", into: out))
    let part = "\(out)/unfinished/part-0"
    while process.isRunning, !exists(part) { Thread.sleep(forTimeInterval: 0.02) }
    #expect(process.isRunning, "the sweep ended before it wrote anything")
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(!exists("\(out)/cells.csv"))

    // Another sweep does not take its numbers.
    let refused = try Program.analyze.run(sweep("post1", into: out))
    #expect(refused.status == 78, "\(refused)")
    #expect(refused.sentence.contains("unfinished holds the beginning of other sweeps"))
    #expect(exists(part))
  }
}
