import CacheFormat
import Model
import TestSupport
import Testing

@testable import Patching

/// Lists of cells, each with its patches of one place or more.
extension SweepKindsTests {
  @Test(arguments: PatchEngineTests.directions)
  func cellsOfAListArePatchedTogether(direction: Direction) throws {
    let list = [
      ListedCell(
        name: "heads of two layers",
        patches: [
          Patch(HookPoint(.z, layer: 2), head: 1), Patch(HookPoint(.z, layer: 0), head: 0),
          Patch(HookPoint(.z, layer: 2), head: 2, place: .index(-1)),
        ]),
      ListedCell(
        name: "all over a block",
        patches: [
          Patch(HookPoint(.mlpPost, layer: 1), place: .index(5), neuron: 3),
          Patch(HookPoint(.k, layer: 1), head: 1), Patch(HookPoint(.q, layer: 1), place: .index(4)),
          Patch(HookPoint(.pattern, layer: 1), head: 0, place: .index(5), key: .index(2)),
          Patch(HookPoint(.attnOut, layer: 1), place: .role("END")),
        ]),
      ListedCell(
        name: "ends",
        patches: [
          Patch(HookPoint(.embed), place: .role("subject")),
          Patch(HookPoint(.finalNormalized), place: .index(0)),
          Patch(HookPoint(.residPost, layer: 2), place: .role("END")),
        ]),
      ListedCell(
        name: "stream twice",
        patches: [
          Patch(HookPoint(.residMid, layer: 1), place: .index(4)),
          Patch(HookPoint(.residPre, layer: 0), place: .index(2)),
        ]),
      ListedCell(
        name: "edges by role and from the end",
        patches: [
          Patch(
            HookPoint(.attnScores, layer: 2), head: 1, place: .role("END"), key: .role("subject")),
          Patch(HookPoint(.pattern, layer: 1), place: .index(-2), key: .index(-3)),
        ]),
      ListedCell(
        name: "nowhere", patches: [Patch(HookPoint(.z, layer: 0), place: .index(1000))]),
    ]
    let result = try result(try Sweep(name: "cells", list: list), direction)
    #expect(result.shape == [6] && result.pairs(of: 5).isEmpty && result.pairs(of: 0).count == 3)
    try compare(result, naive(direction)) { list[$0.number ?? 0].patches }
    #expect(
      result.sweep.hookName(of: result.cells[0]) == "blocks.2.attn.hook_z+blocks.0.attn.hook_z")
  }

  /// What a block puts out is what the next one gets, of the source run with its queries, keys and values, with
  /// whatever else is patched.
  @Test(arguments: PatchEngineTests.directions)
  func streamsBetweenBlocksArePatchedTogether(direction: Direction) throws {
    let (out, next) = (HookPoint(.residPost, layer: 0), HookPoint(.residPre, layer: 1))
    let last = HookPoint(.residPost, layer: 2)
    let list = [
      [Patch(out, place: .index(4)), Patch(out, place: .index(6))],
      [Patch(out, place: .index(6)), Patch(out, place: .index(4)), Patch(last, place: .index(-1))],
      [Patch(out, place: .index(4)), Patch(next, place: .index(5))],
      [Patch(out, place: .index(4), neuron: 2), Patch(next, place: .index(4), neuron: 3)],
      [Patch(out, place: .index(4)), Patch(HookPoint(.ln1Scale, layer: 1), place: .index(5))],
      [Patch(out, place: .index(4)), Patch(HookPoint(.q, layer: 1), head: 1)],
      [Patch(next, place: .index(-1)), Patch(HookPoint(.k, layer: 1), head: 0)],
      [Patch(next, place: .index(4)), Patch(HookPoint(.vInput, layer: 1), head: 1)],
      [Patch(out, place: .index(4)), Patch(HookPoint(.mlpOut, layer: 1), place: .index(4))],
      [Patch(HookPoint(.attnOut, layer: 0), place: .index(4)), Patch(out, place: .index(5))],
      [Patch(HookPoint(.residPost, layer: 1), place: .index(-1))],
      [Patch(last, place: .index(4)), Patch(last, place: .index(-1))],
    ].map { ListedCell(name: "", patches: $0) }
    let found = try result(try Sweep(name: "cells", list: list), direction)
    try compare(found, naive(direction)) { list[$0.number ?? 0].patches }
    // Given twice, a patch is no longer known to bring the source run's queries, keys and values.
    let operations = try [1, 2].map { count in
      let patches = Array(repeating: Patch(next, place: .index(4)), count: count)
      return try result(
        try Sweep(name: "cells", list: [ListedCell(name: "", patches: patches)]), direction
      ).operations
    }
    let config = runs.model.config
    let products = 2 * 3 * config.width * config.heads * config.headWidth
    #expect(operations[1] - operations[0] == Double(task.pairs.count * products))
  }

  /// Where a pass leaves the MLP out for rows whose mlp_out is another's, with whatever else is patched.
  @Test(arguments: PatchEngineTests.directions)
  func patchedOutputsOfMLPsNeedNoMLP(direction: Direction) throws {
    let out = HookPoint(.mlpOut, layer: 1)
    let list = [
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out, place: .index(4))],
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out, place: .index(5))],
      [Patch(HookPoint(.residPre, layer: 0), place: .index(4)), Patch(out)],
      [Patch(HookPoint(.mlpPost, layer: 1), place: .index(4)), Patch(out, place: .index(4))],
      [Patch(HookPoint(.attnOut, layer: 1)), Patch(out, place: .index(4), neuron: 2)],
      [
        Patch(HookPoint(.mlpOut, layer: 0), place: .index(4)), Patch(out, place: .index(4)),
        Patch(out, place: .index(5)), Patch(HookPoint(.mlpOut, layer: 2), place: .role("END")),
      ],
      [Patch(HookPoint(.z, layer: 2), head: 1), Patch(HookPoint(.mlpOut, layer: 2))],
    ].map { ListedCell(name: "", patches: $0) }
    let sweep = try result(try Sweep(name: "cells", list: list), direction)
    try compare(sweep, naive(direction)) { list[$0.number ?? 0].patches }
    // Of the first two, whose rows are the same, one leaves a row out.
    let operations = try list.prefix(2).map {
      try result(try Sweep(name: "cells", list: [$0]), direction).operations
    }
    let config = runs.model.config
    // Of other pairs the stream at position 4 is the same in both runs.
    let changed = task.pairs.count {
      runs.prompts[$0.clean].tokens[4] != runs.prompts[$0.corrupted].tokens[4]
    }
    let ofMLP = Double(4 * config.width * config.mlpWidth * changed)
    #expect(changed > 0 && operations[1] - operations[0] == ofMLP)
    try compareWindows(of: .mlpOut, direction)
  }

  /// Where a pass leaves the attention out for rows whose attn_out is another's, with whatever else is patched.
  @Test(arguments: PatchEngineTests.directions)
  func patchedOutputsOfAttentionNeedNoAttention(direction: Direction) throws {
    let (out, last) = (HookPoint(.attnOut, layer: 1), HookPoint(.attnOut, layer: 2))
    let first = Patch(HookPoint(.residPre, layer: 0), place: .index(4))
    func inBlock(_ kind: HookKind, at position: Int) -> Patch {
      Patch(HookPoint(kind, layer: 1), head: 1, place: .index(position))
    }
    let list = [
      [first, Patch(out, place: .index(4))],
      [first, Patch(out, place: .index(5))],
      [first, Patch(out)],
      [first, Patch(out), Patch(last)],
      [first, Patch(last, place: .role("END"))],
      [first, Patch(out, place: .index(4)), Patch(out, place: .index(4), neuron: 2)],
      [first, Patch(out, place: .index(4), neuron: 2), Patch(out, place: .index(4))],
      [first, Patch(out, place: .index(4)), Patch(out)],
      [first, inBlock(.result, at: 4), Patch(out, place: .index(4))],
      [first, inBlock(.result, at: 5), Patch(out, place: .index(4))],
      [first, inBlock(.z, at: 4), Patch(out, place: .index(4))],
      [first, inBlock(.z, at: 5), Patch(out, place: .index(4))],
      [first, inBlock(.pattern, at: 4), inBlock(.pattern, at: 5), Patch(out, place: .index(4))],
      [first, inBlock(.q, at: 4), inBlock(.q, at: 5), Patch(out, place: .index(4))],
      [first, inBlock(.qInput, at: 4), inBlock(.qInput, at: 5), Patch(out, place: .index(4))],
      [first, inBlock(.k, at: 4), inBlock(.v, at: 4), Patch(out, place: .index(4))],
      [
        Patch(HookPoint(.attnOut, layer: 0), place: .index(4)), Patch(out, place: .index(4)),
        Patch(out, place: .index(5)), Patch(last, place: .role("END")),
      ],
      [Patch(HookPoint(.z, layer: 0), head: 1), Patch(out), Patch(last)],
    ].map { ListedCell(name: "", patches: $0) }
    let sweep = try result(try Sweep(name: "cells", list: list), direction)
    try compare(sweep, naive(direction), count: list.count) { list[$0.number ?? 0].patches }
    // Of the first two, whose rows are the same, one leaves a row out: its query, its scores with five keys and
    // their values, and W_O.
    let operations = try list.prefix(2).map {
      try result(try Sweep(name: "cells", list: [$0]), direction).operations
    }
    let config = runs.model.config
    // Of other pairs the stream at position 4 is the same in both runs.
    let changed = task.pairs.count {
      runs.prompts[$0.clean].tokens[4] != runs.prompts[$0.corrupted].tokens[4]
    }
    let inner = config.heads * config.headWidth
    let ofAttention = Double((4 * config.width + 4 * 5) * inner * changed)
    #expect(changed > 0 && operations[1] - operations[0] == ofAttention)
    try compareWindows(of: .attnOut, direction)
  }

  /// Compares patches of two layers at once.
  private func compareWindows(of kind: HookKind, _ direction: Direction) throws {
    let windows = try result(try Sweep(kind, layers: [0, 1, 2], window: 2), direction)
    try compare(windows, naive(direction)) { cell in
      let layer = cell.layer ?? 0
      return (max(0, layer - 1)...layer).map {
        Patch(HookPoint(kind, layer: $0), place: cell.place)
      }
    }
  }

  /// The later one of two patches of the same place holds, as in a whole pass.
  @Test(arguments: PatchEngineTests.directions)
  func resultsCanBePatchedTwice(direction: Direction) throws {
    let result = HookPoint(.result, layer: 1)
    let list = [
      [Patch(result), Patch(result)], [Patch(result, head: 1), Patch(result, head: 1)],
      [Patch(result, place: .role("END")), Patch(result, head: 1)],
      [Patch(result, head: 0, place: .index(4)), Patch(result, head: 2, place: .index(5))],
      [Patch(HookPoint(.z, layer: 1), head: 0), Patch(result, head: 2)],
    ].map { ListedCell(name: "", patches: $0) }
    let sweep = try self.result(try Sweep(name: "cells", list: list), direction)
    try compare(sweep, naive(direction)) { list[$0.number ?? 0].patches }
    #expect(
      sweep.patched[1]
        == (try self.result(
          try Sweep(name: "cells", list: [ListedCell(name: "", patches: [list[1].patches[0]])]),
          direction)).patched[0])
  }

  @Test func headInputsGoAlone() throws {
    let layer = 1
    func list(_ kinds: [(HookKind, Int)]) throws(PatchingError) -> Sweep {
      try Sweep(
        name: "cells",
        list: [
          ListedCell(
            name: "", patches: kinds.map { Patch(HookPoint($0.0, layer: $0.1), place: .index(-1)) })
        ])
    }
    for own in [HookKind.attnIn, .qInput, .kInput, .vInput] {
      for other in [HookKind.ln1Scale, .ln1Normalized] + (own == .attnIn ? [.qInput, .vInput] : [])
      {
        for kinds in [[(own, layer), (other, layer)], [(other, layer), (own, layer)]] {
          #expect(throws: PatchingError.self, "\(kinds)") { try list(kinds) }
        }
        _ = try list([(own, layer), (other, layer + 1)])
      }
    }
    for kinds in [
      [(HookKind.qInput, layer), (.kInput, layer), (.vInput, layer)],
      [(.residPre, layer), (.attnIn, layer)], [(.vInput, layer), (.z, layer), (.ln1Scale, 2)],
    ] {
      let sweep = try list(kinds)
      try compare(try result(sweep), naive(.denoise)) { sweep.list[$0.number ?? 0].patches }
    }
  }

  @Test func aListOfSingleCellsIsTheirSweep() throws {
    for kind in [HookKind.z, .pattern, .v] {
      let sweep = try result(try Sweep(kind, layers: [0, 2], by: .head, at: .index(4)))
      let list = sweep.cells.map { cell in
        ListedCell(
          name: "",
          patches: [
            Patch(HookPoint(kind, layer: cell.layer), head: cell.head, place: cell.place)
          ])
      }
      #expect(try result(try Sweep(name: "cells", list: list)).patched == sweep.patched)
    }
  }

  @Test func listsThatDoNotFitAreRefused() throws {
    let config = runs.model.config
    for patch in [
      Patch(HookPoint(.z, layer: 0), head: config.heads), Patch(HookPoint(.z, layer: 0), head: -1),
      Patch(HookPoint(.z, layer: config.layers)),
      Patch(HookPoint(.mlpPost, layer: 0), neuron: config.mlpWidth),
    ] {
      let sweep = try Sweep(name: "cells", list: [ListedCell(name: "x", patches: [patch])])
      #expect(throws: PatchingError.self, "\(patch)") { try runs.engine().require([sweep]) }
    }
    for patch in [
      Patch(HookPoint(.unembed)), Patch(HookPoint(.residPre, layer: 0), head: 0),
      Patch(HookPoint(.z, layer: 0), neuron: 0), Patch(HookPoint(.z, layer: 0), key: .index(0)),
    ] {
      #expect(throws: PatchingError.self, "\(patch)") {
        try Sweep(name: "cells", list: [ListedCell(name: "x", patches: [patch])])
      }
    }
  }
}
