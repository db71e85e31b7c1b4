import FileIO
import Glibc

/// The tensors of a GPT-2 in Hugging Face's layout, in one safetensors file or several.
///
/// Tensors go by the names of `GPT2LMHeadModel` without the prefix `transformer.`, which some
/// files have and some have not. Every tensor that the configuration calls for is there, of the
/// right shape and of a type that can be read, and nothing else that would matter.
struct Checkpoint: Sendable {
  /// In the order of their names.
  let files: [SafetensorsFile]
  let isSharded: Bool
  /// Whether the checkpoint has an unembedding that is not the token embedding.
  let hasUnembedding: Bool
  private let path: String
  private let tensors: [String: Place]

  struct Place: Sendable {
    let file: SafetensorsFile
    let tensor: SafetensorsFile.Tensor
  }

  init(directory: String, config: ModelConfig) throws(ModelError) {
    let single = directory + "/model.safetensors"
    let index = single + ".index.json"
    if access(single, F_OK) == 0 {
      (path, isSharded) = (single, false)
      files = [try SafetensorsFile(path: single)]
      tensors = try placesByName(in: files)
    } else if access(index, F_OK) == 0 {
      (path, isSharded) = (index, true)
      let map = try decodeJSONFile(ShardIndex.self, path: index).files
      files = try openShards(map, directory: directory, index: index)
      tensors = try placesByName(in: files)
      try checkIndex(map, files: files)
    } else {
      throw .missingWeights(directory: directory)
    }
    hasUnembedding = !config.tiesEmbeddings
    try check(against: config)
  }

  /// A tensor as float32: a view of the file where it has that type, a copy otherwise. A vector
  /// becomes a matrix of one row.
  ///
  /// - Parameter rowLimit: leaves out the rows from there on.
  func matrix(_ name: String, rowLimit: Int = .max) throws(ModelError) -> Matrix {
    guard let place = tensors[name] else { throw .missingTensor(path: path, tensor: name) }
    let shape = place.tensor.shape
    let columns = shape.last ?? 1
    let rows = min(shape.dropLast().reduce(1, *), rowLimit)
    let bytes = place.file.bytes(of: place.tensor)
    switch place.tensor.type {
    case "F32":
      if let address = bytes.baseAddress, UInt(bitPattern: address) % 4 == 0 {
        return Matrix(rows: rows, columns: columns, at: address, in: place.file.file)
      }
      let copy = Matrix(rows: rows, columns: columns)
      UnsafeMutableRawBufferPointer(start: copy.pointer, count: copy.count * 4)
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<(copy.count * 4)]))
      return copy
    case "F16":
      let wide = Matrix(rows: rows, columns: columns)
      widenFloat16(bytes, into: wide)
      return wide
    case "BF16":
      let wide = Matrix(rows: rows, columns: columns)
      widenBFloat16(bytes, into: wide)
      return wide
    default:
      throw .unsupportedElementType(
        path: place.file.path, tensor: name, type: place.tensor.type)
    }
  }

  // MARK: - Checks

  private func check(against config: ModelConfig) throws(ModelError) {
    var known: Set<String> = ["lm_head.weight"]
    for (name, shape) in tensorShapes(config) {
      known.insert(name)
      try check(name, shape: shape, allowsMoreRows: name == "wpe.weight")
    }
    for layer in 0..<config.layers {
      // Causal masks that old versions of the library saved with the weights.
      known.insert("h.\(layer).attn.bias")
      known.insert("h.\(layer).attn.masked_bias")
    }
    for name in tensors.keys.sorted() where !known.contains(name) {
      guard let place = tensors[name], !isHeadOfAnotherTask(name) else { continue }
      throw .unexpectedTensor(path: place.file.path, tensor: name)
    }
    try checkUnembedding(config)
  }

  private func check(
    _ name: String, shape expected: [Int], allowsMoreRows: Bool = false
  ) throws(ModelError) {
    guard let place = tensors[name] else { throw .missingTensor(path: path, tensor: name) }
    let (file, tensor) = (place.file.path, place.tensor)
    // n_ctx may cut the position embedding, as TransformerLens does.
    let fits =
      tensor.shape == expected
      || allowsMoreRows && tensor.shape.count == 2 && tensor.shape[0] >= expected[0]
        && tensor.shape[1] == expected[1]
    guard fits else {
      throw .wrongShape(path: file, tensor: name, shape: tensor.shape, expected: expected)
    }
    guard ["F32", "F16", "BF16"].contains(tensor.type) else {
      throw .unsupportedElementType(path: file, tensor: name, type: tensor.type)
    }
  }

  /// Some files have the tied embedding twice; then both must be the same.
  private func checkUnembedding(_ config: ModelConfig) throws(ModelError) {
    guard config.tiesEmbeddings, let place = tensors["lm_head.weight"] else { return }
    try check("lm_head.weight", shape: [config.vocabulary, config.width])
    let (unembedding, embedding) = (try matrix("lm_head.weight"), try matrix("wte.weight"))
    guard memcmp(unembedding.pointer, embedding.pointer, embedding.count * 4) == 0 else {
      throw .contradictoryUnembedding(path: place.file.path)
    }
  }
}

/// What the configuration calls for, by name.
private func tensorShapes(_ config: ModelConfig) -> [(name: String, shape: [Int])] {
  let (D, M) = (config.width, config.mlpWidth)
  var shapes = [
    ("wte.weight", [config.vocabulary, D]),
    ("wpe.weight", [config.contextLength, D]),
    ("ln_f.weight", [D]), ("ln_f.bias", [D]),
  ]
  if !config.tiesEmbeddings { shapes.append(("lm_head.weight", [config.vocabulary, D])) }
  for layer in 0..<config.layers {
    shapes += [
      ("ln_1.weight", [D]), ("ln_1.bias", [D]),
      ("attn.c_attn.weight", [D, 3 * D]), ("attn.c_attn.bias", [3 * D]),
      ("attn.c_proj.weight", [D, D]), ("attn.c_proj.bias", [D]),
      ("ln_2.weight", [D]), ("ln_2.bias", [D]),
      ("mlp.c_fc.weight", [D, M]), ("mlp.c_fc.bias", [M]),
      ("mlp.c_proj.weight", [M, D]), ("mlp.c_proj.bias", [D]),
    ].map { ("h.\(layer).\($0)", $1) }
  }
  return shapes
}

/// Classification, multiple-choice, question-answering and value heads read the same residual
/// stream and change nothing in the language model.
private func isHeadOfAnotherTask(_ name: String) -> Bool {
  ["score.", "classifier.", "multiple_choice_head.", "qa_outputs.", "v_head."]
    .contains { name.hasPrefix($0) }
}

// MARK: - Files

private struct ShardIndex: Decodable {
  /// Name of a tensor → name of the file that has it.
  let files: [String: String]

  enum CodingKeys: String, CodingKey {
    case files = "weight_map"
  }
}

private func openShards(
  _ map: [String: String], directory: String, index: String
) throws(ModelError) -> [SafetensorsFile] {
  var files: [SafetensorsFile] = []
  for name in Set(map.values).sorted() {
    guard name.hasSuffix(".safetensors"), !name.utf8.contains(where: { $0 == 0x2F || $0 == 0 })
    else {
      throw .badEntry(
        path: index, key: "weight_map",
        problem: "names \(quoted(name)), which is not the plain name of a safetensors file")
    }
    files.append(try SafetensorsFile(path: directory + "/" + name))
  }
  return files
}

private func placesByName(
  in files: [SafetensorsFile]
) throws(ModelError) -> [String: Checkpoint.Place] {
  var places: [String: Checkpoint.Place] = [:]
  for file in files {
    for (fullName, tensor) in file.tensors.sorted(by: { $0.key < $1.key }) {
      let prefix = "transformer."
      let name =
        fullName.hasPrefix(prefix) ? String(fullName.dropFirst(prefix.count)) : fullName
      let place = Checkpoint.Place(file: file, tensor: tensor)
      if let other = places.updateValue(place, forKey: name) {
        throw .duplicateTensor(tensor: name, paths: [other.file.path, file.path])
      }
    }
  }
  return places
}

private func checkIndex(
  _ map: [String: String], files: [SafetensorsFile]
) throws(ModelError) {
  for file in files {
    let fileName = file.path.split(separator: "/").last.map(String.init) ?? file.path
    let missing = map.filter { $0.value == fileName && file.tensors[$0.key] == nil }
    if let tensor = missing.keys.min() {
      throw .misplacedTensor(path: file.path, tensor: tensor)
    }
  }
}
