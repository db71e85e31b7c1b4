import Foundation
import TestSupport
import Testing

/// Memory of the built `analyze`.
@Suite struct MemoryTests {
  /// A sweep that reads several times as much of a cache as may stay mapped.
  @Test func aSweepKeepsLittleOfACacheMapped() throws {
    let folder = try TemporaryDirectory()
    let cache = folder.path("cache")
    let prompts = try ["ioi", "induction"].map {
      try String(contentsOfFile: repositoryPath("examples/\($0).txt"), encoding: .utf8)
    }
    try folder.write("prompts.txt", prompts.joined(separator: "\n"))
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts", folder.path("prompts.txt"),
      "--store", "full", "--out", cache, "--quiet")
    let stored = try names(in: cache).reduce(0) {
      try $0 + contents("\(cache)/\($1)").count
    }
    let sweep = [
      "ablate", "--cache", cache, "--by", "all", "--pos", "-1", "--source", "mean-pos",
      "--mean-over",
      "corrupted", "--quiet", "--top", "0", "--permutations", "1", "--hooks",
      "resid_pre,resid_mid,resid_post,attn_out,mlp_out,q,k,v,z,pre,post",
    ]
    let pieces = try peak(sweep + ["--io", "pread"])
    let mapped = try peak(sweep)
    // 64 MiB stay mapped, and what faults map besides between two looks.
    #expect(stored > 250_000_000)
    #expect(mapped - pieces < 120 << 20, "\(pieces) bytes with pread, \(mapped) mapped")
  }

  /// The peak resident memory of a run in bytes, as the system has it shortly before its end.
  private func peak(_ arguments: [String]) throws -> Int {
    let process = try Program.analyze.start(arguments)
    var peak = 0
    while process.isRunning {
      let status = try? String(
        contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)
      let line = status?.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
      let kilobytes = line?.split(whereSeparator: { " \t".contains($0) }).dropFirst().first
      peak = max(peak, (kilobytes.flatMap { Int($0) } ?? 0) << 10)
      Thread.sleep(forTimeInterval: 0.005)
    }
    process.waitUntilExit()
    #expect(process.terminationStatus == 0 && peak > 0)
    return peak
  }
}
