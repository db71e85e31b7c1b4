import Foundation
import TestSupport
import Testing

/// The Python reader beside this one.
@Suite struct PythonReaderTests {
  private static let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("tools/python").path

  @Test(arguments: [
    ["--store", "compact"], ["--store", "full"], ["--dtype", "f16"], ["--dtype", "bf16"],
    ["--weights", "raw"], ["--hooks", "*,q_input,mlp_in"],
  ])
  func bothReadersGiveTheSameBits(options: [String]) throws {
    let shared = try SharedCache.made()
    let folder = try TemporaryDirectory()
    let (cache, export) = (folder.path("cache"), folder.path("export"))
    let captured = try Program.capture.run(
      ["--model", shared.model, "--prompts", shared.prompts, "--out", cache, "--quiet"] + options)
    try #require(captured.status == 0, "\(captured)")
    try Program.cachedump.succeed("export", cache, "--format", "npy", "--out", export, "--quiet")
    let compared = try pythonWithNumPy([
      "\(PythonReaderTests.package)/tests/against_export.py", cache, export,
    ])
    #expect(compared.status == 0, "\(compared.output)")
    #expect(compared.output.contains("arrays have equal bits"), "\(compared.output)")
  }

  @Test func theReadersOwnTests() throws {
    let tests = try pythonWithNumPy([
      "-m", "unittest", "discover", "\(PythonReaderTests.package)/tests",
    ])
    #expect(tests.status == 0, "\(tests.output)")
    #expect(tests.output.contains("OK"), "\(tests.output)")
  }
}
