import FoundationEssentials
import TestSupport

/// A tensor to be written to a file.
struct TinyTensor {
  var type = "F32"
  var shape: [Int]
  var bytes: [UInt8]

  init(type: String, shape: [Int], bytes: [UInt8]) {
    self.type = type
    self.shape = shape
    self.bytes = bytes
  }

  init(shape: [Int], values: [Float]) {
    self.shape = shape
    bytes = values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }
  }

  var floats: [Float] {
    bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
    }
  }

  /// The values in 16 bits: F16, or BF16 by cutting off the lower half.
  func narrowed(to type: String) -> TinyTensor {
    let halves = floats.map { value in
      type == "F16" ? Float16(value).bitPattern : UInt16(value.bitPattern >> 16)
    }
    return TinyTensor(
      type: type, shape: shape,
      bytes: halves.flatMap { withUnsafeBytes(of: $0.littleEndian, Array.init) })
  }
}

/// The bytes of a safetensors file.
///
/// - Parameter padding: spaces after the header.
func safetensors(_ tensors: [String: TinyTensor], padding: Int = 0) -> [UInt8] {
  var data: [UInt8] = []
  var entries = [#""__metadata__":{"format":"pt"}"#]
  for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
    let offsets = "[\(data.count),\(data.count + tensor.bytes.count)]"
    entries.append(
      #""\#(name)":{"dtype":"\#(tensor.type)","shape":\#(tensor.shape),"data_offsets":\#(offsets)}"#
    )
    data += tensor.bytes
  }
  var header = "{\(entries.joined(separator: ","))}"
  while header.utf8.count % 8 != 0 { header += " " }
  return safetensors(header: header + String(repeating: " ", count: padding), data: data)
}

func safetensors(header: String, data: [UInt8]) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + header.utf8 + data
}

/// A GPT-2 of random weights in Hugging Face's layout: 2 layers, 3 heads of 4, an MLP of 20, 31
/// tokens, 9 positions. Weights are uniform from -0.75 to 1, so that there are means to be taken off.
struct TinyCheckpoint {
  var options = [
    "model_type": #""gpt2""#, "n_layer": "2", "n_head": "3", "n_embd": "12", "n_inner": "20",
    "vocab_size": "31", "n_positions": "9",
  ]
  var tensors: [String: TinyTensor] = [:]

  static let seed: UInt64 = 20_240_611

  init(tied: Bool = true) {
    var generator = SeededGenerator(seed: TinyCheckpoint.seed)
    var shapes = ["wte.weight": [31, 12], "wpe.weight": [9, 12]]
    shapes["ln_f.weight"] = [12]
    shapes["ln_f.bias"] = [12]
    if !tied {
      options["tie_word_embeddings"] = "false"
      shapes["lm_head.weight"] = [31, 12]
    }
    for layer in ["h.0.", "h.1."] {
      for norm in ["ln_1", "ln_2"] {
        shapes[layer + norm + ".weight"] = [12]
        shapes[layer + norm + ".bias"] = [12]
      }
      for (name, rows, columns) in [
        ("attn.c_attn", 12, 36), ("attn.c_proj", 12, 12), ("mlp.c_fc", 12, 20),
        ("mlp.c_proj", 20, 12),
      ] {
        shapes[layer + name + ".weight"] = [rows, columns]
        shapes[layer + name + ".bias"] = [columns]
      }
    }
    for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
      let values = (0..<shape.reduce(1, *)).map { _ in
        Float(generator.next() >> 40) / 0x1p24 * 1.75 - 0.75
      }
      tensors[name] = TinyTensor(shape: shape, values: values)
    }
  }

  /// The same tensors with `transformer.` before the names of all but lm_head.
  var prefixed: [String: TinyTensor] {
    Dictionary(
      uniqueKeysWithValues: tensors.map { name, tensor in
        (name.hasPrefix("lm_head") ? name : "transformer." + name, tensor)
      })
  }

  var config: String {
    "{" + options.map { #""\#($0)": \#($1)"# }.joined(separator: ", ") + "}"
  }

  /// Writes a model directory with one file of weights.
  func write(_ directory: TemporaryDirectory, padding: Int = 0) throws {
    try directory.write("config.json", config.utf8)
    try directory.write("model.safetensors", safetensors(tensors, padding: padding))
  }

  /// Writes a model directory with weights in two files.
  func writeShards(_ directory: TemporaryDirectory) throws {
    try directory.write("config.json", config.utf8)
    let names = tensors.keys.sorted()
    let parts = [names.prefix(names.count / 2), names.suffix(names.count - names.count / 2)]
    var map: [String] = []
    for (part, names) in parts.enumerated() {
      let file = "model-0000\(part + 1)-of-00002.safetensors"
      try directory.write(file, safetensors(tensors.filter { names.contains($0.key) }))
      map += names.map { #""\#($0)": "\#(file)""# }
    }
    let index = #"{"metadata": {"total_size": 1}, "weight_map": {\#(map.joined(separator: ","))}}"#
    try directory.write("model.safetensors.index.json", index.utf8)
  }
}
