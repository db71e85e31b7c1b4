import FileIO
import Foundation
import TestSupport
import Testing

@testable import Model

/// A folder with the files of a tokenizer.
private struct Folder {
  private let directory: TemporaryDirectory
  var path: String { directory.path }

  init(_ files: [String: String]) throws {
    directory = try TemporaryDirectory()
    for (name, text) in files { try write(name, Data(text.utf8)) }
  }

  func write(_ name: String, _ data: Data) throws {
    try data.write(to: URL(fileURLWithPath: path + "/" + name))
  }

  func file(_ name: String) -> String { path + "/" + name }

  /// The folder stays until the call is over.
  func tokenizer() throws(TokenizerError) -> Tokenizer {
    let kept = directory
    defer { withExtendedLifetime(kept) {} }
    return try Tokenizer(directory: kept.path)
  }
}

private let vocabulary = #"{"a": 0, "b": 1, "\u0120": 2, "ab": 3, "<|endoftext|>": 4}"#
private let merges = "#version: 0.2\na b\n"

/// A tokenizer.json like GPT-2's with some of its parts replaced.
private func singleFile(_ changes: [String: String] = [:], model: String = "") -> String {
  var parts = [
    "added_tokens": "[]", "normalizer": "null",
    "pre_tokenizer": #"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#,
    "post_processor": #"{"type": "ByteLevel"}"#, "decoder": #"{"type": "ByteLevel"}"#,
    "model": #"{"type": "BPE", \#(model) "vocab": \#(vocabulary), "merges": [["a", "b"]]}"#,
  ]
  parts.merge(changes) { $1 }
  return "{\(parts.sorted { $0.key < $1.key }.map { "\"\($0)\": \($1)" }.joined(separator: ", "))}"
}

@Suite struct TokenizerFileTests {
  private func error(_ files: [String: String]) throws -> (TokenizerError?, Folder) {
    let folder = try Folder(files)
    do throws(TokenizerError) {
      _ = try folder.tokenizer()
      return (nil, folder)
    } catch {
      return (error, folder)
    }
  }

  private func errorOfTwoFiles(
    vocabulary: String = vocabulary, merges: String = merges, _ more: [String: String] = [:]
  ) throws -> (TokenizerError?, Folder) {
    try error(["vocab.json": vocabulary, "merges.txt": merges].merging(more) { $1 })
  }

  @Test func bothFormsAreRead() throws {
    let two = try Folder(["vocab.json": vocabulary, "merges.txt": merges])
    let one = try Folder(["tokenizer.json": singleFile()])
    for folder in [two, one] {
      let tokenizer = try folder.tokenizer()
      #expect(tokenizer.encode("ab<|endoftext|>ba ab") == [3, 4, 1, 0, 2, 3])
      #expect(tokenizer.endOfText == 4)
    }
  }

  @Test func theDigestIsOfWhatDefinesTheTokens() throws {
    func digest(_ files: [String: String]) throws -> String {
      try Folder(files).tokenizer().digest
    }
    let gpt2 = try digest(["vocab.json": vocabulary, "merges.txt": merges])
    #expect(gpt2.count == 64)
    #expect(try digest(["tokenizer.json": singleFile()]) == gpt2)
    let others: [[String: String]] = [
      ["vocab.json": vocabulary, "merges.txt": "#version\n"],
      ["vocab.json": vocabulary, "merges.txt": merges, "added_tokens.json": #"{"<pad>": 5}"#],
      [
        "tokenizer.json": singleFile(),
        "tokenizer_config.json": #"{"add_prefix_space": true}"#,
      ],
      ["tokenizer.json": singleFile(), "tokenizer_config.json": #"{"bos_token": "a"}"#],
      ["tokenizer.json": singleFile(model: #""unk_token": "a","#)],
    ]
    var seen: Set = [gpt2]
    for files in others { #expect(seen.insert(try digest(files)).inserted, "\(files)") }
  }

  @Test func theSingleFileComesFirst() throws {
    let folder = try Folder([
      "tokenizer.json": singleFile(), "vocab.json": "damaged", "merges.txt": "damaged",
    ])
    #expect(try folder.tokenizer().encode("ab") == [3])
  }

  @Test func missingFilesAreNamed() throws {
    for files in [[:], ["vocab.json": vocabulary], ["merges.txt": merges]] {
      let (error, folder) = try error(files)
      #expect(error == .notFound(directory: folder.path))
      #expect(error?.exitCode == .noInput)
    }
  }

  @Test func textThatIsNotUTF8IsRefused() throws {
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
      let folder = try Folder(["vocab.json": vocabulary, "merges.txt": merges])
      try folder.write(name, Data([0x7B, 0xFF, 0x7D]))
      #expect(throws: TokenizerError.notUTF8(path: folder.file(name))) {
        try folder.tokenizer()
      }
    }
  }

  @Test func idsMustBeWithoutHoles() throws {
    var (error, folder) = try errorOfTwoFiles(vocabulary: #"{"a": 0, "b": 2}"#)
    let path = folder.file("vocab.json")
    #expect(error == .idOutOfRange(path: path, token: "b", id: 2, count: 2))

    (error, folder) = try errorOfTwoFiles(vocabulary: #"{"a": -1}"#)
    #expect(
      error == .idOutOfRange(path: folder.file("vocab.json"), token: "a", id: -1, count: 1))

    (error, folder) = try errorOfTwoFiles(vocabulary: #"{"a": 0, "b": 0}"#)
    #expect(error == .duplicateID(path: folder.file("vocab.json"), id: 0))

    (error, folder) = try errorOfTwoFiles(vocabulary: #"{"a": 0, "a": 1}"#)
    #expect(error == .duplicateToken(path: folder.file("vocab.json"), token: "a"))
  }

  @Test(arguments: [#"{"a": 1e0}"#, #"{"a": 99999999999999999999}"#, #"{"a": "0"}"#, "[]", ""])
  func otherValuesThanIdsAreRefused(vocabulary: String) throws {
    guard case .malformed = try errorOfTwoFiles(vocabulary: vocabulary).0 else {
      Issue.record("\(vocabulary) was read")
      return
    }
  }

  @Test func mergesMustNameTokens() throws {
    var (error, folder) = try errorOfTwoFiles(merges: "#version\na b\na c\n")
    let path = folder.file("merges.txt")
    #expect(error == .mergeOutOfVocabulary(path: path, number: 2, token: "c"))

    (error, folder) = try errorOfTwoFiles(merges: "#version\nb a\n")
    #expect(
      error
        == .mergeOutOfVocabulary(path: folder.file("merges.txt"), number: 1, token: "ba"))

    for lines in ["a b\n\n", "a b\nab\n", "a b\na b c\n"] {
      (error, folder) = try errorOfTwoFiles(merges: "#version\n" + lines)
      #expect(error == .badMerge(path: folder.file("merges.txt"), number: 2))
    }
  }

  /// Cut off where a line is not done, or before the first, merges would make other tokens without a word. A last
  /// line without its break alone is left out, as `GPT2Tokenizer` does. Cut between two lines they are in doubt.
  @Test func mergesMustNotBeCutOff() throws {
    let vocabulary = #"{"a": 0, "b": 1, "ab": 2, "aab": 3, "ba": 4, "<|endoftext|>": 5}"#
    let whole = "#version\na b\na ab\nb a\n"
    for count in 0...whole.utf8.count {
      let merges = String(whole.prefix(count))
      let lacking = 4 - max(1, merges.count { $0 == "\n" })
      let (error, folder) = try errorOfTwoFiles(vocabulary: vocabulary, merges: merges)
      let expected = TokenizerError.mergesCutOff(
        path: folder.file("merges.txt"), lacking: lacking, vocabulary: folder.file("vocab.json"))
      let isRefused = lacking > 1 && (!merges.hasSuffix("\n") || lacking == 3)
      #expect(error == (isRefused ? expected : nil), "\(count) bytes")
      guard !isRefused else { continue }
      let doubt = try folder.tokenizer().doubt
      #expect((doubt != nil) == (lacking > 0), "\(count) bytes")
      if lacking > 1 { #expect(doubt?.contains("makes 2 tokens of") == true) }
    }
  }

  @Test func addedTokensMustFollowTheVocabulary() throws {
    let (error, folder) = try errorOfTwoFiles(["added_tokens.json": #"{"<pad>": 7}"#])
    #expect(
      error
        == .addedTokenID(
          path: folder.file("added_tokens.json"), token: "<pad>", stated: 7, assigned: 5))
  }

  @Test func unknownTokenMustBeAToken() throws {
    let (error, folder) = try error([
      "tokenizer.json": singleFile(model: #""unk_token": "<unk>","#)
    ])
    #expect(
      error
        == .unknownTokenOutOfVocabulary(path: folder.file("tokenizer.json"), token: "<unk>"))
  }

  @Test func aTokenToBeginWithIsNeeded() throws {
    let config = #"{"tokenizer_class": "PreTrainedTokenizerFast"}"#
    let model = #"{"type": "BPE", "vocab": {"a": 0}, "merges": []}"#
    let (error, folder) = try error([
      "tokenizer.json": singleFile(["model": model]), "tokenizer_config.json": config,
    ])
    #expect(error == .noBeginningToken(directory: folder.path, token: "<|endoftext|>"))
  }

  @Test(arguments: [
    ("normalizer", #"{"type": "NFC"}"#, "the normalizer NFC"),
    ("pre_tokenizer", #"{"type": "Metaspace"}"#, "the pre-tokenizer Metaspace"),
    ("pre_tokenizer", "null", "the pre-tokenizer none"),
    (
      "pre_tokenizer", #"{"type": "ByteLevel", "use_regex": false}"#,
      "a pre-tokenizer without use_regex"
    ),
    ("decoder", #"{"type": "Metaspace"}"#, "the decoder Metaspace"),
    ("post_processor", #"{"type": "BertProcessing"}"#, "the post-processor BertProcessing"),
    (
      "post_processor",
      #"{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {}}]}"#,
      "a post-processor that puts tokens after the text"
    ),
    ("model", #"{"type": "Unigram", "vocab": []}"#, "the model Unigram"),
    (
      "added_tokens", #"[{"id": 5, "content": "x", "single_word": true}]"#,
      #"single_word of the token "x""#
    ),
  ])
  func whatWouldChangeTokensIsRefusedByName(part: String, value: String, setting: String) throws {
    let (error, folder) = try error(["tokenizer.json": singleFile([part: value])])
    #expect(error == .unsupported(path: folder.file("tokenizer.json"), setting: setting))
    #expect(error?.exitCode == .badData)
  }

  @Test(arguments: [
    (#""dropout": 0.1,"#, "dropout"), (#""byte_fallback": true,"#, "byte_fallback"),
    (#""ignore_merges": true,"#, "ignore_merges"),
    (#""end_of_word_suffix": "</w>","#, "end_of_word_suffix"),
    (#""continuing_subword_prefix": "@@","#, "continuing_subword_prefix"),
  ])
  func modelOptionsAreRefusedByName(option: String, setting: String) throws {
    let (error, folder) = try error(["tokenizer.json": singleFile(model: option)])
    #expect(error == .unsupported(path: folder.file("tokenizer.json"), setting: setting))
  }

  @Test(arguments: [
    (#"{"tokenizer_class": "BertTokenizer"}"#, "the tokenizer class BertTokenizer"),
    (#"{"split_special_tokens": true}"#, "split_special_tokens"),
    (#"{"extra_special_tokens": {"x": "y"}}"#, "extra_special_tokens"),
  ])
  func settingsAreRefusedByName(config: String, setting: String) throws {
    let (error, folder) = try errorOfTwoFiles(["tokenizer_config.json": config])
    #expect(error == .unsupported(path: folder.file("tokenizer_config.json"), setting: setting))
  }

  @Test func everyTruncationIsAnError() throws {
    let bytes = Data(singleFile().utf8)
    let folder = try Folder([:])
    for count in 0..<bytes.count {
      try folder.write("tokenizer.json", bytes.prefix(count))
      #expect(throws: TokenizerError.self, "cut to \(count) bytes") {
        try folder.tokenizer()
      }
    }
  }

  /// Every byte changed in turn, to a few others: reading ends, with a tokenizer that works or with an error.
  @Test func noChangedByteTraps() throws {
    let bytes = Data(singleFile(["added_tokens": #"[{"id": 5, "content": "<pad>"}]"#]).utf8)
    let folder = try Folder([:])
    var read = 0
    let values = Array(#""9-{"#.utf8)
    for index in bytes.indices {
      for byte in [values[index % 4], values[(index + 1) % 4]] {
        var changed = bytes
        changed[index] = byte
        try folder.write("tokenizer.json", changed)
        guard let tokenizer = try? folder.tokenizer() else { continue }
        read += 1
        let ids = tokenizer.encode("ab ba <pad>")
        #expect(ids.allSatisfy { 0..<tokenizer.count ~= Int($0) })
        _ = tokenizer.decode(ids)
      }
    }
    #expect(read > 0)
  }

  @Test func deepNestingIsAnError() throws {
    let nested = String(repeating: "[", count: 100_000)
    guard case .malformed = try error(["tokenizer.json": singleFile(["truncation": nested])]).0
    else {
      Issue.record("deep nesting was read")
      return
    }
  }
}

@Suite struct JSONReaderTests {
  private func string(_ json: String) throws -> [UInt8] {
    var reader = try JSONReader(path: "x.json", bytes: Array(json.utf8))
    return try reader.string()
  }

  @Test func escapesAreResolved() throws {
    #expect(try string(#" "a\n\t\"\\\/\b\f\r" "#) == Array("a\n\t\"\\/\u{8}\u{C}\r".utf8))
    #expect(try string(#""\u0120\u00E9\ud83d\ude00""#) == Array("\u{120}\u{E9}\u{1F600}".utf8))
    #expect(try string(#""e\u0301""#) == Array("e\u{301}".utf8))
  }

  @Test(arguments: [
    #""\ud83d""#, #""\ude00""#, #""\ud83d\u0041""#, #""\u12""#, #""\x""#, "\"a\nb\"", "\"", "a",
  ])
  func badStringsAreErrors(json: String) throws {
    #expect(throws: TokenizerError.self) { try string(json) }
  }
}
