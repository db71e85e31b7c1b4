import CacheFormat
import FileIO
import Testing

/// The hook points of a GPT-2 with `layers` layers, in the order in which they fire.
private func defaults(layers: Int) -> [String] {
  let block = [
    "hook_resid_pre", "ln1.hook_scale", "ln1.hook_normalized", "attn.hook_q", "attn.hook_k",
    "attn.hook_v", "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z", "hook_attn_out",
    "hook_resid_mid", "ln2.hook_scale", "ln2.hook_normalized", "mlp.hook_pre", "mlp.hook_post",
    "hook_mlp_out", "hook_resid_post",
  ]
  return ["hook_embed", "hook_pos_embed"]
    + (0..<layers).flatMap { layer in block.map { "blocks.\(layer).\($0)" } }
    + ["ln_final.hook_scale", "ln_final.hook_normalized"]
}

private func optional(layers: Int) -> [String] {
  let block = [
    "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "attn.hook_result",
    "hook_mlp_in",
  ]
  return (0..<layers).flatMap { layer in block.map { "blocks.\(layer).\($0)" } } + ["hook_unembed"]
}

private func selector(layers: Int = 12) -> HookSelector {
  HookSelector(
    defaults: defaults(layers: layers), optional: optional(layers: layers), layers: layers)
}

/// Arguments of TransformerLens 2.18's `get_act_name`, run together, and what it returned.
private let actNames: [(typed: String, fullName: String)] = [
  ("resid_pre5", "blocks.5.hook_resid_pre"),
  ("resid_pre3b", "blocks.3.hook_resid_pre"),
  ("resid_mid11block", "blocks.11.hook_resid_mid"),
  ("resid_post0blocks", "blocks.0.hook_resid_post"),
  ("k6", "blocks.6.attn.hook_k"),
  ("k6a", "blocks.6.attn.hook_k"),
  ("k6m", "blocks.6.attn.hook_k"),
  ("k6 ", "blocks.6.attn.hook_k"),
  ("key2", "blocks.2.attn.hook_k"),
  ("query10", "blocks.10.attn.hook_q"),
  ("value0", "blocks.0.attn.hook_v"),
  ("z0", "blocks.0.attn.hook_z"),
  ("z3blocks", "blocks.3.attn.hook_z"),
  ("attn3", "blocks.3.attn.hook_pattern"),
  ("pattern3", "blocks.3.attn.hook_pattern"),
  ("attn_logits3", "blocks.3.attn.hook_attn_scores"),
  ("attn_scores3", "blocks.3.attn.hook_attn_scores"),
  ("result7", "blocks.7.attn.hook_result"),
  ("pre5", "blocks.5.mlp.hook_pre"),
  ("mlp_pre1", "blocks.1.mlp.hook_pre"),
  ("post2ln1", "blocks.2.mlp.hook_post"),
  ("mlp_post1", "blocks.1.mlp.hook_post"),
  ("scale4ln1", "blocks.4.ln1.hook_scale"),
  ("normalized7ln2", "blocks.7.ln2.hook_normalized"),
  ("scale", "ln_final.hook_scale"),
  ("normalized", "ln_final.hook_normalized"),
  ("embed", "hook_embed"),
  ("pos_embed", "hook_pos_embed"),
  ("unembed", "hook_unembed"),
  ("q_input2", "blocks.2.hook_q_input"),
  ("attn_in2", "blocks.2.hook_attn_in"),
  ("mlp_in2", "blocks.2.hook_mlp_in"),
  ("attn_out3", "blocks.3.hook_attn_out"),
  ("mlp_out3", "blocks.3.hook_mlp_out"),
  ("hook_embed", "hook_embed"),
  ("blocks.3.attn.hook_k", "blocks.3.attn.hook_k"),
]

/// Arguments for which `get_act_name` returns the name of no hook point of GPT-2.
private let nonexistent = [
  "resid_pre3a", "scale4", "scale3attention", "normalized3m", "out3m", "mlp_mid1", "rot_k2",
  "hook_resid_pre", "attn.hook_k", "K6", "embed3", "resid-pre", "resid_pre0-5", "k-", "é3", "3",
]

@Suite struct HookSelectorTests {
  @Test(arguments: actNames)
  func shortNamesMeanWhatTransformerLensMeans(typed: String, fullName: String) throws {
    #expect(try selector().select([typed]) == [fullName])
  }

  @Test(arguments: nonexistent)
  func namesThatTransformerLensGivesNoHookForAreRefused(typed: String) {
    let error = #expect(throws: HookSelectionError.self) { try selector().select([typed]) }
    guard case .unknown(typed, let nearest) = error else {
      Issue.record("\(typed): \(String(describing: error))")
      return
    }
    #expect(!nearest.isEmpty && nearest.count <= 3)
    #expect(error?.exitCode == .usage)
  }

  @Test func aShortNameWithoutALayerMeansEveryLayer() throws {
    #expect(
      try selector(layers: 3).select(["attn_logits"])
        == (0..<3).map { "blocks.\($0).attn.hook_attn_scores" })
    #expect(try selector(layers: 3).select(["result"]).count == 3)
    let oneLayer = HookSelector(defaults: ["blocks.1.attn.hook_z"], layers: 3)
    #expect(try oneLayer.select(["z"]) == ["blocks.1.attn.hook_z"])
  }

  @Test func negativeLayersCountFromTheLast() throws {
    #expect(try selector().select(["resid_pre-1"]) == ["blocks.11.hook_resid_pre"])
    #expect(try selector().select(["k-12"]) == ["blocks.0.attn.hook_k"])
    #expect(try selector().select(["scale-2ln2"]) == ["blocks.10.ln2.hook_scale"])
  }

  @Test(arguments: ["k12", "resid_pre-13", "q99999999999999999999", "z-9223372036854775808"])
  func layersThatTheModelLacksAreRefused(typed: String) {
    let error = #expect(throws: HookSelectionError.self) { try selector().select([typed]) }
    guard case .layerOutOfRange(typed, _, 12) = error else {
      Issue.record("\(typed): \(String(describing: error))")
      return
    }
  }

  @Test func starMeansTheDefaults() throws {
    #expect(try selector().select(["*"]) == defaults(layers: 12))
    #expect(try selector().select(["*"]).count == 208)
  }

  @Test func globsSpanDotsAndReachOptionalHooksOnlyIfNoDefaultMatches() throws {
    #expect(try selector().select(["blocks.0.*"]).count == 17)
    #expect(try selector().select(["blocks.[0-2].hook_resid_p*"]).count == 6)
    #expect(try selector().select(["blocks.1[!0].attn.hook_?"]).count == 4)
    #expect(try selector().select(["*hook_?_input"]).count == 36)
    #expect(try selector().select(["*.attn.hook_?_input"]).count == 36)
    #expect(try selector().select(["blocks.0.attn.*"]).count == 6)
    #expect(try selector().select(["blocks.*.hook_*_in"]).count == 24)
  }

  @Test func bothSpellingsOfTheSplitInputs() throws {
    let ours = "blocks.4.hook_q_input"
    let theirs = "blocks.4.attn.hook_q_input"
    #expect(try selector().select([ours, theirs]) == [ours])
    let later = HookSelector(defaults: [theirs], layers: 12)
    #expect(try later.select([ours]) == [theirs])
  }

  @Test func orderIsThatOfTheHooksAndNothingIsTwice() throws {
    let chosen = try selector(layers: 2).select(["logits, z,z0", "q_input1", "embed"])
    #expect(
      chosen == [
        "hook_embed", "blocks.0.attn.hook_z", "blocks.1.attn.hook_z", "blocks.1.hook_q_input",
        "hook_unembed",
      ])
  }

  @Test(arguments: [
    ("rezid_pre3", "resid_pre3"), ("resid_prev", "resid_pre"), ("scale4", "scale4ln1"),
    ("blocks.0.hook_resid_prev", "blocks.0.hook_resid_pre"), ("resid_*", "*resid_*"),
    ("attn-out", "attn_out"), ("patern-1", "pattern-1"), ("hook_embd", "hook_embed"),
  ])
  func theNearestNameComesFirst(typed: String, meant: String) throws {
    let error = #expect(throws: HookSelectionError.self) { try selector().select([typed]) }
    guard case .unknown(_, let nearest) = error else {
      Issue.record("\(typed): \(String(describing: error))")
      return
    }
    #expect(nearest.first == meant)
  }

  @Test func whatIsSaid() {
    #expect(
      HookSelectionError.layerOutOfRange(pattern: "k12", layer: "12", layers: 12).description
        == "'k12' names layer 12 of a model with 12 layers; they are 0 to 11, "
        + "or -12 to -1 from the end")
    let error = #expect(throws: HookSelectionError.self) { try selector().select(["rezid_pre"]) }
    #expect(
      error?.description == "no hook point is called 'rezid_pre'; "
        + "nearest: resid_pre, resid_mid, resid_post (`analyze hooks` lists all)")
  }

  @Test func emptyEntriesAreRefused() {
    for list in ["", " ", "z,,q", "z,"] {
      #expect(throws: HookSelectionError.emptyPattern) { try selector().select([list]) }
    }
    #expect(throws: HookSelectionError.unknown(pattern: "z", nearest: [])) {
      try HookSelector(defaults: [], layers: 0).select(["z"])
    }
  }
}
