import FileIO

/// What turns words into tokens: byte pair encoding over the bytes of UTF-8.
struct BPEModel: Sendable {
  /// The token of every single byte, -1 where there is none.
  var byteIDs: [Int32]
  var merges: MergeTable
  /// What stands for a byte without a token; nil leaves such bytes out.
  var unknown: Int32?
  /// Whether a run of unknown bytes is one unknown token.
  var fusesUnknown = false
}

/// GPT-2's tokenizer: byte-level byte pair encoding (Radford et al. 2019, section 2.2), equal to
/// Hugging Face's fast tokenizer, which TransformerLens uses, on every string.
///
/// Text is compared byte by byte: canonically equivalent strings have different tokens.
public struct Tokenizer: Sendable {
  private let model: BPEModel
  private let addedTokens: AddedTokens
  /// Whether text that does not begin with a space is given one.
  private let prependsSpace: Bool
  /// The bytes of every token, by id.
  private let pieces: ByteStrings
  /// The token that TransformerLens puts before a prompt: the bos_token of the settings, or else
  /// their eos_token; in GPT-2 `<|endoftext|>`.
  public let endOfText: Int32
  /// SHA-256, in hexadecimal, of what defines the tokens of a text: the spellings in order of
  /// their ids, the merges in order of their ranks, the added tokens with their flags, the unknown
  /// token, the space in front, and `endOfText`. It does not depend on the form of the files.
  public let digest: String

  /// What may be wrong with its files, a sentence for the user; nil if nothing seems to be.
  public let doubt: String?

  /// The number of tokens, added ones included; ids are 0 to `count` - 1.
  public var count: Int { pieces.count }

  /// Reads the tokenizer of a model directory in Hugging Face's layout.
  ///
  /// As in `AutoTokenizer.from_pretrained`, tokenizer.json is used if there is one, and otherwise
  /// vocab.json with merges.txt; in both cases tokenizer_config.json, special_tokens_map.json,
  /// added_tokens.json may add tokens and name the special ones. A setting that would change the
  /// tokens is honoured, or refused by name. A post-processor that puts a token before the text is
  /// neither: `encode` leaves it to the caller to put `endOfText` there.
  ///
  /// - Throws: `TokenizerError` if a file is missing, damaged, or asks for what is not implemented.
  public init(directory: String) throws(TokenizerError) {
    let loaded = try LoadedTokenizer(directory: directory)
    model = loaded.model
    addedTokens = loaded.addedTokens
    prependsSpace = loaded.prependsSpace
    endOfText = loaded.endOfText
    digest = loaded.digest()
    doubt = loaded.doubt
    var pieces = ByteStrings()
    for id in 0..<loaded.spellings.count {
      pieces.append(ByteAlphabet.decoded(loaded.spellings[id]))
    }
    self.pieces = pieces
  }

  /// The tokens of a text, without `endOfText` in front. `<|endoftext|>` and other added tokens
  /// that occur in the text become their ids, as in Hugging Face's by default.
  public func encode(_ text: String) -> [Int32] {
    var text = text
    return text.withUTF8 { bytes in
      var ids: [Int32] = []
      var merger = WordMerger(model)
      for part in addedTokens.parts(of: bytes) {
        switch part {
        case .token(let id): ids.append(id)
        case .text(let range):
          encode(UnsafeBufferPointer(rebasing: bytes[range]), with: &merger, into: &ids)
        }
      }
      return ids
    }
  }

  private func encode(
    _ text: UnsafeBufferPointer<UInt8>, with merger: inout WordMerger, into ids: inout [Int32]
  ) {
    if prependsSpace, text.first != UInt8(ascii: " ") {
      let spaced = [UInt8(ascii: " ")] + text
      spaced.withUnsafeBufferPointer { appendWords(of: $0, with: &merger, to: &ids) }
    } else {
      appendWords(of: text, with: &merger, to: &ids)
    }
  }

  private func appendWords(
    of text: UnsafeBufferPointer<UInt8>, with merger: inout WordMerger, to ids: inout [Int32]
  ) {
    for word in WordSplitter(text) {
      merger.append(UnsafeBufferPointer(rebasing: text[word]), to: &ids)
    }
  }

  /// The text of tokens. Bytes that are not UTF-8 become U+FFFD; ids that are no tokens are left
  /// out. Equal to Hugging Face's `decode` without cleaning up and without skipping specials.
  public func decode(_ ids: [Int32]) -> String {
    String(decoding: ids.flatMap(bytes(of:)), as: UTF8.self)
  }

  /// The bytes that one token stands for; none for an id that is no token. Over the tokens of a
  /// text they add up to the text's UTF-8.
  public func bytes(of id: Int32) -> [UInt8] {
    0..<count ~= Int(id) ? Array(pieces[Int(id)]) : []
  }

  /// The text of one token.
  public func piece(_ id: Int32) -> String {
    decode([id])
  }
}
