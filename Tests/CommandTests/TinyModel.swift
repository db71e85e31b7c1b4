import Foundation
import TestSupport

/// A GPT-2 of random weights in Hugging Face's layout, whose tokens are the 256 bytes and
/// `<|endoftext|>`, so that every ASCII character is one token.
struct TinyModel {
  static let layers = 3
  static let heads = 3
  static let width = 24
  static let mlpWidth = 32
  static let vocabulary = 257
  static let contextLength = 32
  /// Hooks that are captured by default: 17 a layer and 4 outside.
  static let hookCount = 17 * layers + 4

  var config: [String: Any] = [
    "model_type": "gpt2", "n_layer": layers, "n_head": heads, "n_embd": width,
    "n_inner": mlpWidth, "n_positions": contextLength, "vocab_size": vocabulary,
  ]
  private(set) var tensors: [(name: String, shape: [Int], values: [Float])] = []

  init(
    seed: UInt64 = 20_261_122, contextLength: Int = TinyModel.contextLength,
    layers: Int = TinyModel.layers
  ) {
    config["n_positions"] = contextLength
    config["n_layer"] = layers
    var generator = SeededGenerator(seed: seed)
    func add(_ name: String, _ shape: [Int], around middle: Float = 0, by spread: Float = 0.5) {
      let values = generator.floats(
        shape.reduce(1, *), in: (middle - spread)...(middle + spread))
      tensors.append((name, shape, values))
    }
    add("wte.weight", [TinyModel.vocabulary, TinyModel.width], by: 1.5)
    add("wpe.weight", [contextLength, TinyModel.width])
    for layer in 0..<layers {
      for norm in ["ln_1", "ln_2"] {
        add("h.\(layer).\(norm).weight", [TinyModel.width], around: 1)
        add("h.\(layer).\(norm).bias", [TinyModel.width])
      }
      for (name, rows, columns) in [
        ("attn.c_attn", TinyModel.width, 3 * TinyModel.width),
        ("attn.c_proj", TinyModel.width, TinyModel.width),
        ("mlp.c_fc", TinyModel.width, TinyModel.mlpWidth),
        ("mlp.c_proj", TinyModel.mlpWidth, TinyModel.width),
      ] {
        add("h.\(layer).\(name).weight", [rows, columns])
        add("h.\(layer).\(name).bias", [columns])
      }
    }
    add("ln_f.weight", [TinyModel.width], around: 1)
    add("ln_f.bias", [TinyModel.width])
  }

  /// Puts a value into a tensor.
  mutating func set(_ value: Float, at index: Int, of name: String) {
    guard let place = tensors.firstIndex(where: { $0.name == name }) else { return }
    tensors[place].values[index] = value
  }

  /// The bytes of model.safetensors.
  var weights: Data {
    var body = Data()
    var header: [String: Any] = [:]
    for (name, shape, values) in tensors {
      let start = body.count
      for value in values {
        withUnsafeBytes(of: value.bitPattern.littleEndian) { body.append(contentsOf: $0) }
      }
      header[name] = ["dtype": "F32", "shape": shape, "data_offsets": [start, body.count]]
    }
    return TinyModel.safetensors(header: header, body: body)
  }

  static func safetensors(header: [String: Any], body: Data) -> Data {
    let json = (try? JSONSerialization.data(withJSONObject: header, options: .sortedKeys)) ?? Data()
    let length = withUnsafeBytes(of: UInt64(json.count).littleEndian) { Data($0) }
    return length + json + body
  }

  /// Writes the model into a directory that is made for it, and returns its path.
  @discardableResult
  func write(to directory: String) throws -> String {
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true)
    let files: [String: Data] = [
      "config.json": try JSONSerialization.data(withJSONObject: config),
      "model.safetensors": weights,
      "vocab.json": try JSONSerialization.data(withJSONObject: TinyModel.vocabularyIDs),
      "merges.txt": Data("#version: 0.2\n".utf8),
    ]
    for (name, data) in files {
      try data.write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
    }
    return directory
  }

  /// GPT-2's alphabet: a printable byte is the character of that number, the others are the
  /// characters from U+0100 on in their order. A byte's id is the byte.
  private static var vocabularyIDs: [String: Int] {
    var ids = ["<|endoftext|>": 256]
    var next: UInt32 = 0x100
    for byte in 0..<UInt32(256) {
      let isPrintable =
        (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
      let scalar = Unicode.Scalar(isPrintable ? byte : next) ?? " "
      if !isPrintable { next += 1 }
      ids[String(Character(scalar))] = Int(byte)
    }
    return ids
  }
}
