import Foundation
import TestSupport
import Testing

/// A sweep that is killed goes on, and ends with the same numbers.
@Suite struct PatchResumeTests {
  @Test func aKilledSweepGoesOn() throws {
    let demo = try DemoCapture()
    let cache = demo.folder.path("cache")
    _ = try demo.succeed(demo.arguments(cache))
    // Some 10 s of work on two cores: every neuron of the first block.
    let sweep = [
      "patch", "--cache", cache, "--hooks", "post0", "--by", "neuron", "--top", "0", "--quiet",
      "--out",
    ]
    let (out, plain) = (demo.folder.path("resumed"), demo.folder.path("plain"))

    let process = Process()
    process.executableURL = URL(fileURLWithPath: try Program.analyze.path())
    process.arguments = sweep + [out]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    let part = "\(out)/unfinished/part-0"
    while process.isRunning, !exists(part) { Thread.sleep(forTimeInterval: 0.02) }
    #expect(process.isRunning, "the sweep ended before it wrote anything")
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(!exists("\(out)/cells.csv"))

    // Another sweep does not take its numbers.
    var other = sweep
    other[4] = "post1"
    let refused = try Program.analyze.run(other + [out])
    #expect(refused.status == 78, "\(refused)")
    #expect(refused.sentence.contains("unfinished holds the beginning of other sweeps"))

    let resumed = try Program.analyze.run(sweep + [out])
    #expect(resumed.status == 0, "\(resumed)")
    #expect(!exists("\(out)/unfinished"))
    let undisturbed = try Program.analyze.run(sweep + [plain])
    #expect(undisturbed.status == 0, "\(undisturbed)")
    #expect(try contents("\(out)/cells.csv") == contents("\(plain)/cells.csv"))
  }
}
