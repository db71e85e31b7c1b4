import FileIO
import Glibc

/// Why a directory cannot be used as a GPT-2.
public enum ModelError: ReportableError, Equatable {
  case file(FileError)
  case missingFile(path: String)
  /// Neither model.safetensors nor model.safetensors.index.json is there.
  case missingWeights(directory: String)

  case notJSON(path: String)
  case duplicateKey(path: String, key: String)
  /// An entry of a JSON file is missing, of the wrong kind or impossible.
  case badEntry(path: String, key: String, problem: String)
  /// The configuration is of another kind of model; nil when it names none.
  case notGPT2(path: String, modelType: String?)
  /// An option that would change the arithmetic in a way that is not implemented.
  case unsupportedOption(path: String, key: String, value: String, supported: String)

  case badTensorFile(path: String, problem: TensorFileProblem)
  case unsupportedElementType(path: String, tensor: String, type: String)
  case missingTensor(path: String, tensor: String)
  case wrongShape(path: String, tensor: String, shape: [Int], expected: [Int])
  /// A tensor that GPT-2's forward pass has no place for.
  case unexpectedTensor(path: String, tensor: String)
  /// One tensor in two files, or under two spellings of its name in one file.
  case duplicateTensor(tensor: String, paths: Set<String>)
  /// The index puts a tensor into a file that does not have it.
  case misplacedTensor(path: String, tensor: String)
  /// The configuration ties the unembedding to the embedding, and the checkpoint has two.
  case contradictoryUnembedding(path: String)

  /// A head has no singular value decomposition: its weights are not finite.
  case notDecomposable(layer: Int, head: Int)

  public var description: String {
    switch self {
    case .file(let error): error.description
    case .missingFile(let path):
      "there is no file \(path): a model directory holds config.json, model.safetensors and the "
        + "files of its tokenizer"
    case .missingWeights(let directory):
      "there is no model.safetensors in \(directory): download it, or save the model with "
        + "Hugging Face's save_pretrained, which writes it"
    case .notJSON(let path): "\(path) is not JSON: download it again"
    case .duplicateKey(let path, let key):
      "\(path) has \(quoted(key)) twice in one object: remove one of them"
    case .badEntry(let path, let key, let problem):
      "\(path) is malformed: \(quoted(key)) \(problem)"
    case .notGPT2(let path, let modelType):
      if let modelType {
        "\(path) describes a model of type \(quoted(modelType)): only gpt2 is supported"
      } else {
        "\(path) does not say its model_type: only gpt2 is supported"
      }
    case .unsupportedOption(let path, let key, let value, let supported):
      "\(path) sets \(quoted(key)) to \(quoted(value)), which is not supported: \(supported)"
    case .badTensorFile(let path, let problem):
      "\(path) is not a sound safetensors file: \(problem); download or save it again"
    case .unsupportedElementType(let path, let tensor, let type):
      "\(path) has \(quoted(tensor)) as \(quoted(type)): save it as F32, F16 or BF16"
    case .missingTensor(let path, let tensor):
      "\(path) lacks the tensor \(quoted(tensor)), which config.json calls for: use files of one "
        + "and the same model"
    case .wrongShape(let path, let tensor, let shape, let expected):
      "\(path) has \(quoted(tensor)) of shape \(shape), and config.json calls for \(expected): "
        + "use files of one and the same model"
    case .unexpectedTensor(let path, let tensor):
      "\(path) has the tensor \(quoted(tensor)), which is no part of a GPT-2 of the shape in "
        + "config.json: merge adapters, or use files of one and the same model"
    case .duplicateTensor(let tensor, let paths):
      "\(quoted(tensor)) is twice in \(paths.sorted().joined(separator: " and ")), with or without "
        + "the prefix 'transformer.': save the model again"
    case .misplacedTensor(let path, let tensor):
      "\(path) lacks the tensor \(quoted(tensor)), which the index says it has: download the "
        + "model again"
    case .contradictoryUnembedding(let path):
      "\(path) has an lm_head.weight that differs from wte.weight, and config.json ties them: set "
        + "tie_word_embeddings to false to use the former, or remove it"
    case .notDecomposable(let layer, let head):
      "the weights of head \(head) in layer \(layer) have no singular value decomposition: look "
        + "for values that are not finite, or load the model without refactoring"
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .file(let error): error.exitCode
    case .missingFile, .missingWeights: .noInput
    case .notJSON, .duplicateKey, .badEntry, .badTensorFile, .duplicateTensor, .misplacedTensor,
      .notDecomposable:
      .badData
    case .notGPT2, .unsupportedOption, .unsupportedElementType, .missingTensor, .wrongShape,
      .unexpectedTensor, .contradictoryUnembedding:
      .configuration
    }
  }

  /// The error for a file that could not be read.
  static func unreadable(_ error: FileError) -> ModelError {
    error.operation == .open && error.errno == ENOENT
      ? .missingFile(path: error.path) : .file(error)
  }
}

/// How a safetensors file breaks the format.
public enum TensorFileProblem: Error, Equatable, Sendable, CustomStringConvertible {
  /// It has fewer than the 8 bytes that give the length of its header.
  case noHeader
  case headerTooLong(bytes: UInt64, limit: Int)
  case headerPastEnd(bytes: Int, available: Int)
  case headerNotJSON
  case duplicateKey(String)
  /// The entry of a tensor, or `__metadata__`, is not of the form that the format gives it.
  case badEntry(String)
  /// A negative size, or more values than can be counted.
  case badShape(tensor: String, shape: [Int])
  case offsetsReversed(tensor: String)
  case offsetsPastEnd(tensor: String, end: Int, available: Int)
  case wrongLength(tensor: String, bytes: Int, expected: Int)
  case overlap(tensor: String, with: String)
  /// Bytes before a tensor belong to no tensor.
  case hole(before: String)
  case trailingBytes(Int)

  public var description: String {
    switch self {
    case .noHeader: "it has no header"
    case .headerTooLong(let bytes, let limit):
      "its header claims \(bytes) bytes, more than the \(limit) that are accepted"
    case .headerPastEnd(let bytes, let available):
      "its header claims \(bytes) bytes, and \(available) are there"
    case .headerNotJSON: "its header is not JSON"
    case .duplicateKey(let key): "its header has \(quoted(key)) twice in one object"
    case .badEntry(let tensor): "its header's entry for \(quoted(tensor)) is malformed"
    case .badShape(let tensor, let shape): "\(quoted(tensor)) has the impossible shape \(shape)"
    case .offsetsReversed(let tensor): "\(quoted(tensor)) ends before it begins"
    case .offsetsPastEnd(let tensor, let end, let available):
      "\(quoted(tensor)) ends at byte \(end) of \(available)"
    case .wrongLength(let tensor, let bytes, let expected):
      "\(quoted(tensor)) has \(bytes) bytes, and its shape needs \(expected)"
    case .overlap(let tensor, let other): "\(quoted(tensor)) overlaps \(quoted(other))"
    case .hole(let tensor): "bytes before \(quoted(tensor)) belong to no tensor"
    case .trailingBytes(let count): "\(count) bytes after the last tensor belong to none"
    }
  }
}

/// A name from a file, made fit to be shown: one line, of bounded length, without control
/// characters that a terminal would obey.
func quoted(_ name: String) -> String {
  var shown = "'"
  for scalar in name.unicodeScalars.prefix(100) {
    let isControl = scalar.properties.generalCategory == .control
    shown.unicodeScalars.append(isControl ? "\u{FFFD}" : scalar)
  }
  return shown + (name.unicodeScalars.count > 100 ? "…'" : "'")
}
