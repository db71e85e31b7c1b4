import FileIO
import TestSupport
import Testing

@testable import Model

@Suite struct SafetensorsTests {
  let directory: TemporaryDirectory
  var path: String { directory.path + "/a.safetensors" }

  init() throws { directory = try TemporaryDirectory() }

  private func open(_ bytes: [UInt8]) throws -> SafetensorsFile {
    try SafetensorsFile(path: try directory.write("a.safetensors", bytes))
  }

  private func open(header: String, data count: Int) throws -> SafetensorsFile {
    try open(safetensors(header: header, data: [UInt8](repeating: 7, count: count)))
  }

  private func expect(
    _ problem: TensorFileProblem, header: String, data count: Int,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: ModelError.self, sourceLocation: sourceLocation) {
      try open(header: header, data: count)
    }
    #expect(
      error == .badTensorFile(path: path, problem: problem), sourceLocation: sourceLocation)
    #expect(error?.exitCode == .badData, sourceLocation: sourceLocation)
  }

  private func entry(
    _ name: String, _ begin: Int, _ end: Int, shape: String = "[2]", type: String = "F32"
  ) -> String {
    #""\#(name)":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[\#(begin),\#(end)]}"#
  }

  @Test func tensorsAreFoundWhereTheHeaderPutsThem() throws {
    let file = try open(
      safetensors([
        "a": TinyTensor(shape: [2, 3], values: [1, 2, 3, 4, 5, 6]),
        "scalar": TinyTensor(shape: [], values: [7]),
        "nothing": TinyTensor(shape: [0, 5], values: []),
        "mask": TinyTensor(type: "BOOL", shape: [3], bytes: [1, 0, 1]),
      ]))
    #expect(Set(file.tensors.keys) == ["a", "scalar", "nothing", "mask"])
    let a = try #require(file.tensors["a"])
    #expect(a.type == "F32")
    #expect(a.shape == [2, 3])
    #expect(file.bytes(of: a).loadUnaligned(fromByteOffset: 20, as: Float.self) == 6)
    let mask = try #require(file.tensors["mask"])
    #expect(Array(file.bytes(of: mask)) == [1, 0, 1])
    #expect(file.tensors["nothing"]?.range.isEmpty == true)
  }

  @Test func anEmptyObjectIsAFileWithoutTensors() throws {
    #expect(try open(header: "{}", data: 0).tensors.isEmpty)
  }

  @Test func missingFileIsNamed() {
    #expect(throws: ModelError.missingFile(path: path)) { try SafetensorsFile(path: path) }
  }

  @Test func tooShortForAHeader() {
    for count in [0, 1, 7] {
      let error = #expect(throws: ModelError.self) { try open([UInt8](repeating: 0, count: count)) }
      #expect(error == .badTensorFile(path: path, problem: .noHeader))
    }
  }

  @Test func headerLengthIsCheckedBeforeUse() {
    func open(length: UInt64) throws {
      _ = try self.open(withUnsafeBytes(of: length.littleEndian, Array.init) + "{}".utf8)
    }
    #expect(
      throws: ModelError.badTensorFile(
        path: path, problem: .headerPastEnd(bytes: 3, available: 2))
    ) { try open(length: 3) }
    for bytes in [100_000_001, UInt64.max, 1 << 63] {
      #expect(
        throws: ModelError.badTensorFile(
          path: path, problem: .headerTooLong(bytes: bytes, limit: 100_000_000))
      ) { try open(length: bytes) }
    }
  }

  @Test(arguments: ["", "[]", "{", " {}", #"{"a":}"#, #"{"\#u{FF}":1"#, "{}{}"])
  func headerMustBeAnObject(_ header: String) {
    expect(.headerNotJSON, header: header, data: 0)
  }

  @Test(arguments: [
    #"{"a":1}"#, #"{"a":{}}"#, #"{"a":{"dtype":"F32","shape":[2]}}"#,
    #"{"a":{"dtype":5,"shape":[2],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
  ])
  func entriesMustHaveTheirForm(_ header: String) {
    expect(.badEntry("a"), header: header, data: 8)
  }

  @Test func metadataMustBeStrings() {
    expect(.badEntry("__metadata__"), header: #"{"__metadata__":{"format":1}}"#, data: 0)
  }

  @Test func aKeyMustNotOccurTwice() {
    expect(.duplicateKey("a"), header: "{\(entry("a", 0, 8)),\(entry("a", 0, 8))}", data: 8)
    expect(
      .duplicateKey("dtype"),
      header: #"{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#, data: 8)
  }

  @Test func elementTypesWithoutAKnownSizeAreRefused() {
    let error = #expect(throws: ModelError.self) {
      try open(header: "{\(entry("a", 0, 8, type: "F4"))}", data: 8)
    }
    #expect(error == .unsupportedElementType(path: path, tensor: "a", type: "F4"))
    #expect(error?.exitCode == .configuration)
  }

  @Test func shapesMustBeCountable() {
    expect(
      .badShape(tensor: "a", shape: [-2]), header: "{\(entry("a", 0, 8, shape: "[-2]"))}", data: 8)
    let huge = [1 << 32, 1 << 32]
    expect(
      .badShape(tensor: "a", shape: huge),
      header: "{\(entry("a", 0, 8, shape: "[4294967296,4294967296]"))}", data: 8)
    expect(
      .badShape(tensor: "a", shape: [1 << 62]),
      header: "{\(entry("a", 0, 8, shape: "[4611686018427387904]"))}", data: 8)
  }

  @Test func placesMustFitTheFileAndTheShape() {
    expect(.offsetsReversed(tensor: "a"), header: "{\(entry("a", 8, 0))}", data: 8)
    expect(
      .offsetsPastEnd(tensor: "a", end: 8, available: 7), header: "{\(entry("a", 0, 8))}", data: 7)
    expect(
      .offsetsPastEnd(tensor: "a", end: .max, available: 8),
      header: "{\(entry("a", 0, .max))}", data: 8)
    expect(
      .wrongLength(tensor: "a", bytes: 8, expected: 12),
      header: "{\(entry("a", 0, 8, shape: "[3]"))}", data: 8)
    expect(
      .wrongLength(tensor: "a", bytes: 8, expected: 4),
      header: "{\(entry("a", 0, 8, type: "BF16"))}", data: 8)
  }

  @Test func everyByteBelongsToOneTensor() {
    expect(
      .overlap(tensor: "b", with: "a"), header: "{\(entry("a", 0, 8)),\(entry("b", 4, 12))}",
      data: 12)
    expect(
      .overlap(tensor: "b", with: "a"), header: "{\(entry("a", 0, 8)),\(entry("b", 0, 8))}",
      data: 8)
    expect(
      .hole(before: "b"), header: "{\(entry("a", 0, 8)),\(entry("b", 12, 20))}", data: 20)
    expect(.hole(before: "a"), header: "{\(entry("a", 4, 12))}", data: 12)
    expect(.trailingBytes(3), header: "{\(entry("a", 0, 8))}", data: 11)
    expect(.trailingBytes(1), header: "{}", data: 1)
  }

  @Test func aFileCutAnywhereIsRefused() throws {
    let whole = safetensors(TinyCheckpoint().tensors.filter { $0.key.hasPrefix("h.0.ln") })
    #expect(try tensors(whole).count == 4)
    let accepted = (0..<whole.count).filter { (try? tensors(Array(whole.prefix($0)))) != nil }
    #expect(accepted.isEmpty)
  }

  /// A damaged header is refused or describes tensors that lie within the file.
  @Test func aDamagedHeaderNeverReachesOutsideTheFile() throws {
    let seed: UInt64 = 5
    var generator = SeededGenerator(seed: seed)
    let whole = safetensors(TinyCheckpoint().tensors.filter { $0.key.hasPrefix("h.0.ln") })
    let headerCount = whole.count - 4 * 12 * 4
    var accepted = 0
    for _ in 0..<2000 {
      var damaged = whole
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        damaged[Int.random(in: 0..<headerCount, using: &generator)] =
          UInt8.random(in: 0...255, using: &generator)
      }
      guard let found = try? tensors(damaged) else { continue }
      accepted += 1
      let areInside = found.values.allSatisfy { $0.range.upperBound <= damaged.count }
      #expect(areInside, "seed \(seed)")
    }
    // Damage to a name or to the metadata goes unnoticed, most of the rest does not.
    #expect((1..<1000).contains(accepted), "seed \(seed)")
  }

  private func tensors(_ bytes: [UInt8]) throws -> [String: SafetensorsFile.Tensor] {
    try bytes.withUnsafeBytes { try SafetensorsFile.tensors(of: $0, path: path) }
  }
}
