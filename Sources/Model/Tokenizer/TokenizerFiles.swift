import FileIO

/// What the file of a tokenizer says, or its two files: the vocabulary and merges as they are
/// spelled, and the settings of tokenizer.json.
struct TokenizerFiles {
  /// Where the vocabulary is from.
  private(set) var vocabularyPath: String
  private(set) var mergesPath: String
  /// Whether there is a tokenizer.json.
  let isSingleFile: Bool

  /// Tokens in the order of the file, and the id of each.
  private(set) var tokens = ByteStrings()
  private(set) var ids: [Int] = []
  /// The left and the right token of each merge, one after another.
  private(set) var mergeParts = ByteStrings()

  private(set) var unknownToken: [UInt8]?
  private(set) var fusesUnknown = false
  private(set) var added: [TokenizerSettings.Added] = []
  /// Whether merges.txt has something behind its last line break, which is left out.
  private(set) var mergesEndInLine = false
  /// `add_prefix_space` where tokenizer_config.json does not decide it.
  private(set) var prependsSpace: Bool?
  /// The token that the post-processor puts before a text.
  private(set) var templateToken: [UInt8]?

  private static let vocabularyLimit = 1 << 26
  private static let singleFileLimit = 1 << 28

  init(directory: String) throws(TokenizerError) {
    let path = directory + "/tokenizer.json"
    if let bytes = try readFileIfPresent(path, limit: Self.singleFileLimit) {
      vocabularyPath = path
      mergesPath = path
      isSingleFile = true
      try readSingleFile(try JSONReader(path: path, bytes: bytes))
    } else {
      vocabularyPath = directory + "/vocab.json"
      mergesPath = directory + "/merges.txt"
      isSingleFile = false
      guard
        let vocabulary = try readFileIfPresent(vocabularyPath, limit: Self.vocabularyLimit),
        let merges = try readFileIfPresent(mergesPath, limit: Self.vocabularyLimit)
      else { throw .notFound(directory: directory) }
      var reader = try JSONReader(path: vocabularyPath, bytes: vocabulary)
      try readVocabulary(&reader)
      try reader.end()
      try readMergeLines(merges)
    }
  }

  private mutating func readVocabulary(_ reader: inout JSONReader) throws(TokenizerError) {
    try reader.object { (reader, token) throws(TokenizerError) in
      tokens.append(token)
      ids.append(try reader.integer())
    }
  }

  /// merges.txt: the first line, which is a version, and what follows the last line break are left
  /// out, whatever they are, because `GPT2Tokenizer` leaves them out.
  private mutating func readMergeLines(_ text: [UInt8]) throws(TokenizerError) {
    guard String(validating: text, as: UTF8.self) != nil else { throw .notUTF8(path: mergesPath) }
    var line = 0
    var start = 0
    var position = 0
    while position < text.count {
      let byte = text[position]
      position += 1
      guard byte == 0x0A || byte == 0x0D else { continue }
      if line > 0 { try addMerge(text[start..<position - 1], number: line) }
      if byte == 0x0D, position < text.count, text[position] == 0x0A { position += 1 }
      line += 1
      start = position
    }
    mergesEndInLine = start < text.count
  }

  private mutating func addMerge(
    _ line: ArraySlice<UInt8>, number: Int
  ) throws(TokenizerError) {
    let parts = line.split { $0 == 0x20 || 0x09...0x0D ~= $0 }
    guard parts.count == 2 else { throw .badMerge(path: mergesPath, number: number) }
    mergeParts.append(parts[0])
    mergeParts.append(parts[1])
  }
}

// MARK: tokenizer.json

extension TokenizerFiles {
  private mutating func readSingleFile(_ file: JSONReader) throws(TokenizerError) {
    var reader = file
    var hasModel = false
    var members: [(key: [UInt8], value: JSONValue)] = []
    try reader.object { (reader, key) throws(TokenizerError) in
      if key.elementsEqual("model".utf8) {
        hasModel = true
        try readModel(&reader)
      } else {
        members.append((key, try reader.value()))
      }
    }
    try reader.end()
    guard hasModel else { throw .missingField(path: vocabularyPath, field: "model") }
    let file = JSONValue.object(members)
    try refuseNormalizer(file["normalizer"])
    try readPreTokenizer(file["pre_tokenizer"])
    try readPostProcessor(file["post_processor"])
    try refuseOtherDecoder(file["decoder"])
    let list = file["added_tokens"] ?? .null
    guard let tokens = list.isNull ? [] : list.elements else {
      throw .missingField(path: vocabularyPath, field: "a list of added_tokens")
    }
    for value in tokens {
      let token = try AddedToken(value, field: "added_tokens", path: vocabularyPath)
      guard let id = value["id"]?.integer else {
        throw .missingField(path: vocabularyPath, field: "the id of an added token")
      }
      added.append(.init(token: token, id: id, path: vocabularyPath))
    }
  }

  private mutating func readModel(_ reader: inout JSONReader) throws(TokenizerError) {
    var members: [(key: [UInt8], value: JSONValue)] = []
    var hasVocabulary = false
    var hasMerges = false
    try reader.object { (reader, key) throws(TokenizerError) in
      switch String(decoding: key, as: UTF8.self) {
      case "vocab":
        hasVocabulary = true
        try readVocabulary(&reader)
      case "merges":
        hasMerges = true
        try readMerges(&reader)
      case "type":
        // Refused at once: the vocabulary of another model has another form.
        let type = try reader.value().text ?? "?"
        guard type == "BPE" else { throw unsupported("the model \(type)") }
      default: members.append((key, try reader.value()))
      }
    }
    guard hasVocabulary else { throw .missingField(path: vocabularyPath, field: "model.vocab") }
    guard hasMerges else { throw .missingField(path: vocabularyPath, field: "model.merges") }
    try readModelOptions(.object(members))
  }

  private mutating func readModelOptions(_ options: JSONValue) throws(TokenizerError) {
    for name in ["byte_fallback", "ignore_merges"] where options[name]?.boolean == true {
      throw unsupported(name)
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let text = options[name]?.bytes, !text.isEmpty { throw unsupported(name) }
    }
    if case .number(let digits) = options["dropout"], Double(digits) != 0 {
      throw unsupported("dropout")
    }
    unknownToken = options["unk_token"]?.bytes
    fusesUnknown = options["fuse_unk"]?.boolean ?? false
  }

  /// Each merge is an array of two tokens, or in older files a string with a space between them.
  private mutating func readMerges(_ reader: inout JSONReader) throws(TokenizerError) {
    var number = 0
    try reader.array { (reader) throws(TokenizerError) in
      number += 1
      if reader.peek() == UInt8(ascii: "[") {
        var parts = 0
        try reader.array { (reader) throws(TokenizerError) in
          mergeParts.append(try reader.string())
          parts += 1
        }
        guard parts == 2 else { throw .badMerge(path: mergesPath, number: number) }
      } else {
        try addMerge(try reader.string()[...], number: number)
      }
    }
  }

  private func refuseNormalizer(_ value: JSONValue?) throws(TokenizerError) {
    guard let value, !value.isNull else { return }
    if value["normalizers"]?.elements?.isEmpty == true { return }
    throw unsupported("the normalizer \(value["type"]?.text ?? "?")")
  }

  private mutating func readPreTokenizer(_ value: JSONValue?) throws(TokenizerError) {
    let inner = onlyMember(of: value, "pretokenizers")
    let type = inner?["type"]?.text ?? value?["type"]?.text ?? "none"
    guard let inner, type == "ByteLevel" else { throw unsupported("the pre-tokenizer \(type)") }
    guard inner["use_regex"]?.boolean ?? true else {
      throw unsupported("a pre-tokenizer without use_regex")
    }
    // `transformers` puts the setting of tokenizer_config.json in place of this one, but only
    // where the pre-tokenizer is not in a sequence.
    if value?["pretokenizers"] != nil {
      prependsSpace = inner["add_prefix_space"]?.boolean ?? true
    }
  }

  private func refuseOtherDecoder(_ value: JSONValue?) throws(TokenizerError) {
    let type = onlyMember(of: value, "decoders")?["type"]?.text ?? value?["type"]?.text ?? "none"
    guard type == "ByteLevel" else { throw unsupported("the decoder \(type)") }
  }

  private mutating func readPostProcessor(_ value: JSONValue?) throws(TokenizerError) {
    guard let value, !value.isNull else { return }
    switch value["type"]?.text {
    case "ByteLevel": return
    case "Sequence":
      for part in value["processors"]?.elements ?? [] { try readPostProcessor(part) }
    case "TemplateProcessing":
      var pieces = (value["single"]?.elements ?? [])[...]
      if let token = pieces.first?["SpecialToken"]?["id"]?.bytes, templateToken == nil {
        templateToken = token
        pieces.removeFirst()
      }
      guard pieces.count == 1, pieces.first?["Sequence"]?["id"]?.text == "A" else {
        throw unsupported("a post-processor that puts tokens after the text")
      }
    case let type: throw unsupported("the post-processor \(type ?? "?")")
    }
  }

  /// The value itself, or its one member if it is a sequence of one.
  private func onlyMember(of value: JSONValue?, _ members: String) -> JSONValue? {
    guard let elements = value?[members]?.elements else { return value }
    return elements.count == 1 ? elements[0] : nil
  }

  private func unsupported(_ setting: String) -> TokenizerError {
    .unsupported(path: vocabularyPath, setting: setting)
  }
}
