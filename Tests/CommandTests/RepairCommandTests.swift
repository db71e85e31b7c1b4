import FileIO
import Foundation
import TestSupport
import Testing

/// `cachedump repair`
@Suite struct RepairCommandTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  private func copy(_ name: String = "cache") throws -> String {
    let path = folder.path(name)
    try FileManager.default.copyItem(atPath: shared.path, toPath: path)
    return path
  }

  private func flip(_ path: String, at offset: Int) throws {
    var bytes = try contents(path)
    bytes[offset] ^= 4
    try bytes.write(to: URL(fileURLWithPath: path))
  }

  private func files(_ directory: String) throws -> [String: Data] {
    try names(in: directory).reduce(into: [:]) { $0[$1] = try contents("\(directory)/\($1)") }
  }

  /// Runs a line as a user would who copies it into a shell.
  private func shell(_ line: String) throws {
    let programs = URL(fileURLWithPath: try Program.capture.path()).deletingLastPathComponent()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "PATH=\"$0:$PATH\"; \(line) --quiet >/dev/null", programs.path]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(line)")
  }

  @Test func aDamagedSegmentIsPutAsideAndCapturedAgain() throws {
    let cache = folder.path("it's a cache")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--hooks",
      "resid_pre,mlp_pre,mlp_post,q1", "--quiet")
    let sound = try files(cache)
    let segments = sound.keys.filter { $0.hasPrefix("segment") }.count
    try #require(segments >= 4)
    try flip("\(cache)/segment-000001.pbs", at: 1_000_000)
    let damaged = try files(cache)

    let survey = try Program.cachedump.run(["repair", cache, "--quiet"])
    #expect(survey.status == 65)
    #expect(survey.lines[0].hasPrefix("\(cache)/segment-000001.pbs is damaged at prompt "))
    #expect(survey.lines[1].hasPrefix("would be lost: segment-000001.pbs, prompts "))
    #expect(
      survey.lines[2].hasPrefix("sound, but after what is lost: \(segments - 2) segments of "))
    #expect(survey.sentence.contains("nothing was changed; cachedump repair "), "\(survey)")
    #expect(survey.sentence.contains("'\(folder.path)/it'\\''s a cache' --apply keeps "))
    #expect(try files(cache) == damaged)

    let repaired = try Program.cachedump.succeed("repair", cache, "--apply")
    #expect(repaired.errors.contains("reading 520/520 prompts"))
    #expect(repaired.lines[1].hasPrefix("lost: segment-000001.pbs"))
    let next = try #require(repaired.lines.last)
    #expect(next.hasPrefix("next: capture --prompts ") && next.hasSuffix(" --resume"))
    #expect(
      next.contains(
        " --hooks 'blocks.*.hook_resid_pre,blocks.*.mlp.hook_pre,blocks.*.mlp.hook_post,"
          + "blocks.1.attn.hook_q' "))
    let verified = try Program.cachedump.succeed("verify", cache, "--quiet")
    #expect(
      verified.output.contains("segment-000002.pbs is not part of the cache; capture --resume"))
    #expect(verified.output.contains("segment-000001.pbs.damaged is not part of the cache; repair"))

    try shell(String(next.dropFirst("next: ".count)))
    var expected = sound
    expected["segment-000001.pbs.damaged"] = damaged["segment-000001.pbs"]
    #expect(try files(cache) == expected)
    let healthy = try Program.cachedump.succeed("repair", cache, "--apply", "--quiet")
    #expect(healthy.output == "nothing is damaged: there is nothing to repair\n")
  }

  private struct Repaired: Decodable {
    struct Problem: Decodable {
      let file, problem: String
      let more: Int
    }
    struct Part: Decodable {
      let name: String
      let firstPrompt, prompts: Int
    }
    let directory, manifest: String
    let problems: [Problem]
    let plannedPrompts, keptSegments, keptPrompts: Int
    let lost, later: [Part]
    let laterCanBeAdopted, applied: Bool
    let nextCommand: String?
  }

  private func decoded(_ answer: Answer) throws -> Repaired {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Repaired.self, from: Data(answer.output.utf8))
  }

  @Test func aFlippedBitInTheManifestLosesNothing() throws {
    let cache = try copy()
    let sound = try files(cache)
    try flip("\(cache)/manifest", at: 200)
    try Program.cachedump.refuse("verify", cache, status: 65, saying: ["cachedump repair"])
    let survey = try Program.cachedump.run(["repair", cache, "--json"])
    #expect(survey.status == 65)
    let found = try decoded(survey)
    #expect(found.manifest == "damaged" && found.keptPrompts == 7 && found.plannedPrompts == 7)
    #expect(found.lost.isEmpty && !found.applied && found.nextCommand == nil)
    #expect(survey.sentence.hasSuffix("--apply keeps all of 7 prompts"))

    let answer = try Program.cachedump.succeed("repair", cache, "--apply", "--json")
    #expect(try decoded(answer).applied && answer.errors == "")
    #expect(try files(cache) == sound)
    let again = try decoded(Program.cachedump.succeed("repair", cache, "--json"))
    #expect(again.manifest == "sound" && !again.applied && again.problems.isEmpty)
  }

  /// What the process may not open is not damaged.
  @Test func segmentsThatCannotBeOpenedAreNoDamage() throws {
    let cache = folder.path("cache")
    try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--quiet")
    let before = try files(cache)
    for command in ["verify '\(cache)'", "repair '\(cache)' --apply"] {
      let answer = try systemCommand([
        "sh", "-c", "ulimit -n 9; exec '\(try Program.cachedump.path())' \(command) --quiet",
      ])
      #expect(answer.status == 74, "\(answer)")
      #expect(answer.output.contains("Too many open files"), "\(answer)")
    }
    #expect(try files(cache) == before)
  }

  @Test func theOnlySegmentLost() throws {
    let cache = try copy()
    let sound = try files(cache)
    try FileManager.default.removeItem(atPath: "\(cache)/segment-000000.pbs")
    let answer = try decoded(Program.cachedump.succeed("repair", cache, "--apply", "--json"))
    #expect(answer.keptPrompts == 0 && answer.lost.map(\.prompts) == [7])
    let next = try #require(answer.nextCommand)
    #expect(
      next == "capture --prompts \(shared.prompts) --model \(shared.model) --out \(cache) --resume")
    try shell(next)
    #expect(try files(cache) == sound)
  }

  @Test func whatCannotBeRepairedIsLeftAlone() throws {
    let cache = try copy()
    for file in ["plan.json", "prompts.jsonl", "pairs.jsonl"] {
      try flip("\(cache)/\(file)", at: 20)
      let before = try files(cache)
      for arguments in [["--apply"], []] {
        let answer = try Program.cachedump.run(["repair", cache] + arguments)
        #expect(answer.status == 65 && answer.output == "", "\(answer)")
        #expect(answer.sentence.contains("\(cache)/\(file) is not the file"), "\(answer)")
        #expect(answer.sentence.hasSuffix("; nothing was changed"), "\(answer)")
      }
      #expect(try files(cache) == before)
      try flip("\(cache)/\(file)", at: 20)
    }
    try flip("\(cache)/plan.json", at: 20)
    try flip("\(cache)/manifest", at: 20)
    try Program.cachedump.refuse(
      "repair", cache, "--apply", status: 65,
      saying: ["\(cache)/plan.json cannot be relied upon", "nothing is kept"])
    for path in [folder.path("none"), shared.model] {
      for arguments in [["--apply"], []] {
        let answer = try Program.cachedump.run(["repair", path] + arguments)
        #expect(answer.status == 66 && answer.sentence.contains("is not a cache"), "\(answer)")
      }
    }
  }

  @Test func aRunningCaptureIsNotDisturbed() throws {
    let cache = try copy()
    try flip("\(cache)/manifest", at: 20)
    do {
      let lock = try LockFile(path: "\(cache)/lock")
      try Program.cachedump.refuse(
        "repair", cache, "--apply", status: 73,
        saying: ["\(cache) is being written by process"])
      #expect(try Program.cachedump.run(["repair", cache]).status == 65)
      withExtendedLifetime(lock) {}
    }
    try folder.write(
      "cache/lock", #"{"host":"elsewhere","pid":7,"boot_id":"x","started":1}"#)
    try Program.cachedump.refuse(
      "repair", cache, "--apply", status: 73, saying: ["elsewhere", "--break-lock"])
    try Program.cachedump.succeed("repair", cache, "--apply", "--break-lock")
    #expect(try !names(in: cache).contains("lock"))
  }
}
