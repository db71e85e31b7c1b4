import FileIO
import FoundationEssentials

/// What a command needs of a model.
public enum ModelUse: Sendable {
  /// The shape alone.
  case configuration
  /// The tokenizer and the configuration.
  case tokenizer
  /// Everything.
  case weights
}

/// The files of a model in Hugging Face's layout, as this package reads them.
enum ModelFiles {
  static let configuration = "config.json"
  static let singleTokenizer = "tokenizer.json"
  static let vocabularyAndMerges = ["vocab.json", "merges.txt"]
  /// They change the tokens where there are any.
  static let tokenizerSettings = [
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
  ]
  static let singleWeights = "model.safetensors"
  static let index = "model.safetensors.index.json"

  /// What a directory lacks for a use, nothing if it can be used.
  static func missing(in directory: String, for use: ModelUse) -> [String] {
    func isThere(_ name: String) -> Bool { isPlainFile("\(directory)/\(name)") }
    var missing = isThere(configuration) ? [] : [configuration]
    if use != .configuration, !isThere(singleTokenizer) {
      let pair = vocabularyAndMerges.filter { !isThere($0) }
      missing += pair.count == 2 ? [singleTokenizer] : pair
    }
    if use == .weights, !isThere(singleWeights) {
      if isThere(index) {
        // An index that cannot be read is reported by who reads the weights.
        missing += ((try? shards(of: "\(directory)/\(index)", model: "")) ?? []).filter {
          !isThere($0)
        }
      } else {
        missing.append(singleWeights)
      }
    }
    return missing
  }

  /// The files that an index names, in order.
  ///
  /// - Throws: `HubError.badIndex` for what is no index, or names something else than plain
  ///   safetensors files.
  static func shards(of path: String, model: String) throws(HubError) -> [String] {
    struct Index: Decodable {
      let weight_map: [String: String]
    }
    let bytes: [UInt8]
    do throws(FileError) {
      bytes = try readFile(path, limit: 100_000_000)
    } catch {
      throw .file(error)
    }
    guard let index = try? JSONDecoder().decode(Index.self, from: Data(bytes)) else {
      throw .badIndex(name: model, problem: "is not an index of safetensors files")
    }
    let names = Set(index.weight_map.values).sorted()
    let isPlain = names.allSatisfy { name in
      name.hasSuffix(".safetensors") && !name.hasPrefix(".") && name.utf8.count <= 200
        && name.unicodeScalars.allSatisfy {
          $0.isASCII && $0.value > 0x20 && $0 != "/" && $0 != "\u{7F}"
        }
    }
    guard isPlain, 1...1000 ~= names.count else {
      throw .badIndex(name: model, problem: "names files that are not plain safetensors files")
    }
    return names
  }
}
