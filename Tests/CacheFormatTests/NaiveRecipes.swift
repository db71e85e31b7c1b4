import CacheFormat
import Glibc

/// The recipes as `docs/format.md` has them, one number after the other.
enum NaiveRecipes {
  /// Sixteen partial sums, added in halves.
  static func sum16(_ row: [Float]) -> Float {
    var parts = [Float](repeating: 0, count: 16)
    for (index, value) in row.enumerated() { parts[index % 16] += value }
    for half in [8, 4, 2, 1] { for i in 0..<half { parts[i] += parts[i + half] } }
    return parts[0]
  }

  static func exp(_ x: Float) -> Float {
    if x.isNaN { return x }
    if x < -87.3 { return 0 }
    if x > 88.3 { return .infinity }
    let n = (x * 1.44269504088896341 + 12_582_912) - 12_582_912
    let r = (x - n * 0.693359375) - n * -2.12194440e-4
    var p: Float = 1.98412698e-4
    for term: Float in [1.38888889e-3, 8.33333333e-3, 4.16666667e-2, 1.66666667e-1, 0.5, 1, 1] {
      p = p * r + term
    }
    return scalbn(p, Int(n))
  }

  static func gelu(_ x: Float) -> Float {
    let u: Float = 0.797884560802865 * (x + 0.044715 * ((x * x) * x))
    return x / (1 + exp(-2 * u))
  }

  /// - Returns: the divisor and the normalised values of a row.
  static func layerNorm(_ row: [Float], _ epsilon: Float) -> (scale: Float, values: [Float]) {
    let mean = sum16(row) / Float(row.count)
    let centred = row.map { $0 - mean }
    let scale = (sum16(centred.map { $0 * $0 }) / Float(row.count) + epsilon).squareRoot()
    return (scale, centred.map { $0 / scale })
  }

  static func softmax(_ row: ArraySlice<Float>, seen: Int) -> [Float] {
    let visible = row.prefix(seen)
    let top = visible.reduce(-Float.infinity) { max($0, $1) }
    let exponentials = visible.map { exp($0 - top) }
    let total = sum16(exponentials)
    return (0..<row.count).map { $0 < seen && !total.isNaN ? exponentials[$0] / total : 0 }
  }

  /// The array that a recipe gives.
  ///
  /// - Parameters:
  ///   - sources: its sources' arrays.
  ///   - shape: of the first source.
  static func evaluate(_ recipe: Recipe, _ sources: [[Float]], shape: [Int]) -> [Float] {
    let x = sources[0]
    let rows = x.count / max(1, shape.last ?? 1)
    func row(_ index: Int) -> [Float] { Array(x[index * shape[1]..<(index + 1) * shape[1]]) }
    switch recipe {
    case .sum: return sources.dropFirst().reduce(x) { zip($0, $1).map { $0 + $1 } }
    case .geluNew: return x.map(gelu)
    case .layerNormScale(_, let epsilon):
      return (0..<shape[0]).map { layerNorm(row($0), epsilon).scale }
    case .layerNorm(_, let epsilon):
      return (0..<shape[0]).flatMap { layerNorm(row($0), epsilon).values }
    case .attentionScores(_, _, let divisor):
      let (T, H, K) = (shape[0], shape[1], shape[2])
      var scores: [Float] = []
      for h in 0..<H {
        for i in 0..<T {
          for j in 0..<T {
            var sum: Float = 0
            for d in 0..<K { sum += x[(i * H + h) * K + d] * sources[1][(j * H + h) * K + d] }
            scores.append(j <= i ? sum / divisor : -.infinity)
          }
        }
      }
      return scores
    case .causalSoftmax:
      return (0..<rows).flatMap {
        softmax(x[$0 * shape[2]..<($0 + 1) * shape[2]], seen: $0 % shape[1] + 1)
      }
    case .attentionMix:
      let (H, T) = (shape[0], shape[1])
      let K = sources[1].count / max(1, H * T)
      var z: [Float] = []
      for i in 0..<T {
        for h in 0..<H {
          for d in 0..<K {
            z.append(
              (0...i).reduce(Float(0)) {
                $0 + x[(h * T + i) * T + $1] * sources[1][($1 * H + h) * K + d]
              })
          }
        }
      }
      return z
    case .repeatHeads(_, let heads):
      return (0..<shape[0]).flatMap { t in (0..<heads).flatMap { _ in row(t) } }
    }
  }
}

extension Capture {
  /// The hooks of one block with every recipe there is: D = 21, H = 3, K = 5, M = 35, so that no
  /// row is a multiple of anything.
  static let derivedHooks: [HookSpec] = {
    let stream: [Dimension] = [.positions, .fixed(21)]
    let heads: [Dimension] = [.positions, .fixed(3), .fixed(5)]
    let square: [Dimension] = [.fixed(3), .positions, .positions]
    return [
      HookSpec(name: "embed", shape: stream),
      HookSpec(name: "pos_embed", shape: stream),
      HookSpec(name: "resid_pre", shape: stream, recipe: .sum(["embed", "pos_embed"])),
      HookSpec(
        name: "q_input", shape: [.positions, .fixed(3), .fixed(21)],
        recipe: .repeatHeads("resid_pre", heads: 3)),
      HookSpec(
        name: "ln1.scale", shape: [.positions, .fixed(1)],
        recipe: .layerNormScale("resid_pre", epsilon: 1e-5)),
      HookSpec(
        name: "ln1.normalized", shape: stream, recipe: .layerNorm("resid_pre", epsilon: 1e-5)),
      HookSpec(name: "q", shape: heads),
      HookSpec(name: "k", shape: heads),
      HookSpec(name: "v", shape: heads),
      HookSpec(
        name: "attn_scores", shape: square,
        recipe: .attentionScores(q: "q", k: "k", divisor: 2.236068)),
      HookSpec(name: "pattern", shape: square, recipe: .causalSoftmax("attn_scores")),
      HookSpec(name: "z", shape: heads, recipe: .attentionMix(pattern: "pattern", values: "v")),
      HookSpec(name: "attn_out", shape: stream),
      HookSpec(name: "resid_mid", shape: stream, recipe: .sum(["resid_pre", "attn_out"])),
      HookSpec(name: "mlp.pre", shape: [.positions, .fixed(35)]),
      HookSpec(name: "mlp.post", shape: [.positions, .fixed(35)], recipe: .geluNew("mlp.pre")),
      HookSpec(name: "mlp_out", shape: stream),
      HookSpec(name: "resid_post", shape: stream, recipe: .sum(["resid_mid", "mlp_out"])),
      HookSpec(name: "next.resid_pre", shape: stream, recipe: .sum(["resid_post"])),
    ]
  }()

  /// A capture of those hooks, the derived arrays by naive code.
  static func derived(
    lengths: [Int] = [4, 1, 19, 3], elementType: ElementType = .f32, segmentBytes: Int = 30_000,
    seed: UInt64 = 1
  ) -> Capture {
    var capture = Capture(
      lengths: lengths, hooks: derivedHooks, elementType: elementType, segmentBytes: segmentBytes,
      seed: seed)
    capture.plan.store = "compact"
    capture.deriveArrays()
    return capture
  }

  /// Gives every hook with a recipe the arrays that it says.
  mutating func deriveArrays() {
    for (place, hook) in plan.hooks.enumerated() {
      guard let recipe = hook.recipe else { continue }
      let sources = recipe.sources.compactMap { name in
        plan.hooks.firstIndex { $0.name == name }
      }
      for (prompt, T) in prompts.map(\.tokens.count).enumerated() {
        arrays[place][prompt] = NaiveRecipes.evaluate(
          recipe, sources.map { arrays[$0][prompt] },
          shape: plan.hooks[sources[0]].dimensions(positions: T))
      }
    }
  }
}
