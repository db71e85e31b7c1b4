import CacheFormat
@testable import Capture
import FileIO
import Foundation
import Model
import TestSupport
import Testing

/// What `capture` sees before it loads a model: whether there will be room.
@Suite struct PreflightTests {
  private func size(
    _ kinds: [HookKind], dtype: ElementType = .f32, isCompact: Bool = false,
    lengths: [Int] = [16, 9], beginAlike: Bool = false
  ) throws -> CaptureSize {
    let config = ModelConfig.gpt2Small
    let points = config.hookPoints.filter { kinds.contains($0.kind) }
    return try CaptureSize(
      prompts: lengths.enumerated().map { number, T in
        Prompt(
          text: "", tokens: Array(repeating: beginAlike ? 0 : Int32(number), count: T), pieces: [])
      },
      points: points,
      specs: HookTable(
        points: points, config: config, isCompact: isCompact, foldsLayerNorm: true
      ).specs, dtype: dtype)
  }

  private enum Verdict: Equatable { case refused, tight, roomy }

  private func verdict(
    _ size: CaptureSize, free: Int, after committed: Int = 0, limit: Int? = nil
  ) -> Verdict {
    do {
      let warning = try size.checkRoom(at: "there", free: free, after: committed, limit: limit)
      return warning == nil ? .roomy : .tight
    } catch {
      return .refused
    }
  }

  @Test(arguments: [(ElementType.f32, 0.7, 0.73), (.f16, 0.61, 0.64), (.bf16, 0.42, 0.45)])
  func whatFitsUnderNoCompressionIsRefused(dtype: ElementType, below: Double, above: Double) throws
  {
    let size = try size([.residPost, .mlpPre], dtype: dtype)
    let bytes = 25 * 12 * (768 + 3072) * dtype.size
    #expect(size.bytes == bytes && size.storedBytes == bytes && size.tokens == 25)
    func free(_ share: Double) -> Int { Int(share * Double(bytes)) }
    #expect(verdict(size, free: 0) == .refused)
    #expect(verdict(size, free: free(below)) == .refused)
    #expect(verdict(size, free: free(above)) == .tight)
    #expect(verdict(size, free: free(1.04)) == .tight)
    #expect(verdict(size, free: free(1.06)) == .roomy)
  }

  /// What stands above the diagonals is not stored: 136 of 256 and 45 of 81 values.
  @Test func causalMatricesCountPacked() throws {
    let size = try size([.pattern])
    let packed = 12 * 12 * (136 + 45) * 4
    #expect(size.bytes == 12 * 12 * (256 + 81) * 4)
    #expect(verdict(size, free: packed * 72 / 100) == .tight)
    #expect(verdict(size, free: packed * 71 / 100) == .refused)
    #expect(verdict(size, free: packed * 106 / 100) == .roomy)
  }

  /// Rows of the shorter prompts may be those of the longest one; matrices are never.
  @Test func promptsThatBeginAlikeMayTakeTheRoomOfOne() throws {
    let size = try size([.residPost, .pattern], lengths: [9, 16, 16], beginAlike: true)
    let rows = 16 * 12 * 768 * 4
    let matrices = 12 * 12 * (45 + 2 * 136) * 4
    #expect(verdict(size, free: (rows + matrices) * 71 / 100) == .refused)
    #expect(verdict(size, free: (rows + matrices) * 73 / 100) == .tight)
    #expect(verdict(size, free: (41 * 12 * 768 * 4 + matrices) * 106 / 100) == .roomy)
    #expect(verdict(size, free: rows * 71 / 100, after: 1) == .refused)
  }

  @Test func whatIsDerivedTakesNoRoom() throws {
    let size = try size([.mlpPre, .mlpPost], isCompact: true)
    #expect(size.bytes == 2 * size.storedBytes)
    #expect(verdict(size, free: size.storedBytes * 106 / 100) == .roomy)
  }

  @Test func whatIsThereAndWhatWillNotBeWrittenTakeNoMoreRoom() throws {
    let size = try size([.residPost])
    let second = 9 * 12 * 768 * 4
    #expect(verdict(size, free: second * 106 / 100) == .refused)
    #expect(verdict(size, free: second * 106 / 100, after: 1) == .roomy)
    #expect(verdict(size, free: second, after: 1) == .tight)
    #expect(verdict(size, free: 0, after: 2) == .roomy)
    // More than there are prompts: another capture's, which will be refused for that.
    #expect(verdict(size, free: 0, after: 99) == .roomy)
    #expect(verdict(size, free: 1060, limit: 1000) == .roomy)
    #expect(verdict(size, free: 1000, limit: 1000) == .tight)
    #expect(verdict(size, free: 999, limit: 1000) == .refused)
  }

  @Test func nothingAtAllFitsAnywhere() throws {
    #expect(verdict(try size([.residPost], lengths: []), free: 0) == .roomy)
  }

  /// A model of a thousand layers whose activations are twice what is free.
  @Test func aCaptureThatCannotFitDoesNotBegin() throws {
    let folder = try TemporaryDirectory()
    let shared = try SharedCache.made()
    let free = try #require(freeSpace(at: folder.path))
    var model = TinyModel()
    model.config["n_layer"] = 1000
    model.config["n_head"] = 1
    model.config["n_embd"] =
      2 * free / (1000 * 5 * 4 * SharedCache.promptCount * SharedCache.positions)
    try model.write(to: folder.path("model"))
    let arguments = [
      "--model", folder.path("model"), "--prompts", shared.prompts, "--out", folder.path("cache"),
      "--quiet", "--store", "full", "--hooks", "resid_pre,attn_out,resid_mid,mlp_out,resid_post",
    ]
    let refused = try Program.capture.run(arguments)
    #expect(refused.status == 73)
    #expect(refused.sentence.contains("\(folder.path("cache")) has room for "), "\(refused)")
    #expect(refused.sentence.contains("--max-bytes"))
    // With a limit, or rounded to half the bytes, it comes as far as to the weights.
    for more in [["--max-bytes", "1M"], ["--dtype", "bf16"]] {
      let answer = try Program.capture.run(arguments + more)
      #expect(answer.status == 78, "\(answer)")
      #expect(answer.errors.contains("are free, and up to ") == (more[0] == "--dtype"), "\(answer)")
    }
    #expect(!exists(folder.path("cache")))
  }

  @Test func arraysOfImpossibleSizeAreRefused() throws {
    let folder = try TemporaryDirectory()
    let shared = try SharedCache.made()
    var model = TinyModel()
    model.config["n_embd"] = 800_000_000
    model.config["n_head"] = 800_000_000
    try model.write(to: folder.path("model"))
    for hooks in ["result", "*"] {
      try Program.capture.refuse(
        "--model", folder.path("model"), "--prompts", shared.prompts, "--out",
        folder.path("cache"), "--dry-run", "--hooks", hooks, status: 65,
        saying: ["of 11 positions has more than 2 GiB"])
    }
  }

  @Test(arguments: [
    ("0", 0), ("12", 12), ("500M", 500_000_000), ("10g", 10_000_000_000), ("7k", 7000),
    ("2T", 2_000_000_000_000), ("", nil), ("G", nil), ("-1", nil), ("1.5G", nil), ("5GB", nil),
    ("9999999999G", nil), ("99999999999999999999", nil),
  ])
  func sizesAreReadAsPeopleWriteThem(text: String, bytes: Int?) {
    #expect(ByteCount(argument: text)?.count == bytes)
  }
}
