import CacheFormat
import Model
import Testing

@testable import Patching

/// The logit difference of a pair with some patches, by a full pass from the tokens that is changed value
/// by value.
struct NaivePatching {
  let runs: CachedRuns
  let task: AnswerTask
  let direction: Direction
  /// The vectors that span what is changed, if not whole rows are: one or two, of a row's width.
  var span: [[Double]] = []
  /// Whether values are added.
  var adds = false

  func logitDifference(
    pair: Int, _ patches: [Patch], values: @escaping (HookPoint, Int) throws -> [Float]
  ) throws -> Float {
    let (clean, corrupted) = (task.pairs[pair].clean, task.pairs[pair].corrupted)
    let (source, receiving) = direction == .denoise ? (clean, corrupted) : (corrupted, clean)
    let length = runs.prompts[receiving].tokens.count
    let pass = ForwardPass(runs.model)
    try pass.run(
      tokens: [runs.prompts[receiving].tokens],
      hooks: PassHooks(editing: Set(patches.map(\.hook))) { activation in
        let values = try values(activation.hook, source)
        let target = activation.sequence(0)
        let axes = activation.hook.kind.axes
        let shape = axes.map { $0.length(in: runs.model.config) ?? length }
        for patch in patches where patch.hook == activation.hook {
          let all = target.indices.filter { index in
            var rest = index
            var place: [HookAxis: Int] = [:]
            for (axis, size) in zip(axes, shape).reversed() {
              place[axis] = rest % size
              rest /= size
            }
            return isAt(place[.position] ?? -1, patch.place, length, task.pairs[pair])
              && (patch.head == nil || place[.head] == patch.head)
              && isAt(place[.keyPosition] ?? -1, patch.key, length, task.pairs[pair])
              && (patch.neuron == nil || place[axes.last ?? .one] == patch.neuron)
          }
          let width = span.first?.count ?? 1
          for first in stride(from: 0, to: all.count, by: width) {
            let row = Array(all[first..<first + width])
            let change = row.map { adds ? values[$0] : values[$0] - target[$0] }
            if span.isEmpty {
              target[row[0]] = adds ? target[row[0]] + values[row[0]] : values[row[0]]
            } else {
              for (i, part) in zip(row, projection(change.map(Double.init))) {
                target[i] = Float(Double(target[i]) + part)
              }
            }
          }
        }
      })
    let answers = try [
      #require(task.pairs[pair].answer), #require(task.pairs[pair].wrongAnswer),
    ]
    let logits = runs.model.unembedding.logits(
      of: pass.lastRow(sequence: 0), count: 1, tokens: answers)[0]
    return logits[0] - logits[1]
  }

  private func isAt(_ position: Int, _ place: Place?, _ length: Int, _ pair: PatchingPair) -> Bool {
    switch place {
    case nil: true
    case .index(let index): position == (index < 0 ? length + index : index)
    case .role(let role): pair.roles[role]?.contains(position) ?? false
    }
  }

  /// Wᵀ (W Wᵀ)⁻¹ W x for the one or two rows of W.
  private func projection(_ x: [Double]) -> [Double] {
    func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    let (a, b) = (span[0], span.count > 1 ? span[1] : span[0].map { _ in 0 })
    let (aa, ab, bb) = (dot(a, a), dot(a, b), span.count > 1 ? dot(b, b) : 1)
    let (ax, bx) = (dot(a, x), dot(b, x))
    let determinant = aa * bb - ab * ab
    let (u, v) = ((bb * ax - ab * bx) / determinant, (aa * bx - ab * ax) / determinant)
    return zip(a, b).map { u * $0 + v * $1 }
  }
}
