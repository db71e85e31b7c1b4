import Foundation
import TestSupport
import Testing

@testable import Hub

/// Servers that refuse, and servers whose answers cannot be right.
@Suite struct LyingServerTests {
  struct Lie: @unchecked Sendable, CustomTestStringConvertible {
    let name: String
    var file = "model.safetensors"
    var resolve: [String: Any] = [:]
    var content: [String: Any] = [:]
    let words: String
    var testDescription: String { name }
  }

  @Test(arguments: [
    Lie(name: "negative size", resolve: ["headers": ["X-Linked-Size": "-1"]], words: "the size"),
    Lie(
      name: "huge size", resolve: ["headers": ["X-Linked-Size": "99999999999999999999"]],
      words: "the size"),
    Lie(
      name: "size too small", resolve: ["headers": ["X-Linked-Size": "39999"]],
      words: "announced 39999 bytes and sends 40000"),
    Lie(
      name: "size too large", resolve: ["headers": ["X-Linked-Size": "40001"]],
      words: "announced 40001 bytes and sends 40000"),
    Lie(
      name: "no digest", resolve: ["headers": ["X-Linked-Etag": NSNull()]],
      content: ["bare": true], words: "no digest"),
    Lie(
      name: "digest that is a path", resolve: ["headers": ["X-Linked-Etag": "\"../../../evil\""]],
      words: "no digest"),
    Lie(
      name: "digest of another kind",
      resolve: ["headers": ["X-Linked-Etag": "\"d41d8cd98f00b204e9800998ecf8427e\""]],
      words: "no digest"),
    Lie(
      name: "another digest",
      resolve: ["headers": ["X-Linked-Etag": "\"\(String(repeating: "a", count: 64))\""]],
      words: "is damaged"),
    Lie(
      name: "another digest of a small file", file: "vocab.json",
      resolve: ["headers": ["X-Linked-Etag": "\"\(String(repeating: "a", count: 40))\""]],
      words: "is damaged"),
    Lie(name: "one bit", content: ["corrupt": true], words: "is damaged"),
    Lie(
      name: "one bit of a small file", file: "merges.txt", content: ["corrupt": true],
      words: "is damaged"),
    Lie(
      name: "no commit", file: "config.json", resolve: ["headers": ["X-Repo-Commit": "main"]],
      words: "the commit"),
    Lie(
      name: "another commit", resolve: ["headers": ["X-Repo-Commit": HubServer.otherCommit]],
      words: "changed while it was fetched"),
    Lie(name: "more", content: ["extra": 10, "without_length": true], words: "sends more"),
    Lie(name: "more, and says so", content: ["extra": 10], words: "sends 40010"),
    Lie(name: "less, and says so", content: ["short": 10], words: "sends 39990"),
    Lie(name: "less", content: ["short": 10, "without_length": true], words: "at byte 39990"),
    Lie(
      name: "another range", content: ["breaks": [1000], "shifted_range": 1],
      words: "sends bytes 1001-"),
    Lie(name: "gone", content: ["status": 404], words: "now does not have it"),
    Lie(name: "a page", content: ["status": 418], words: "418"),
    Lie(
      name: "to nowhere", resolve: ["headers": ["Location": NSNull(), "X-Repo-Commit": NSNull()]],
      words: "to nowhere"),
    Lie(
      name: "to a file",
      resolve: ["headers": ["Location": "file:///etc/passwd", "X-Repo-Commit": NSNull()]],
      words: "to nowhere"),
    Lie(
      name: "in a circle",
      resolve: [
        "headers": [
          "Location": "http://HUB/someone/tiny/resolve/main/model.safetensors",
          "X-Repo-Commit": NSNull(),
        ]
      ], words: "more than 10 times"),
  ])
  func nothingIsLeftBehind(lie: Lie) throws {
    let model = try ServedModel()
    try model.server.fail(lie.file, resolve: lie.resolve, content: lie.content)
    #expect {
      try model.fetch(tries: 2)
    } throws: { error in
      guard let error = error as? HubError else { return false }
      return "\(error)".contains(lie.words)
    }
    #expect(model.isAbsent)
    if lie.words == "is damaged" || lie.words == "sends more" {
      #expect(try model.partials().isEmpty)
    }
    // The server mends its ways.
    try model.server.fail(lie.file)
    _ = try model.fetch()
    try model.expectComplete()
  }

  @Test func redirectionsMayBeRelativeOrToAnotherHost() throws {
    // Small files are redirected with a path, weights to another port, and here again.
    let model = try ServedModel()
    try model.server.fail(
      "vocab.json",
      resolve: [
        "headers": [
          "Location":
            "//HUB/api/resolve-cache/models/someone/tiny/\(HubServer.commit)/vocab.json?a=b"
        ]
      ])
    _ = try model.fetch()
    try model.expectComplete()
  }

  struct Refusal: @unchecked Sendable {
    let status: Int
    var headers: [String: String] = [:]
    var token: String?
    let error: @Sendable (String) -> HubError
  }

  @Test(arguments: [
    Refusal(status: 401) { .noRepository(name: "someone/tiny", endpoint: $0, hasToken: false) },
    Refusal(status: 401, token: "t") { .refusedToken(name: "someone/tiny", endpoint: $0) },
    Refusal(status: 401, headers: ["X-Error-Code": "GatedRepo"]) {
      .forbidden(name: "someone/tiny", endpoint: $0, isGated: true)
    },
    Refusal(status: 403, headers: ["X-Error-Code": "GatedRepo"], token: "t") {
      .forbidden(name: "someone/tiny", endpoint: $0, isGated: true)
    },
    Refusal(status: 403) { .forbidden(name: "someone/tiny", endpoint: $0, isGated: false) },
    Refusal(status: 404, headers: ["X-Error-Code": "RepoNotFound"], token: "t") {
      .noRepository(name: "someone/tiny", endpoint: $0, hasToken: true)
    },
    Refusal(status: 404, headers: ["X-Error-Code": "EntryNotFound"]) { _ in
      .noFile(name: "someone/tiny", file: "config.json")
    },
    Refusal(status: 404) { _ in .noFile(name: "someone/tiny", file: "config.json") },
    Refusal(status: 410) { .unexpectedStatus(file: "config.json", endpoint: $0, status: 410) },
  ])
  func aRefusalIsSaid(refusal: Refusal) throws {
    let model = try ServedModel()
    try model.server.fail(
      "config.json", resolve: ["status": refusal.status, "headers": refusal.headers])
    #expect(throws: refusal.error(model.server.endpoint)) {
      try model.fetch(
        ServedModel.repository, refusal.token.map { ["HF_TOKEN": $0] } ?? [:])
    }
    #expect(model.isAbsent)
  }

  @Test(arguments: ["vocab.json", "merges.txt", "model.safetensors"])
  func aFileThatTheRepositoryLacks(name: String) throws {
    let model = try ServedModel()
    try FileManager.default.removeItem(
      atPath: "\(model.server.folder.path)/root/someone/tiny/\(name)")
    #expect(throws: HubError.noFile(name: "someone/tiny", file: name)) { try model.fetch() }
    #expect(model.isAbsent)
  }

  /// A settings file that cannot be had for another reason than that there is none must not be left
  /// out: the tokens would be others.
  @Test func aFileThatMayBeMissingIsNotSkipped() throws {
    let model = try ServedModel()
    try model.server.fail("added_tokens.json", resolve: ["status": 500])
    #expect(throws: HubError.busy(endpoint: model.server.endpoint, status: 500, wait: nil)) {
      try model.fetch(tries: 1)
    }
    #expect(model.isAbsent)
  }
}
