import FileIO
import Glibc
import TestSupport
import Testing

@testable import CacheFormat

/// Damaged caches, and what is kept of them.
@Suite struct RepairTests {
  private static let capture = Capture(lengths: [3, 5, 2, 4, 3, 6], segmentBytes: 300)
  private let directory: TemporaryDirectory
  private let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.path("cache")
  }

  private func repair(_ fileSystem: any FileSystem = UnsyncedFileSystem()) throws -> CacheRepair {
    try CacheRepair(of: path, fileSystem: fileSystem)
  }

  private func segment(_ number: Int) -> String { "segment-00000\(number).pbs" }

  private func flip(_ name: String, at offset: Int = 100, bit: UInt8 = 1) throws {
    var bytes = try contents(path + "/" + name)
    bytes[offset] ^= bit
    try overwrite(path + "/" + name, bytes)
  }

  /// What a writer of `capture` leaves that commits some segments and, if those are all, ends in
  /// good order.
  private func written(_ capture: Capture, commits: Int) throws -> [String: [UInt8]] {
    let path = directory.path("written-\(commits)")
    let writer = try CacheWriter(
      directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
      fileSystem: UnsyncedFileSystem())
    for number in 0..<commits {
      try writer.commit(try capture.seal(segment: number, of: writer))
    }
    if commits == writer.segmentRanges.count { try writer.finish() }
    return try allContents(path)
  }

  @Test func aSoundCacheNeedsNothing() throws {
    for capture in [RepairTests.capture, Capture.derived()] {
      let path = directory.path("\(capture.plan.hooks.count)")
      try capture.write(to: path)
      let before = try allContents(path)
      let repair = try CacheRepair(of: path + "/", fileSystem: UnsyncedFileSystem())
      #expect(!repair.isNeeded && repair.manifest == .sound)
      #expect(repair.lost.isEmpty && repair.later.isEmpty)
      #expect(repair.keptPrompts == capture.prompts.count)
      // The manifest made from the segments is the writer's, byte for byte.
      try repair.apply()
      #expect(try allContents(path) == before)
    }
  }

  @Test func segmentsBeforeTheFirstDamagedOneAreKept() throws {
    let capture = RepairTests.capture
    try capture.write(to: path)
    let sound = try allContents(path)
    try flip(segment(2))
    try flip(segment(2), at: 400)
    let damaged = try allContents(path)
    var steps: [Int] = []
    let repair = try CacheRepair(of: path, fileSystem: UnsyncedFileSystem()) { done, all in
      #expect(all == 6)
      steps.append(done)
    }
    #expect(steps == [1, 2, 3, 4, 5, 6])
    #expect(repair.isNeeded && repair.manifest == .sound)
    #expect(repair.keptSegments == 2 && repair.keptPrompts == 2)
    #expect(repair.lost == [.init(name: segment(2), firstPrompt: 2, prompts: 1)])
    #expect(repair.later.map(\.name) == [3, 4, 5].map(segment) && repair.laterCanBeAdopted)
    #expect(repair.problems.map(\.file) == ["\(path)/\(segment(2))"])
    #expect(repair.problems.map(\.prompt) == [2] && repair.problems.map(\.more) == [1])
    #expect(try allContents(path) == damaged, "looking changes nothing")

    try repair.apply()
    var expected = sound
    expected[segment(2)] = nil
    expected[segment(2) + ".damaged"] = damaged[segment(2)]
    expected["manifest"] = try written(capture, commits: 2)["manifest"]
    #expect(try allContents(path) == expected)
    let reader = try CacheReader(directory: path)
    #expect(try reader.committedPrompts == 2 && !reader.isComplete && reader.verify().isHealthy)
    #expect(try capture.agrees(with: reader, prompts: 2))
    #expect(try !self.repair().isNeeded)

    // Only what was damaged is captured again, and the end is as if nothing had happened.
    var sealed = 0
    try capture.write(to: path, start: .resume) { _ in sealed += 1 }
    #expect(sealed == 4)
    expected = sound
    expected[segment(2) + ".damaged"] = damaged[segment(2)]
    #expect(try allContents(path) == expected)
  }

  @Test func aDerivedArrayThatIsWrongIsDamageToo() throws {
    var capture = Capture.derived(lengths: [3, 3, 3, 3], segmentBytes: 1)
    let hook = try #require(capture.plan.hooks.firstIndex { $0.name == "mlp.post" })
    capture.arrays[hook][2][5] += 1
    try capture.write(to: path)
    let repair = try repair()
    #expect(repair.keptPrompts == 2 && repair.lost.map(\.firstPrompt) == [2])
    #expect(repair.problems.map(\.hook) == ["mlp.post"] && repair.later.count == 1)
  }

  @Test func severalDamagedSegmentsAreAllPutAside() throws {
    try RepairTests.capture.write(to: path)
    try flip(segment(1))
    unlink(path + "/" + segment(3))
    truncate(path + "/" + segment(4), 100)
    try overwrite(path + "/" + segment(1) + ".damaged", [1, 2, 3])
    let repair = try repair()
    #expect(repair.keptPrompts == 1 && repair.lost.map(\.firstPrompt) == [1, 3, 4])
    #expect(repair.later.map(\.name) == [2, 5].map(segment))
    #expect(repair.problems.count == 3)
    #expect(repair.problems[1].problem == "\(path)/\(segment(3)) is not there")
    try repair.apply()
    #expect(try contents(path + "/" + segment(1) + ".damaged") == [1, 2, 3])
    #expect(
      try fileNames(path) == [
        "manifest", "pairs.jsonl", "plan.json", "prompts.jsonl", segment(0),
        "segment-000001-2.pbs.damaged", segment(1) + ".damaged", segment(2),
        segment(4) + ".damaged", segment(5),
      ])
    try RepairTests.capture.write(to: path, start: .resume)
    #expect(try CacheReader(directory: path).isComplete)
    #expect(try self.repair().problems.isEmpty)
  }

  @Test func anyFlippedByteOfTheManifestIsMended() throws {
    let capture = RepairTests.capture
    try capture.write(to: path)
    let sound = try allContents(path)
    let manifest = try #require(sound["manifest"])
    for offset in manifest.indices {
      try flip("manifest", at: offset, bit: 1 << UInt8(offset % 8))
      let repair = try repair()
      guard repair.manifest == .damaged, repair.keptPrompts == 6, repair.lost.isEmpty else {
        Issue.record("byte \(offset): \(repair.problems)")
        return
      }
      try repair.apply()
      guard try contents(path + "/manifest") == manifest else {
        Issue.record("byte \(offset): another manifest")
        return
      }
    }
    #expect(try allContents(path) == sound)
  }

  @Test(arguments: [1, 4, 6])
  func aManifestThatIsGoneIsMadeAnew(commits: Int) throws {
    let capture = RepairTests.capture
    let expected = try written(capture, commits: commits)
    for (name, bytes) in expected where name != "manifest" {
      mkdir(path, 0o755)
      try overwrite(path + "/" + name, bytes)
    }
    let repair = try repair()
    #expect(repair.manifest == .missing && repair.keptSegments == commits)
    #expect(repair.problems.map(\.problem) == ["there is no file \(path)/manifest"])
    try repair.apply()
    #expect(try allContents(path) == expected)
  }

  @Test func segmentsThatWereSealedAreKeptWithoutAManifest() throws {
    let capture = RepairTests.capture
    try capture.write(to: path)
    unlink(path + "/manifest")
    truncate(path + "/" + segment(1), 64)
    unlink(path + "/" + segment(2))
    try overwrite(path + "/" + segment(4), [])
    try flip(segment(5), at: try contents(path + "/" + segment(5)).count - 30)
    try overwrite(path + "/segment-000017.pbs", [1])
    try overwrite(path + "/segment-3.pbs", [1])
    let repair = try repair()
    #expect(repair.keptPrompts == 1 && repair.later.map(\.name) == [segment(3)])
    #expect(repair.lost.map(\.name) == [1, 2, 4, 5].map(segment))
    #expect(repair.problems.count == 5)
    #expect(repair.problems[1].problem.contains("too short"))
    #expect(repair.problems[4].problem.contains("trailer"))
  }

  @Test func aPlanThatNothingProvesIsNotReliedUpon() throws {
    let capture = RepairTests.capture
    try capture.write(to: path)
    let sound = try allContents(path)
    func refused(_ change: () throws -> Void) throws -> RepairError? {
      try change()
      let before = try allContents(path)
      let error = #expect(throws: RepairError.self) { try repair() }
      #expect(error?.exitCode == .badData)
      #expect(try allContents(path) == before)
      for (name, bytes) in sound { try overwrite(path + "/" + name, bytes) }
      return error
    }
    for file in ["plan.json", "prompts.jsonl", "pairs.jsonl"] {
      let error = try refused { try flip(file) }
      guard case .frozenFile(.wrongDigest(let named, _, _)) = error else {
        Issue.record("\(file): \(String(describing: error))")
        continue
      }
      #expect(named == "\(path)/\(file)")
      #expect(error?.description.contains("--resume") == true)
    }
    let flipped = try refused {
      unlink(path + "/manifest")
      try flip("plan.json")
    }
    guard case .planUnproven(_, let what) = flipped else {
      Issue.record("\(String(describing: flipped))")
      return
    }
    #expect(what.contains("the segments name another plan"))
    let bare = try refused {
      unlink(path + "/manifest")
      for number in 0..<6 { unlink(path + "/" + segment(number)) }
    }
    #expect(bare?.description.contains("no sealed segment is there to name the plan") == true)
    let headless = try refused {
      try flip("manifest")
      for number in 0..<6 { try flip(segment(number), at: 30) }
    }
    #expect(headless?.description.contains("no sealed segment") == true)
    #expect(try !repair().isNeeded)
  }

  @Test func whatIsNoCacheIsNamed() throws {
    for path in [directory.path, directory.path("none")] {
      #expect(throws: RepairError.cache(.notACache(directory: path))) {
        try CacheRepair(of: path)
      }
    }
    #expect(throws: CacheError.notACache(directory: directory.path("none"))) {
      try CacheRepair.lock(directory.path("none"), breaking: false)
    }
  }

  @Test func aLaterFormatIsLeftAlone() throws {
    let forger = try Forger(Capture(), in: path)
    try forger.forgeManifest { $0.replaceFirst("\"format\":5", with: "\"format\":9") }
    #expect(
      throws: RepairError.cache(.newerFormat(file: "\(path)/manifest", found: 9))
    ) { try repair() }
  }

  @Test func totalsThatLieAreMended() throws {
    let forger = try Forger(Capture(), in: path)
    let sound = try contents(forger.manifestPath)
    try forger.forgeManifest { $0.replaceFirst("\"stored\":", with: "\"stored\":1") }
    let repair = try repair()
    #expect(repair.manifest == .sound && repair.keptPrompts == 3)
    #expect(repair.problems.count == 1 && repair.problems[0].problem.contains("its totals"))
    try repair.apply()
    #expect(try contents(forger.manifestPath) == sound)
  }

  /// A manifest with a good checksum that does not say what the plan says is no manifest.
  @Test func segmentsThatThePlanDoesNotHaveAreNotBelieved() throws {
    let forger = try Forger(Capture(lengths: [3, 3]), in: path)
    let sound = try contents(forger.manifestPath)
    try forger.forgeManifest { $0.replaceFirst("\"tokens\":6", with: "\"tokens\":5") }
    let repair = try repair()
    #expect(repair.manifest == .damaged && repair.lost.isEmpty && repair.keptPrompts == 2)
    try repair.apply()
    #expect(try contents(forger.manifestPath) == sound)
  }

  @Test func howFarRoundedValuesAreOffIsNotMadeUp() throws {
    var capture = RepairTests.capture
    capture.plan.elementType = .f16
    try capture.write(to: path)
    let before = try contents(path + "/manifest")
    try flip(segment(3))
    let repair = try repair()
    #expect(repair.keptPrompts == 3 && repair.later.count == 2 && !repair.laterCanBeAdopted)
    try repair.apply()
    func errors() throws -> [Float?] {
      try CacheReader(directory: path).summary().hooks.map(\.worstError)
    }
    #expect(try errors() == [nil, nil, nil, nil])
    try capture.write(to: path, start: .resume)
    let reader = try CacheReader(directory: path)
    #expect(try reader.isComplete && reader.verify().isHealthy)
    #expect(try errors() == [nil, nil, nil, nil], "what is known of some is not known of all")

    // Where nothing was lost the numbers stay.
    try overwrite(path + "/manifest", before)
    #expect(try errors().allSatisfy { $0 != nil })
    try self.repair().apply()
    #expect(try contents(path + "/manifest") == before)
  }

  /// Whatever call fails, the next repair does the rest.
  @Test func aRepairThatFailsCanBeRepeated() throws {
    let capture = RepairTests.capture
    try capture.write(to: path)
    try flip(segment(1))
    try flip(segment(4))
    let damaged = try allContents(path)
    let counting = FaultyFileSystem()
    try repair(counting).apply()
    let expected = try allContents(path)
    #expect(counting.log.count > 6)
    for call in counting.log.indices {
      for name in try fileNames(path) { unlink(path + "/" + name) }
      for (name, bytes) in damaged { try overwrite(path + "/" + name, bytes) }
      let faulty = FaultyFileSystem(failing: call)
      do {
        try repair(faulty).apply()
      } catch let error as RepairError {
        guard case .file = error else {
          Issue.record("\(error)")
          continue
        }
      }
      let again = try repair()
      if again.isNeeded { try again.apply() }
      var files = try allContents(path)
      files["manifest.new"] = nil
      #expect(files == expected, "\(counting.log[call])")
    }
  }

  /// Whatever happens to the files: either nothing is changed, or what is kept is what was captured.
  @Test func nothingWrongIsEverKept() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let capture = Capture.derived(lengths: [3, 2, 4, 1, 5], segmentBytes: 5000)
    try capture.write(to: path)
    let sound = try allContents(path)
    var repaired = 0
    for round in 0..<200 {
      for name in try fileNames(path) { unlink(path + "/" + name) }
      for (name, bytes) in sound { try overwrite(path + "/" + name, bytes) }
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        try damageSomething(in: sound, using: &generator)
      }
      let damaged = try allContents(path)
      do {
        try repair().apply()
        repaired += 1
        let reader = try CacheReader(directory: path)
        #expect(try reader.verify().isHealthy, "seed \(seed), round \(round)")
        #expect(
          try capture.agrees(with: reader, prompts: reader.committedPrompts),
          "seed \(seed), round \(round)")
        try capture.write(to: path, start: .resume)
        for (name, bytes) in sound {
          #expect(try contents(path + "/" + name) == bytes, "seed \(seed), round \(round), \(name)")
        }
      } catch is RepairError {
        #expect(try allContents(path) == damaged, "seed \(seed), round \(round)")
      }
    }
    #expect(repaired > 50, "seed \(seed)")
  }

  private func damageSomething(
    in sound: [String: [UInt8]], using generator: inout SeededGenerator
  ) throws {
    let names = sound.keys.sorted().filter {
      $0.hasPrefix("segment") || $0 == "manifest" || Bool.random(using: &generator)
    }
    guard let name = names.randomElement(using: &generator), let bytes = sound[name] else { return }
    switch Int.random(in: 0..<4, using: &generator) {
    case 0: unlink(path + "/" + name)
    case 1: truncate(path + "/" + name, Int.random(in: 0...bytes.count, using: &generator))
    default:
      var bytes = bytes
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      bytes[place] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
      try overwrite(path + "/" + name, bytes)
    }
  }

  @Test func aWriterKeepsTheRepairAway() throws {
    let capture = RepairTests.capture
    let writer = try CacheWriter(
      directory: path, plan: capture.plan, prompts: capture.prompts, pairs: capture.pairs,
      fileSystem: UnsyncedFileSystem())
    let error = #expect(throws: CacheError.self) {
      try CacheRepair.lock(path + "/", breaking: false)
    }
    #expect(error?.exitCode == .cannotCreate)
    withExtendedLifetime(writer) {}
  }
}
