import CacheFormat
import FileIO
import TestSupport
import Testing

/// Exported files against readers of their own.
@Suite struct ExportTests {
  private let capture = Capture(lengths: [3, 5])

  private func exported(
    _ format: CacheExport.Format, hooks: [Int] = [0, 1, 2, 3],
    _ write: (CacheExport, String) throws -> Void
  ) throws -> TemporaryDirectory {
    let directory = try TemporaryDirectory()
    try capture.write(to: directory.path("cache"))
    let reader = try CacheReader(directory: directory.path("cache"))
    try write(CacheExport(reader: reader, format: format, hooks: hooks), directory.path("out"))
    return directory
  }

  private func expectSafetensors(_ path: String, prompt: Int, hooks: [Int]) throws {
    let arrays = try ReferenceArrays(path: path)
    let specs = hooks.map { capture.plan.hooks[$0] }
    #expect(arrays.names == specs.map(\.name).sorted())
    for (hook, spec) in zip(hooks, specs) {
      let T = capture.prompts[prompt].tokens.count
      #expect(try arrays.shape(spec.name) == spec.dimensions(positions: T))
      #expect(bits(try arrays.floats(spec.name)) == bits(capture.arrays[hook][prompt]))
    }
  }

  @Test func aPromptAsSafetensors() throws {
    let directory = try exported(.safetensors, hooks: [2, 0]) { try $0.write(prompt: 1, to: $1) }
    try expectSafetensors(directory.path("out"), prompt: 1, hooks: [2, 0])
    #expect(try contents(directory.path("out")).prefix(8).first.map { $0 % 8 } == 0)
    #expect(try fileNames(directory.path) == ["cache", "out"])
  }

  @Test func everyPromptAsSafetensors() throws {
    let directory = try exported(.safetensors) { try $0.writeAll(to: $1) }
    let names = ["prompt-000000.safetensors", "prompt-000001.safetensors"]
    #expect(try fileNames(directory.path("out")) == names)
    for prompt in 0..<2 {
      try expectSafetensors(
        directory.path("out/" + names[prompt]), prompt: prompt, hooks: [0, 1, 2, 3])
    }
  }

  @Test func everyPromptAsNumPy() throws {
    let directory = try exported(.npy) { try $0.writeAll(to: $1 + "/") }
    #expect(try fileNames(directory.path("out")) == ["prompt-000000", "prompt-000001"])
    for (hook, spec) in capture.plan.hooks.enumerated() {
      let bytes = try contents(directory.path("out/prompt-000001/\(spec.name).npy"))
      #expect(bytes.prefix(8) == [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0])
      let length = Int(bytes[8]) + Int(bytes[9]) << 8
      #expect((10 + length) % 64 == 0)
      let header = String(decoding: bytes[10..<10 + length], as: UTF8.self)
      let shape = spec.dimensions(positions: 5).map { "\($0)," }.joined(separator: " ")
      #expect(
        header.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': (\(shape)), }"))
      #expect(header.hasSuffix("\n"))
      let values = bytes[(10 + length)...].withUnsafeBytes { source in
        (0..<source.count / 4).map { source.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self) }
      }
      #expect(values == bits(capture.arrays[hook][1]))
    }
  }

  @Test func whatIsNotThereIsNotExported() throws {
    #expect(
      throws: ExportError.self,
      performing: {
        try exported(.safetensors) { try $0.write(prompt: 2, to: $1) }
      })
    let error = try #require(throws: ExportError.self) {
      try exported(.npy) { try $0.write(prompt: 0, to: $1 + "/absent/deep") }
    }
    #expect(error.exitCode == .cannotCreate)
  }

  /// A bad array stops the export and leaves no file that looks whole.
  @Test func damageLeavesNoFile() throws {
    let directory = try TemporaryDirectory()
    let forger = try Forger(capture, in: directory.path("cache"))
    var segment = try contents(forger.segmentPath)
    segment[forger.offset(hook: 3, prompt: 0, in: segment) + 64] ^= 1
    try overwrite(forger.segmentPath, segment)
    let reader = try CacheReader(directory: forger.directory)
    let export = CacheExport(reader: reader, format: .safetensors, hooks: [0, 3])
    let error = try #require(throws: ExportError.self) {
      try export.write(prompt: 0, to: directory.path("out"))
    }
    #expect(error.exitCode == .badData)
    #expect(try fileNames(directory.path) == ["cache"])
  }
}
