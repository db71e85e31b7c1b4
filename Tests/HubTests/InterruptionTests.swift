import FileIO
import Foundation
import TestSupport
import Testing

@testable import Hub

/// Connections that break off, stand still or are refused for a while.
@Suite struct InterruptionTests {
  /// Twenty different places in the weights.
  private func places(in count: Int, seed: UInt64) -> [Int] {
    var generator = SeededGenerator(seed: seed)
    return Array((0..<count).shuffled(using: &generator).prefix(20)).sorted()
  }

  @Test func aTransferThatBreaksOffTwentyTimesGoesOn() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let model = try ServedModel(seed: seed)
    let places = places(in: 40_000, seed: seed)
    try model.server.fail("model.safetensors", content: ["breaks": places])
    _ = try model.fetch()
    try model.expectComplete()
    let transfers = try model.transfers(of: "model.safetensors")
    #expect(transfers.count == 21, "seed \(seed)")
    #expect(
      transfers.dropFirst().map(\.range) == places.map { $0 == 0 ? nil : "bytes=\($0)-" },
      "seed \(seed)")
  }

  /// Each run ends where the connection breaks, and the next one takes up what it left.
  @Test func twentyRunsTakeUpWhatTheOnesBeforeLeft() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let model = try ServedModel(seed: seed)
    let places = places(in: 40_000, seed: seed)
    try model.server.fail("model.safetensors", content: ["breaks": places])
    for place in places {
      #expect("seed \(seed)") {
        try model.fetch(tries: 1)
      } throws: { error in
        guard case HubError.interrupted(file: "model.safetensors", _, _)? = error as? HubError
        else {
          return false
        }
        return true
      }
      #expect(model.isAbsent, "seed \(seed)")
      let partial = try #require(try model.partials().first)
      #expect(try plainFileSize("\(model.folder)/blobs/\(partial)") == place, "seed \(seed)")
    }
    _ = try model.fetch(tries: 1)
    try model.expectComplete()
  }

  @Test func aServerThatIgnoresRangesStartsAnew() throws {
    let model = try ServedModel()
    try model.server.fail(
      "model.safetensors", content: ["breaks": [1000, 20_000], "ignores_range": true])
    _ = try model.fetch()
    try model.expectComplete()
    #expect(try model.transfers(of: "model.safetensors").count == 3)
  }

  @Test func aServerThatStandsStillIsGivenUp() throws {
    let model = try ServedModel()
    try model.server.fail("model.safetensors", content: ["hangs_at": 10_000])
    #expect {
      try model.fetch(tries: 2)
    } throws: { error in
      guard case HubError.interrupted(_, _, let reason)? = error as? HubError else { return false }
      return reason.contains("too slow") || reason.contains("timed out")
    }
    // What came before is kept.
    let partial = try #require(try model.partials().first)
    #expect(try plainFileSize("\(model.folder)/blobs/\(partial)") == 10_000)
    try model.server.fail("model.safetensors")
    _ = try model.fetch()
    try model.expectComplete()
  }

  @Test(arguments: [500, 502, 503, 504, 429])
  func aServerThatIsBusyIsAskedAgain(status: Int) throws {
    let model = try ServedModel()
    let fault: [String: Any] = ["status": status, "times": 2, "headers": ["Retry-After": "0"]]
    try model.server.set(
      "faults",
      [
        "config.json": ["resolve": fault], "model.safetensors": ["content": fault],
        "tokenizer_config.json": ["resolve": fault],
      ])
    _ = try model.fetch()
    try model.expectComplete()
    #expect(model.events.filter { if case .triesAgain = $0 { true } else { false } }.count == 6)
  }

  @Test func aServerThatStaysBusyIsNot() throws {
    let model = try ServedModel()
    try model.server.fail("vocab.json", content: ["status": 503])
    #expect(throws: HubError.busy(endpoint: model.server.endpoint, status: 503, wait: nil)) {
      try model.fetch()
    }
    try model.server.fail(
      "vocab.json", content: ["status": 429, "headers": ["Retry-After": "3600"]])
    #expect(throws: HubError.busy(endpoint: model.server.endpoint, status: 429, wait: 3600)) {
      try model.fetch()
    }
    #expect(model.isAbsent)
  }

  @Test func nobodyListens() throws {
    let model = try ServedModel()
    #expect {
      try model.fetch("gpt2", ["HF_ENDPOINT": "http://127.0.0.1:1"])
    } throws: { error in
      guard case HubError.unreachable(name: "gpt2", _, _)? = error as? HubError else {
        return false
      }
      return true
    }
    #expect(!model.events.contains { if case .triesAgain = $0 { true } else { false } })
  }

  /// What a run left may be anything.
  @Test(arguments: [1, 10_000, 40_000, 50_000])
  func aPartThatIsNotOfTheFileIsThrownAway(count: Int) throws {
    let model = try ServedModel()
    try model.server.fail("model.safetensors", content: ["breaks": [0]])
    #expect(throws: HubError.self) { try model.fetch(tries: 1) }
    let partial = "\(model.folder)/blobs/\(try #require(try model.partials().first))"
    try Data(repeating: 7, count: count).write(to: URL(fileURLWithPath: partial))
    _ = try model.fetch()
    try model.expectComplete()
  }

  /// A blob that another program left under a digest that it does not have.
  @Test func aBlobIsCheckedBeforeItIsLinked() throws {
    let model = try ServedModel()
    _ = try model.fetch()
    let blob = "\(model.snapshot)/model.safetensors"
    let target = try FileManager.default.destinationOfSymbolicLink(atPath: blob)
    try FileManager.default.removeItem(atPath: blob)
    try Data(repeating: 7, count: 40_000).write(
      to: URL(fileURLWithPath: "\(model.snapshot)/\(target)"))
    _ = try model.fetch()
    try model.expectComplete()
  }
}
