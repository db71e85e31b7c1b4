import Foundation
import TestSupport
import Testing

/// tools/verify_gpt2_small.py, on the demo model and TransformerLens's numbers of it, which the same tool
/// wrote with --reference.
@Suite struct PublishedNumberTests {
  private let folder: TemporaryDirectory
  private static let numbers = repositoryPath("tools/demo_model_ioi.json")

  init() throws { folder = try TemporaryDirectory() }

  private func verify(_ arguments: String...) throws -> (status: Int32, output: String) {
    try systemCommand(
      ["python3", repositoryPath("tools/verify_gpt2_small.py"), "--bin", try Program.folderOfAll()]
        + arguments)
  }

  private func changed(_ change: (inout [String: Any]) -> Void) throws -> String {
    let object = try JSONSerialization.jsonObject(with: try contents(Self.numbers))
    var numbers = try #require(object as? [String: Any])
    change(&numbers)
    let data = try JSONSerialization.data(withJSONObject: numbers)
    return try folder.write("numbers.json", data)
  }

  private var demo: [String] { ["--model", repositoryPath("examples/demo-model")] }

  @Test func theDemoModelHasTransformerLensesNumbers() throws {
    let csv = folder.path("numbers.csv")
    let done = try verify(demo[0], demo[1], "--expected", Self.numbers, "--csv", csv)
    #expect(done.status == 0, "\(done.output)")
    #expect(done.output.contains("all 1542 numbers are within 0.0001"), "\(done.output)")
    #expect(!done.output.contains("not run:"), "\(done.output)")
    let lines = try String(contentsOfFile: csv, encoding: .utf8).split(whereSeparator: \.isNewline)
    #expect(lines.count == 1543 && lines[0] == "group,place,published,ours,difference")
  }

  @Test func aNumberThatIsOffIsNamed() throws {
    let other = try changed { numbers in
      var patches = numbers["act_patch"] as? [String: [[Double]]] ?? [:]
      patches["head_z_by_pos[layer*12+head][pos]"]?[9][14] += 3e-4
      patches["resid_pre[layer][pos]"]?[0][10] = 0.9
      patches["resid_pre[layer][pos]"]?[1][10] = 0.95
      numbers["act_patch"] = patches
      // Attributions may be ten times as far off.
      var parts = numbers["logit_attribution"] as? [String: Any] ?? [:]
      var (layers, heads) = (
        parts["per_layer"] as? [Double] ?? [], parts["per_head[layer][head]"] as? [[Double]] ?? []
      )
      layers[2] += 5e-4
      heads[2][3] += 2e-3
      (parts["per_layer"], parts["per_head[layer][head]"]) = (layers, heads)
      numbers["logit_attribution"] = parts
    }
    let done = try verify(demo[0], demo[1], "--expected", other)
    #expect(done.status == 1, "\(done.output)")
    #expect(done.output.contains("4 of 1542 numbers are beyond 0.0001"), "\(done.output)")
    #expect(done.output.contains("2 of 60 are beyond 0.0001"), "\(done.output)")
    #expect(done.output.contains("  [0][10]  BEYOND") && done.output.contains("  [9][14]  BEYOND"))
    #expect(done.output.contains("  [2][3]  BEYOND"), "\(done.output)")
  }

  @Test func whatCannotBeCompared() throws {
    let more = try changed { $0["attribution_patch"] = [String: Any]() }
    let notRun = try verify(demo[0], demo[1], "--expected", more)
    #expect(notRun.status == 0 && notRun.output.contains("not run: attribution_patch"))
    let short = try changed { numbers in
      var patches = numbers["act_patch"] as? [String: [[Double]]] ?? [:]
      patches["attn_out[layer][pos]"]?.removeLast()
      numbers["act_patch"] = patches
    }
    let rows = try verify(demo[0], demo[1], "--expected", short)
    #expect(rows.status == 65, "\(rows.output)")
    #expect(rows.output.contains("attn_out[layer][pos] has 3 values, and ours 4"), "\(rows.output)")
    // Token 94 is the byte 0xA1, which is no text by itself.
    let foreign = try changed { $0["answer_tokens"] = [[Int]](repeating: [94, 1], count: 8) }
    let answers = try verify(demo[0], demo[1], "--expected", foreign)
    #expect(answers.status == 66, "\(answers.output)")
    #expect(answers.output.contains("are not this tokenizer's names"), "\(answers.output)")
    let empty = try verify(
      demo[0], demo[1], "--expected", try folder.write("none.json", "{}"))
    #expect(empty.status == 65 && empty.output.contains("'prompts'"), "\(empty.output)")
    let missing = try verify("--model", folder.path("none"))
    #expect(
      missing.status == 66 && missing.output.contains("there is no model"), "\(missing.output)")
  }
}
