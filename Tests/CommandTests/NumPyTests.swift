import Foundation
import TestSupport
import Testing

/// The NPY files of `analyze patch --out`.
@Suite struct NumPyTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// An array of a file, by a reader of its own.
  private struct NumPyArray {
    let shape: [Int]
    let values: [Double]

    init(_ path: String, type: String) throws {
      let bytes = [UInt8](try contents(path))
      try #require(bytes.count > 10 && Array(bytes[..<8]) == [0x93, 78, 85, 77, 80, 89, 1, 0])
      let start = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
      try #require(start % 64 == 0 && bytes[start - 1] == 10)
      let header = String(decoding: bytes[10..<start], as: UTF8.self)
      let match = try #require(
        header.wholeMatch(
          of: #/\{'descr': '(.*?)', 'fortran_order': False, 'shape': \((.*?)\), \} *\n/#))
      #expect(match.1 == type)
      shape = match.2.split(separator: ",").compactMap {
        Int($0.trimmingCharacters(in: .whitespaces))
      }
      let body = bytes[start...]
      values = body.withUnsafeBytes { body in
        type == "<f8"
          ? (0..<body.count / 8).map { body.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self) }
          : (0..<body.count / 4).map {
            Double(body.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self))
          }
      }
      #expect(values.count == shape.reduce(1, *))
      #expect(body.count == values.count * (type == "<f8" ? 8 : 4))
    }
  }

  /// The patched metric of each pair, by metric, hook and cell, from `cells.csv`.
  private func patchedByCell(_ out: String) throws -> [String: [Int: Double]] {
    let rows = try String(contentsOfFile: "\(out)/cells.csv", encoding: .utf8)
      .split(separator: "\n").dropFirst().map {
        $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      }
    return rows.reduce(into: [:]) { cells, row in
      // hook,layer,head,pos,pair,clean,corrupted,patched,effect,metric,src,neuron
      let cell = [row[9], row[0], row[2], row[3]].joined(separator: " ")
      cells[cell, default: [:]][Int(row[4]) ?? -1] = Double(row[7])
    }
  }

  @Test func arraysEqualTheOtherFiles() throws {
    let out = folder.path("out")
    try Program.analyze.succeed(
      "patch", "--cache", shared.mixed, "--skip-unaligned", "--hooks",
      "resid_pre,z,ln_final.hook_scale", "--metric", "logit-diff,kl", "--out", out, "--quiet")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let file = try decoder.decode(PatchFile.self, from: try contents("\(out)/patch.json"))
    let object = try #require(
      JSONSerialization.jsonObject(with: try contents("\(out)/patch.json")) as? [String: Any])
    let metrics = try #require(object["sweeps"] as? [[String: Any]]).map {
      $0["metric_name"] as? String ?? ""
    }
    #expect(metrics == ["logit-diff", "kl", "logit-diff", "kl", "logit-diff", "kl"])
    let byCell = try patchedByCell(out)
    var absent = 0
    for (sweep, metric) in zip(file.sweeps, metrics) {
      let effect = try NumPyArray("\(out)/\(sweep.hook)-\(metric).npy", type: "<f8")
      #expect(effect.shape == sweep.shape)
      // Shortest decimals give the same bits back.
      #expect(effect.values.map { $0.isNaN ? nil : $0 } == sweep.effect)

      let patched = try NumPyArray("\(out)/\(sweep.hook)-\(metric)-patched.npy", type: "<f4")
      #expect(patched.shape == sweep.shape + [file.pairs.count])
      let inner = sweep.axes.count == 2 ? sweep.shape[1] : 1
      for cell in sweep.effect.indices {
        let place = String(cell % inner)
        let hook =
          switch sweep.hook {
          case "resid_pre": "blocks.\(cell / inner).hook_resid_pre  \(place)"
          case "z": "blocks.\(cell / inner).attn.hook_z \(place) "
          default: "ln_final.hook_scale  "
          }
        for (number, pair) in file.pairs.enumerated() {
          let value = patched.values[cell * file.pairs.count + number]
          let expected = byCell["\(metric) \(hook)"]?[pair.index]
          absent += value.isNaN ? 1 : 0
          #expect(value.isNaN ? expected == nil : Float(value) == expected.map(Float.init))
        }
      }
    }
    // Two metrics, three layers, four positions that only the longer of the two pairs has.
    #expect(absent == 2 * 3 * 4)
    let scalar = try NumPyArray("\(out)/ln_final.scale-kl.npy", type: "<f8")
    #expect(scalar.shape.isEmpty && scalar.values.count == 1)
  }

  @Test func aCellWithoutAnEffectIsNotANumber() throws {
    // Twice the same pair, the second time with the answers exchanged: the mean gap is 0.
    let prompts = try folder.write("prompts.txt", "ab cd\tab cx\tA\tB\nab cd\tab cx\tB\tA\n")
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", prompts, "--out", folder.path("cache"))
    try Program.analyze.succeed(
      "patch", "--cache", folder.path("cache"), "--hooks", "z", "--out", folder.path("out"))
    let effect = try NumPyArray(folder.path("out/z.npy"), type: "<f8")
    #expect(effect.values.count == 9 && effect.values.allSatisfy(\.isNaN))
  }
}
