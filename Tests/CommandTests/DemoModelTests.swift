import Foundation
import TestSupport
import Testing

/// The story that the demo tells, on the trained model of examples/.
@Suite struct DemoModelTests {
  @Test func theSecondSubjectAndTheEndCarryTheAnswer() throws {
    let folder = try TemporaryDirectory()
    let cache = folder.path("cache")
    let captured = try Program.capture.succeed(
      "--model", repositoryPath("examples/demo-model"), "--prompts",
      repositoryPath("examples/ioi.txt"), "--out", cache, "--hooks",
      "resid_pre,k,v,ln_final.hook_normalized")
    #expect(!captured.errors.contains("warning"))
    let file = try patch(cache, "--hooks", "resid_pre")
    #expect(file.pairs.count >= 200)
    #expect((file.baselines.clean ?? 0) > 3)
    #expect((file.baselines.corrupted ?? 0) < -3)

    let sweep = file.sweeps[0]
    let (layers, positions) = (sweep.shape[0], sweep.shape[1])
    func effect(_ layer: Int, _ position: Int) -> Double {
      sweep.effect[layer * positions + position] ?? .nan
    }
    // <|endoftext|> counts: the second mention of the subject is token 10, the last token is 14.
    #expect(effect(0, 10) > 0.9)
    #expect(abs(effect(0, 14)) < 0.1)
    // Some layer on, the answer has moved from the one to the other.
    let late = (layers / 2..<layers).map { (end: effect($0, 14), subject: effect($0, 10)) }
    #expect(late.contains { $0.end > 0.5 && $0.subject < 0.5 }, "\(late)")
  }
}
