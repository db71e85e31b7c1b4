import Foundation
import TestSupport
import Testing

@testable import Model

/// What Hugging Face makes of hard texts; written by tools/make_tokenizer_fixture.py.
private struct ReferenceCases: Decodable {
  struct Case: Decodable {
    var text: String
    var ids: [Int32]
    var decoded: String
  }
  var beginning: Int32
  var pieces: [String]
  var cases: [Case]
}

private func fixture(_ name: String) -> String {
  ReferenceArrays.path("tokenizer/" + name)
}

private func decoded<T: Decodable>(_ type: T.Type, _ path: String) throws -> T {
  try JSONDecoder().decode(type, from: try Data(contentsOf: URL(fileURLWithPath: path)))
}

/// Swift's `==` would take canonically equivalent texts for equal.
private func sameScalars(_ a: String, _ b: String) -> Bool {
  a.unicodeScalars.elementsEqual(b.unicodeScalars)
}

@Suite struct TokenizerAgainstHuggingFaceTests {
  @Test(arguments: ["two-files", "single-file", "odd"])
  func idsAndTextsAreHuggingFaces(name: String) throws {
    let tokenizer = try Tokenizer(directory: fixture(name))
    let reference = try decoded(ReferenceCases.self, fixture(name + "/cases.json"))
    #expect(reference.cases.count > 50)
    for item in reference.cases {
      #expect(tokenizer.encode(item.text) == item.ids, "\(item.text.debugDescription)")
      #expect(sameScalars(tokenizer.decode(item.ids), item.decoded), "\(item.ids)")
    }
    #expect(tokenizer.endOfText == reference.beginning)
    #expect(tokenizer.count == reference.pieces.count)
    for (id, piece) in reference.pieces.enumerated() {
      #expect(sameScalars(tokenizer.piece(Int32(id)), piece), "piece \(id)")
    }
  }

  /// Guards against a Swift whose Unicode tables classify old characters anew.
  @Test func everyScalarHasHuggingFacesClass() throws {
    struct Classes: Decodable {
      var counts: [String: Int]
      var fnv1a: String
    }
    let reference = try decoded(Classes.self, fixture("scalar-classes.json"))
    var names: [UInt8] = []
    for value in UInt32(0)..<0x110000 {
      guard let scalar = Unicode.Scalar(value) else { continue }
      names.append(Array("LNSO".utf8)[Int(CharacterClass(scalar).rawValue)])
    }
    for (name, count) in reference.counts {
      #expect(names.count { $0 == name.utf8.first } == count, "\(name)")
    }
    let hash = names.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01B3
    }
    #expect(String(hash, radix: 16) == reference.fnv1a)
  }
}

@Suite struct TokenizerTextTests {
  @Test func canonicallyEquivalentTextsDiffer() throws {
    let tokenizer = try Tokenizer(directory: fixture("two-files"))
    let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}")
    #expect(tokenizer.encode(composed) != tokenizer.encode(decomposed))
    for text in [composed, decomposed] {
      #expect(sameScalars(tokenizer.decode(tokenizer.encode(text)), text))
    }
  }

  @Test func idsThatAreNoTokensAreLeftOut() throws {
    let tokenizer = try Tokenizer(directory: fixture("two-files"))
    let ids = tokenizer.encode("abc")
    #expect(tokenizer.decode([-1] + ids + [Int32(tokenizer.count), .max, .min]) == "abc")
    #expect(tokenizer.piece(-1) == "")
  }

  @Test func partsOfCharactersBecomeReplacementCharacters() throws {
    let tokenizer = try Tokenizer(directory: fixture("two-files"))
    let ids = tokenizer.encode("\u{1F9FF}")
    try #require(ids.count == 4)
    #expect(sameScalars(tokenizer.piece(ids[0]), "\u{FFFD}"))
    #expect(sameScalars(tokenizer.decode(ids), "\u{1F9FF}"))
  }

  @Test func wordsCoverTheText() {
    for text in ["", "a", " a  b", "it's  we'll \n\n x", "\u{3000}\u{A0}a1!", "  ", "'", "12's "] {
      var copy = text
      copy.withUTF8 { bytes in
        var end = 0
        for word in WordSplitter(bytes) {
          #expect(word.lowerBound == end && word.upperBound > end)
          end = word.upperBound
        }
        #expect(end == bytes.count)
      }
    }
  }

  /// The heap against the definition: merge the leftmost pair of the lowest rank, again and again.
  @Test func mergingFollowsTheDefinition() throws {
    let seed: UInt64 = 11
    var generator = SeededGenerator(seed: seed)
    let letters = 4
    for _ in 0..<200 {
      let (model, merges) = randomModel(letters: letters, &generator)
      let word = (0..<Int.random(in: 1...40, using: &generator)).map { _ in
        UInt8.random(in: 0..<UInt8(letters), using: &generator)
      }
      var merger = WordMerger(model)
      var ids: [Int32] = []
      word.withUnsafeBufferPointer { merger.append($0, to: &ids) }
      #expect(ids == mergedByDefinition(word.map(Int32.init), merges), "seed \(seed), \(word)")
    }
  }

  @Test func aVeryLongWordIsMerged() throws {
    let tokenizer = try Tokenizer(directory: fixture("two-files"))
    let text = String(repeating: "the", count: 100_000)
    let ids = tokenizer.encode(text)
    #expect(ids.count < text.utf8.count)
    #expect(tokenizer.decode(ids) == text)
  }
}

/// Random merges over a few letters: each makes a new token of two that exist.
private func randomModel(
  letters: Int, _ generator: inout SeededGenerator
) -> (BPEModel, [[Int32]: (rank: Int, result: Int32)]) {
  var model = BPEModel(
    byteIDs: (0..<256).map { $0 < letters ? Int32($0) : -1 }, merges: MergeTable(capacity: 12))
  var merges: [[Int32]: (rank: Int, result: Int32)] = [:]
  for rank in 0..<12 {
    let result = Int32(letters + rank)
    let pair = [
      Int32.random(in: 0..<result, using: &generator),
      Int32.random(in: 0..<result, using: &generator),
    ]
    guard merges[pair] == nil else { continue }
    merges[pair] = (rank, result)
    model.merges[pair[0], pair[1]] = .init(rank: Int32(rank), result: result)
  }
  return (model, merges)
}

private func mergedByDefinition(
  _ word: [Int32], _ merges: [[Int32]: (rank: Int, result: Int32)]
) -> [Int32] {
  var ids = word
  while true {
    let candidates = ids.indices.dropLast().compactMap { index in
      merges[[ids[index], ids[index + 1]]].map { (index: index, merge: $0) }
    }
    guard let rank = candidates.map(\.merge.rank).min(),
      let first = candidates.first(where: { $0.merge.rank == rank })
    else { return ids }
    ids.replaceSubrange(first.index...first.index + 1, with: [first.merge.result])
  }
}
