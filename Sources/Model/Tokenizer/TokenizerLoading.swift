import Crypto

/// A tokenizer's files, resolved to ids.
struct LoadedTokenizer {
  private(set) var spellings: TokenSpellings
  private(set) var model: BPEModel
  private(set) var addedTokens = AddedTokens()
  private(set) var prependsSpace: Bool
  private(set) var endOfText: Int32 = 0
  /// Left, right and merged token, in order of rank; nil for a merge that a later one replaces.
  /// What may be wrong with the files, a sentence.
  private(set) var doubt: String?
  private var mergeList: [(left: Int32, right: Int32, result: Int32)?] = []

  init(directory: String) throws(TokenizerError) {
    let files = try TokenizerFiles(directory: directory)
    let settings = try TokenizerSettings(directory: directory)
    spellings = try Self.spellings(files)
    model = BPEModel(byteIDs: [], merges: MergeTable(capacity: files.mergeParts.count / 2))
    prependsSpace = files.prependsSpace ?? settings.prependsSpace
    readBytes()
    try readUnknown(files)
    try readMerges(files)
    try addTokens(files, settings)
    try findEndOfText(files, settings, directory)
    try checkMerges(files)
  }

  /// The tokens in order of their ids, which must be 0 and on without a hole.
  private static func spellings(_ files: TokenizerFiles) throws(TokenizerError) -> TokenSpellings {
    let path = files.vocabularyPath
    let count = files.ids.count
    func name(_ index: Int) -> String { String(decoding: files.tokens[index], as: UTF8.self) }

    var indexOfID = [Int](repeating: -1, count: count)
    for (index, id) in files.ids.enumerated() {
      guard 0..<count ~= id else {
        throw .idOutOfRange(path: path, token: name(index), id: id, count: count)
      }
      guard indexOfID[id] < 0 else { throw .duplicateID(path: path, id: id) }
      indexOfID[id] = index
    }
    var spellings = TokenSpellings(capacity: count)
    for index in indexOfID where !spellings.append(files.tokens[index]) {
      throw .duplicateToken(path: path, token: name(index))
    }
    return spellings
  }

  private mutating func readBytes() {
    model.byteIDs = ByteAlphabet.scalars.map { scalar in
      spellings.id(of: [UInt8](String(Character(scalar)).utf8)) ?? -1
    }
  }

  private mutating func readUnknown(_ files: TokenizerFiles) throws(TokenizerError) {
    guard let token = files.unknownToken else { return }
    guard let id = spellings.id(of: token) else {
      throw .unknownTokenOutOfVocabulary(
        path: files.vocabularyPath, token: String(decoding: token, as: UTF8.self))
    }
    model.unknown = id
    model.fusesUnknown = files.fusesUnknown
  }

  private mutating func readMerges(_ files: TokenizerFiles) throws(TokenizerError) {
    let parts = files.mergeParts
    var joined: [UInt8] = []
    for number in 0..<parts.count / 2 {
      let (left, right) = (parts[2 * number], parts[2 * number + 1])
      joined.removeAll(keepingCapacity: true)
      joined += left
      joined += right
      let ids = (
        left: try id(of: left, number, files), right: try id(of: right, number, files),
        result: try id(of: joined[...], number, files)
      )
      // Of equal merges, merges.txt's first one counts and tokenizer.json's last.
      if let earlier = model.merges[ids.left, ids.right] {
        guard files.isSingleFile else { continue }
        mergeList[Int(earlier.rank)] = nil
      }
      let rank = Int32(truncatingIfNeeded: mergeList.count)
      model.merges[ids.left, ids.right] = .init(rank: rank, result: ids.result)
      mergeList.append(ids)
    }
  }

  private func id(
    of token: ArraySlice<UInt8>, _ index: Int, _ files: TokenizerFiles
  ) throws(TokenizerError) -> Int32 {
    if let id = spellings.id(of: token) { return id }
    throw .mergeOutOfVocabulary(
      path: files.mergesPath, number: index + 1, token: String(decoding: token, as: UTF8.self))
  }

  /// Adds tokens in the order of `transformers`: those of tokenizer.json, those of the settings,
  /// then the special ones that are not added yet.
  private mutating func addTokens(
    _ files: TokenizerFiles, _ settings: TokenizerSettings
  ) throws(TokenizerError) {
    for added in files.added { try add(added) }
    let contents = Set(files.added.map(\.token.content))
    let specials = Set(settings.specials.map(\.token.content))
    // A tokenizer.json takes the place of the older added_tokens.json, token by token.
    for var added in settings.added
    where settings.listsAddedTokens || !contents.contains(added.token.content) {
      if specials.contains(added.token.content) { added.token.special = true }
      try add(added)
    }
    let older = settings.listsAddedTokens ? [] : contents
    addSpecials(files, settings, flagged: older.union(settings.added.map(\.token.content)))
  }

  /// - Parameter flagged: the tokens whose flags in their list count, not those in their role.
  private mutating func addSpecials(
    _ files: TokenizerFiles, _ settings: TokenizerSettings, flagged: Set<[UInt8]>
  ) {
    var seen: Set<[UInt8]> = []
    for special in settings.specials where seen.insert(special.token.content).inserted {
      var token = special.token
      let isAdded = spellings.id(of: token.content).map { addedTokens.tokens[$0] != nil } ?? false
      if isAdded, !special.hasFlags || flagged.contains(token.content) { continue }
      // GPT2Tokenizer, through which the two files are read, makes these of another kind.
      let isNamed = ["bos_token", "eos_token", "unk_token", "pad_token"].contains(special.role)
      if !special.hasFlags, !files.isSingleFile, isNamed { token.normalized = true }
      addedTokens.add(token, id: assignID(token.content))
    }
  }

  private mutating func add(_ added: TokenizerSettings.Added) throws(TokenizerError) {
    guard !added.token.content.isEmpty else { return }
    let id = assignID(added.token.content)
    guard Int(id) == added.id else {
      throw .addedTokenID(
        path: added.path, token: String(decoding: added.token.content, as: UTF8.self),
        stated: added.id, assigned: Int(id))
    }
    addedTokens.add(added.token, id: id)
  }

  /// The id of a token that is there, or else the next one.
  private mutating func assignID(_ content: [UInt8]) -> Int32 {
    if let id = spellings.id(of: content) { return id }
    let id = Int32(truncatingIfNeeded: spellings.count)
    _ = spellings.append(content[...])
    return id
  }

  private mutating func findEndOfText(
    _ files: TokenizerFiles, _ settings: TokenizerSettings, _ directory: String
  ) throws(TokenizerError) {
    let token =
      settings.special("bos_token")?.content ?? settings.special("eos_token")?.content
      ?? [UInt8]("<|endoftext|>".utf8)
    guard let id = spellings.id(of: token) else {
      throw .noBeginningToken(
        directory: directory, token: String(decoding: token, as: UTF8.self))
    }
    endOfText = id
    if let before = files.templateToken, before != token {
      throw .unsupported(
        path: files.vocabularyPath,
        setting: "\"\(String(decoding: before, as: UTF8.self))\" before each text, "
          + "which is not its bos_token")
    }
  }

  /// A merges.txt that ends in a line, or has none, may have been cut off, and then text would have other tokens
  /// without a word. One that only lacks its last line break lacks one merge by it, as `GPT2Tokenizer` has it.
  /// One that was cut between two lines is told from a vocabulary with tokens that are never made by nothing.
  private mutating func checkMerges(_ files: TokenizerFiles) throws(TokenizerError) {
    var isMade = [Bool](repeating: false, count: spellings.count)
    for case let merge? in mergeList { isMade[Int(merge.result)] = true }
    for id in addedTokens.tokens.keys { isMade[Int(id)] = true }
    for id in model.byteIDs + [endOfText, model.unknown ?? -1] where id >= 0 {
      isMade[Int(id)] = true
    }
    let lacking = isMade.indices.filter { !isMade[$0] }
    guard let first = lacking.first else { return }
    guard lacking.count == 1 || !(files.mergesEndInLine || mergeList.isEmpty) else {
      throw .mergesCutOff(
        path: files.mergesPath, lacking: lacking.count, vocabulary: files.vocabularyPath)
    }
    let token = String(decoding: spellings[first], as: UTF8.self)
    doubt =
      "no merge of \(files.mergesPath) makes "
      + (lacking.count == 1
        ? "the token" : "\(lacking.count) tokens of \(files.vocabularyPath), the first of them")
      + " \(TokenizerError.quoted(token)); if the file was cut off, texts have other tokens than they should"
  }

  /// SHA-256 of everything that decides which tokens a text has; see `Tokenizer.digest`.
  func digest() -> String {
    var data: [UInt8] = []
    func append(_ value: Int32) {
      withUnsafeBytes(of: value.littleEndian) { data.append(contentsOf: $0) }
    }
    func append(_ bytes: some Collection<UInt8>) {
      append(Int32(truncatingIfNeeded: bytes.count))
      data.append(contentsOf: bytes)
    }
    append("patchbay tokenizer 1".utf8)
    append(Int32(truncatingIfNeeded: spellings.count))
    for id in 0..<spellings.count { append(spellings[id]) }
    for case let merge? in mergeList {
      append(merge.left)
      append(merge.right)
      append(merge.result)
    }
    append(-1)
    // Which tokens are sought first matters only if some are and some are not.
    let hasTwoPasses = Set(addedTokens.tokens.values.map(\.normalized)).count == 2
    for (id, token) in addedTokens.tokens.sorted(by: { $0.key < $1.key }) {
      append(id)
      let flags = [token.stripsLeft, token.stripsRight, hasTwoPasses && token.normalized]
      append(flags.map { $0 ? 1 : 0 })
    }
    append(-1)
    append(model.unknown ?? -1)
    append([prependsSpace ? 1 : 0, model.unknown != nil && model.fusesUnknown ? 1 : 0])
    append(endOfText)
    return SHA256.hash(data: data).map { byte in
      let digits = String(byte, radix: 16)
      return byte < 16 ? "0" + digits : digits
    }.joined()
  }
}
