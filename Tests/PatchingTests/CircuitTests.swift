import CacheFormat
import Model
import TestSupport
import Testing

@testable import Patching

@Suite struct CircuitTests {
  /// The circuit, its prompts and their means, as tools/make_circuit_reference.py has them.
  struct Reference {
    let arrays: ReferenceArrays
    let circuit: Circuit
    let task: AnswerTask
    let runs: CachedRuns

    init(_ folder: String, _ processing: WeightProcessing = .transformerlens) throws {
      arrays = try circuitReference(folder)
      let answers = try arrays.tokens("circuit/answers")
      let templates = try arrays.tokens("circuit/template")
      let roles = try arrays.tokens("circuit/roles")
      var tokens: [[Int32]] = []
      var pairs: [PatchingPair] = []
      for (number, template) in templates.enumerated() {
        tokens.append(try arrays.tokens("circuit/pair\(number)/clean"))
        tokens.append(try arrays.tokens("circuit/pair\(number)/corrupted"))
        let (second, end) = (Int(roles[2 * number]), Int(roles[2 * number + 1]))
        pairs.append(
          PatchingPair(
            clean: 2 * number, corrupted: 2 * number + 1, answer: answers[2 * number],
            wrongAnswer: answers[2 * number + 1],
            roles: ["S2": second..<second + 1, "END": end..<end + 1], template: "\(template)"))
      }
      task = AnswerTask(pairs: pairs)
      let rows = try arrays.tokens("circuit/heads").map(Int.init)
      let k = try arrays.tokens("circuit/k")
      let all = stride(from: 0, to: rows.count, by: 3).map {
        AttentionHead(layer: rows[$0], head: rows[$0 + 1])
      }
      circuit = try Circuit(
        all.enumerated().map { number, head in
          let role = rows[3 * number + 2]
          return Circuit.Member(
            head, className: "\(role)", places: role < 0 ? [] : [.role(role == 0 ? "S2" : "END")],
            companions: all.indices.filter { k[number * all.count + $0] == 1 }.map { all[$0] })
        })
      let model = try GPT2(directory: ReferenceArrays.path(folder), processing: processing)
      runs = try CachedRuns(model, tokens)
    }

    func circuitRuns(
      _ source: PatchSource = .mean(.byTemplate, over: .corrupted), circuit: Circuit? = nil
    ) throws -> CircuitRuns {
      try CircuitRuns(
        circuit ?? self.circuit, engine: runs.engine(), task: task, source: source,
        prompts: runs.prompts)
    }
  }

  @Test(arguments: ["tiny", "odd"], [WeightProcessing.transformerlens, .raw])
  func circuitsEqualTransformerLens(folder: String, processing: WeightProcessing) throws {
    let reference = try Reference(folder, processing)
    var choice = CircuitEvaluation.Choice()
    choice.sets = reference.circuit.members.indices.map { ("\($0)", [$0]) }
    let found = try CircuitEvaluation(try reference.circuitRuns(), completeness: choice)
    func expect(_ values: [Float], _ name: String) throws {
      let expected = try reference.arrays.floats("circuit/\(name)")
      #expect(largestDifference(values, expected) < 1e-4, "\(name)")
    }
    try expect(found.model, "model")
    try expect(found.circuit, "all")
    try expect(found.minimality.flatMap(\.base), "base")
    try expect(found.minimality.flatMap(\.without), "without")
    let single = found.completeness.suffix(reference.circuit.members.count)
    try expect(single.flatMap(\.circuit), "circuit-without")
    try expect(single.flatMap(\.model), "model-without")
    try expect([Float(found.unfaithfulness)], "faithfulness")
    try expect([Float(found.share ?? .nan)], "share")
    try expect(found.minimality.map { Float(found.score($0) ?? .nan) }, "minimality")
    try expect(single.map { Float($0.difference) }, "completeness")
  }

  @Test func everyRunEqualsBruteForce() throws {
    let reference = try Reference("odd")
    let sources: [PatchSource] = [
      .mean(.byTemplate, over: .corrupted), .mean(.byPosition, over: .clean), .zero, .otherRun,
    ]
    for source in sources {
      let runs = try reference.circuitRuns(source)
      var choice = CircuitEvaluation.Choice()
      choice.greedy = 1
      choice.random = 2
      _ = try CircuitEvaluation(runs, completeness: choice)
      for result in runs.results {
        let check = try reference.runs.engine().check(
          [result], reference.task, prompts: reference.runs.prompts, count: 30, seed: 1)
        #expect(check.largestDifference == [0], "\(source)")
      }
    }
  }

  /// With all of its heads a circuit is the model; M without nothing is M.
  @Test func theWholeModelIsAFaithfulCircuit() throws {
    let reference = try Reference("tiny")
    let config = reference.runs.model.config
    let whole = try Circuit(
      (0..<config.layers).flatMap { layer in
        (0..<config.heads).map { Circuit.Member(AttentionHead(layer: layer, head: $0)) }
      })
    let found = try CircuitEvaluation(
      try reference.circuitRuns(circuit: whole), completeness: .init())
    #expect(found.unfaithfulness == 0 && found.share == 1)
    #expect(found.completeness.map(\.name) == ["nothing", "all"])
    #expect(found.completeness.allSatisfy { $0.difference == 0 })
  }

  @Test func greedyAndRandomSetsAreWhatTheyAreSaidToBe() throws {
    let reference = try Reference("odd")
    var choice = CircuitEvaluation.Choice()
    (choice.greedy, choice.random, choice.seed) = (3, 4, 7)
    let runs = try reference.circuitRuns()
    let found = try CircuitEvaluation(runs, completeness: choice)
    let again = try CircuitEvaluation(try reference.circuitRuns(), completeness: choice)
    #expect(found.completeness.map(\.removed) == again.completeness.map(\.removed))
    choice.seed = 8
    let other = try CircuitEvaluation(runs, completeness: choice)
    #expect(found.completeness.map(\.removed) != other.completeness.map(\.removed))
    let steps = found.completeness.suffix(3).map(\.removed)
    #expect(steps.map(\.count) == [1, 2, 3])
    #expect(steps[0].isSubset(of: steps[1]) && steps[1].isSubset(of: steps[2]))
    // No single head makes more of a difference than the first one that was chosen.
    choice.sets = reference.circuit.members.indices.map { ("\($0)", [$0]) }
    let single = try CircuitEvaluation(runs, completeness: choice).completeness
    let largest = single.filter { $0.removed.count == 1 }.map(\.difference).max()
    #expect(found.completeness.suffix(3).first?.difference == largest)
  }

  @Test func placesBesideARoleAndOverlappingOnes() throws {
    let roles = ["S1": 2..<3, "END": 8..<9, "subject": 3..<5]
    func positions(_ name: String) -> Range<Int>? {
      Place.role(name).positions(roles: roles, length: 9)
    }
    #expect(positions("S1+1") == 3..<4 && positions("END-8") == 0..<1)
    #expect(positions("subject+1") == 4..<6 && positions("S1") == 2..<3)
    for name in ["S1+7", "END+1", "S1-3", "S3+1", "S1+", "S1+x", "+1", "S1+9223372036854775807"] {
      #expect(positions(name) == nil, "\(name)")
    }
    let alignment = Alignment(length: 9, first: 0, roles: roles)
    let hook = HookPoint(.z, layer: 0)
    let sites = try #require(
      alignment.sites(of: [
        Patch(hook, head: 1, sparing: [.role("subject"), .role("S1"), .index(4), .index(-1)])
      ]))
    #expect(sites.map(\.positions) == [0..<2, 5..<8])
    #expect(alignment.sites(of: [Patch(hook, sparing: [.role("IO")])]) == nil)
  }

  @Test func whatIsNoCircuitIsRefused() throws {
    let (a, b) = (AttentionHead(layer: 0, head: 1), AttentionHead(layer: 9, head: 0))
    #expect(throws: PatchingError.self) { try Circuit([]) }
    #expect(throws: PatchingError.self) { try Circuit([.init(a), .init(a)]) }
    #expect(throws: PatchingError.self) { try Circuit([.init(a, companions: [b])]) }
    #expect(throws: PatchingError.self) { try Circuit([.init(a, companions: [a])]) }
    let reference = try Reference("tiny")
    #expect(throws: PatchingError.noSuchHead(b, layers: 2, heads: 4)) {
      try reference.circuitRuns(circuit: try Circuit([.init(a), .init(b)]))
    }
    #expect(throws: PatchingError.pairWithoutPlace(.role("IO"), pair: "0")) {
      try reference.circuitRuns(circuit: try Circuit([.init(a, places: [.role("IO")])]))
    }
    #expect(throws: PatchingError.pairWithoutPlace(.index(9), pair: "0")) {
      try reference.circuitRuns(circuit: try Circuit([.init(a, places: [.index(9)])]))
    }
  }
}
