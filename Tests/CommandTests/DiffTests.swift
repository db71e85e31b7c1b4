import Foundation
import TestSupport
import Testing

/// `cachedump diff`
@Suite struct DiffTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  @discardableResult
  private func capture(_ name: String, _ arguments: String...) throws -> String {
    let out = folder.path(name)
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", shared.prompts, "--out", out, "--quiet"] + arguments)
    try #require(answer.status == 0, "\(answer)")
    return out
  }

  @Test func aCompactAndAFullCacheHaveTheSameBits() throws {
    let full = try capture("full", "--store", "full")
    let answer = try Program.cachedump.succeed("diff", shared.path, full)
    #expect(answer.lines.prefix(2) == ["A  \(shared.path)", "B  \(full)"])
    #expect(answer.lines.contains { $0.hasPrefix("store") && $0.contains("compact") })
    #expect(answer.output.contains("7 prompts in both\n55 hooks in both\n"))
    #expect(answer.lines.last == "no bit differs in 385 shared arrays")
    #expect(answer.errors.contains("comparing 7/7 prompts"))
    let itself = try Program.cachedump.succeed("diff", full, full + "/", "--quiet")
    #expect(itself.errors == "" && !itself.output.contains("plan"))
  }

  private struct Difference: Decodable {
    struct Fact: Decodable {
      let name, first, second: String
    }
    struct Place: Decodable {
      let hook: String
      let firstPrompt, secondPrompt: Int
      let index: [Int]
      let first, second: Float
    }
    struct Hook: Decodable {
      let name: String
      let hooks, arrays, unequalArrays, values, unequalValues, incomparableValues: Int
      let largest, largestOfRms: Double?
      let place: Place?
    }
    let plan: [Fact]
    let sharedPrompts: Int
    let promptsOnlyInFirst, promptsOnlyInSecond: [Int]
    let hooksOnlyInFirst, hooksOnlyInSecond, hooksOfOtherShape: [String]
    let hooks, kinds: [Hook]
  }

  private func difference(_ a: String, _ b: String, _ arguments: String...) throws -> Difference {
    let answer = try Program.cachedump.run(["diff", a, b, "--json"] + arguments)
    try #require(answer.status == 1 && answer.errors == "", "\(answer)")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Difference.self, from: Data(answer.output.utf8))
  }

  @Test func roundedNumbersDifferByTheirRounding() throws {
    let half = try capture("half", "--dtype", "f16", "--hooks", "resid_pre,z,logits")
    let found = try difference(shared.path, half)
    #expect(found.plan.map(\.name).contains("element type"))
    #expect(found.sharedPrompts == 7 && found.hooks.count == 6)
    #expect(found.hooksOnlyInFirst.count == 49 && found.hooksOnlyInSecond == ["hook_unembed"])
    for hook in found.hooks {
      #expect(hook.unequalArrays == 7 && hook.incomparableValues == 0)
      let relative = try #require(hook.largestOfRms)
      #expect(relative > 0 && relative < 1e-2, "\(hook.name)")
      let place = try #require(hook.place)
      #expect(place.hook == hook.name && abs(Double(place.first - place.second)) == hook.largest)
    }
    #expect(found.kinds.map(\.hooks) == [3, 3])
    let chosen = try difference(shared.path, half, "--hooks", "z1,logits")
    #expect(chosen.hooks.map(\.name) == ["blocks.1.attn.hook_z"])
    #expect(chosen.hooksOnlyInSecond == ["hook_unembed"] && chosen.hooksOnlyInFirst == [])
  }

  @Test func anotherModelIsAnotherCache() throws {
    let other = folder.path("other")
    try Program.capture.succeed(
      "--model", shared.otherModel, "--prompts", shared.mixedPrompts, "--out", other, "--quiet")
    let answer = try Program.cachedump.run(["diff", shared.mixed, other, "--quiet"])
    #expect(answer.status == 1 && answer.errors == "", "\(answer)")
    #expect(answer.lines[2].hasPrefix("plan") && answer.lines[3].hasPrefix("weights digest"))
    #expect(answer.output.contains("hook_resid_pre, prompt "))
    #expect(answer.lines.last?.hasSuffix("shared arrays differ") == true)
    let apart = try Program.cachedump.run(["diff", shared.path, shared.mixed, "--quiet"])
    #expect(apart.status == 1)
    #expect(apart.output.contains("0 prompts in both, 7 only in A: 0 “ab cd ef g”, "), "\(apart)")
  }

  @Test func whatCannotBeComparedIsRefused() throws {
    try Program.cachedump.refuse(
      "diff", shared.path, folder.path("none"), status: 66,
      saying: ["\(folder.path("none")) is not a cache"])
    try Program.cachedump.refuse(
      "diff", shared.path, shared.mixed, "--hooks", "z,resid_prr", status: 64,
      saying: ["no hook called 'resid_prr'", "nearest: resid_pre"])
  }
}
