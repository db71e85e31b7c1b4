import FileIO
import Glibc

/// The settings beside a tokenizer's vocabulary: tokenizer_config.json, and for older models
/// special_tokens_map.json and added_tokens.json. All may be absent.
///
/// They are taken together as `PreTrainedTokenizerBase._from_pretrained` of `transformers` does:
/// the two older files count only where tokenizer_config.json has no `added_tokens_decoder`.
struct TokenizerSettings {
  /// A token with a role, such as `bos_token`.
  struct Special {
    var role: String
    var token: AddedToken
    /// Whether the settings give its flags too, not only its text.
    var hasFlags: Bool
  }

  /// An added token and the id that the settings give it.
  struct Added {
    var token: AddedToken
    var id: Int
    var path: String
  }

  /// Whether `<|endoftext|>` is the beginning, the end and the unknown token unless the settings
  /// say otherwise: so in GPT2TokenizerFast, not in PreTrainedTokenizerFast.
  private(set) var isGPT2Class = true
  /// `add_prefix_space`
  private(set) var prependsSpace = false
  /// In order of their ids.
  private(set) var added: [Added] = []
  /// Whether `added` comes from tokenizer_config.json.
  private(set) var listsAddedTokens = false
  /// In the order of `roles`.
  private(set) var specials: [Special] = []

  /// Roles with one token, in the order in which `transformers` adds them; those of
  /// `additional_special_tokens` come after.
  private static let roles = [
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
  ]
  private static let manyRole = "additional_special_tokens"
  private static let sizeLimit = 1 << 24

  init(directory: String) throws(TokenizerError) {
    let path = directory + "/tokenizer_config.json"
    let config = try Self.read(path)
    try Self.refuseUnsupported(config, path)
    try readClass(config, path, directory: directory)
    prependsSpace = config["add_prefix_space"]?.boolean ?? false

    var values: [String: JSONValue] = [:]
    if isGPT2Class {
      for role in Self.roles.prefix(3) { values[role] = .string([UInt8]("<|endoftext|>".utf8)) }
    }
    for role in Self.roles + [Self.manyRole] {
      if let value = config[role] { values[role] = value }
    }
    if let decoder = config["added_tokens_decoder"], !decoder.isNull {
      listsAddedTokens = true
      try readAddedTokens(decoder, path)
      try readSpecials(values, path)
    } else {
      let mapPath = directory + "/special_tokens_map.json"
      try Self.overlay(&values, with: try Self.read(mapPath))
      try readSpecials(values, mapPath)
      try readLegacyAddedTokens(directory + "/added_tokens.json")
    }
    added.sort { $0.id < $1.id }
  }

  /// The token of a role, if it has one.
  func special(_ role: String) -> AddedToken? {
    specials.first { $0.role == role }?.token
  }

  private static func read(_ path: String) throws(TokenizerError) -> JSONValue {
    guard let bytes = try readFileIfPresent(path, limit: sizeLimit) else { return .object([]) }
    var reader = try JSONReader(path: path, bytes: bytes)
    guard reader.peek() == UInt8(ascii: "{") else { throw reader.failure("an object") }
    let value = try reader.value()
    try reader.end()
    return value
  }

  private static func refuseUnsupported(
    _ config: JSONValue, _ path: String
  ) throws(TokenizerError) {
    if config["split_special_tokens"]?.boolean == true {
      throw .unsupported(path: path, setting: "split_special_tokens")
    }
    if case .object(let members) = config["extra_special_tokens"], !members.isEmpty {
      throw .unsupported(path: path, setting: "extra_special_tokens")
    }
  }

  private mutating func readClass(
    _ config: JSONValue, _ path: String, directory: String
  ) throws(TokenizerError) {
    var path = path
    var name = config["tokenizer_class"]?.text
    if name == nil {
      path = directory + "/config.json"
      name = try Self.read(path)["tokenizer_class"]?.text
    }
    switch name {
    case nil, "GPT2Tokenizer", "GPT2TokenizerFast": isGPT2Class = true
    case "PreTrainedTokenizerFast": isGPT2Class = false
    case let other?: throw .unsupported(path: path, setting: "the tokenizer class \(other)")
    }
  }

  /// special_tokens_map.json over tokenizer_config.json.
  private static func overlay(
    _ values: inout [String: JSONValue], with map: JSONValue
  ) throws(TokenizerError) {
    for role in roles {
      if let value = map[role] { values[role] = value }
    }
    if let more = map[manyRole]?.elements {
      values[manyRole] = .array((values[manyRole]?.elements ?? []) + more)
    }
  }

  private mutating func readSpecials(
    _ values: [String: JSONValue], _ path: String
  ) throws(TokenizerError) {
    for role in Self.roles {
      guard let value = values[role], !value.isNull else { continue }
      try readSpecial(role, value, path)
    }
    for value in values[Self.manyRole]?.elements ?? [] {
      try readSpecial(Self.manyRole, value, path)
    }
  }

  private mutating func readSpecial(
    _ role: String, _ value: JSONValue, _ path: String
  ) throws(TokenizerError) {
    if let content = value.bytes {
      let token = AddedToken(content: content, normalized: false, special: true)
      if !content.isEmpty { specials.append(Special(role: role, token: token, hasFlags: false)) }
    } else {
      var token = try AddedToken(value, field: role, path: path)
      if value["normalized"] == nil { token.normalized = false }
      token.special = true
      specials.append(Special(role: role, token: token, hasFlags: true))
    }
  }

  private mutating func readAddedTokens(
    _ decoder: JSONValue, _ path: String
  ) throws(TokenizerError) {
    guard case .object(let members) = decoder else {
      throw .missingField(path: path, field: "an object added_tokens_decoder")
    }
    for (key, value) in members {
      guard let id = Int(String(decoding: key, as: UTF8.self)) else {
        throw .missingField(path: path, field: "a whole number as key in added_tokens_decoder")
      }
      let token = try AddedToken(value, field: "added_tokens_decoder", path: path)
      added.append(Added(token: token, id: id, path: path))
    }
  }

  private mutating func readLegacyAddedTokens(_ path: String) throws(TokenizerError) {
    guard case .object(let members) = try Self.read(path) else { return }
    for (content, value) in members {
      guard let id = value.integer else {
        throw .missingField(
          path: path, field: "an id for \"\(String(decoding: content, as: UTF8.self))\"")
      }
      let special = specials.contains { $0.token.content == content }
      let token = AddedToken(content: content, normalized: !special, special: special)
      added.append(Added(token: token, id: id, path: path))
    }
  }
}

extension AddedToken {
  /// Reads the flags of an added token as Hugging Face writes them.
  init(_ value: JSONValue, field: String, path: String) throws(TokenizerError) {
    guard let content = value["content"]?.bytes else {
      throw .missingField(path: path, field: "the content of a token of \(field)")
    }
    if value["single_word"]?.boolean == true {
      let name = String(decoding: content, as: UTF8.self)
      throw .unsupported(path: path, setting: "single_word of the token \"\(name)\"")
    }
    let special = value["special"]?.boolean ?? false
    self.init(
      content: content,
      stripsLeft: value["lstrip"]?.boolean ?? false,
      stripsRight: value["rstrip"]?.boolean ?? false,
      normalized: value["normalized"]?.boolean ?? !special,
      special: special)
  }
}

/// The bytes of a file, or nil if there is no such file.
func readFileIfPresent(_ path: String, limit: Int) throws(TokenizerError) -> [UInt8]? {
  do {
    return try readFile(path, limit: limit)
  } catch {
    if error.operation == .open, error.errno == ENOENT { return nil }
    throw .file(error)
  }
}
