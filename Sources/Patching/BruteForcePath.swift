import Model

/// A path patched by whole forward passes from the tokens: step by step as the definition has it, with
/// nothing reused.
struct BruteForcePath {
  private let path: PathPatch
  private let tokens: [Int32]
  private let model: GPT2
  private let pass: ForwardPass
  /// Every head's z in the receiving run, by layer. [T, H, K]
  private let z: [HookPoint: Matrix]

  /// - Parameter tokens: of the receiving run.
  /// - Throws: `PassError`.
  init(_ path: PathPatch, tokens: [Int32], model: GPT2, pass: ForwardPass) throws {
    self.path = path
    self.tokens = tokens
    self.model = model
    self.pass = pass
    let hooks = Set((0..<model.config.layers).map { HookPoint(.z, layer: $0) })
    var z: [HookPoint: Matrix] = [:]
    try pass.run(
      tokens: [tokens], hooks: PassHooks(reading: hooks) { z[$0.hook] = copy(of: $0) })
    self.z = z
  }

  /// Runs the patched run; what it ends with is in the pass.
  ///
  /// - Parameters:
  ///   - senders: what puts the source's values into z, by hook.
  ///   - receivers: parts of hook_q, hook_k and hook_v, for direct edges of their inputs, or of the last
  ///     hook_resid_post.
  /// - Throws: `PassError`.
  func patch(_ senders: [HookPoint: [Edit]], receivers: [Site]) throws {
    switch path.definition {
    case .throughMLPs: try throughMLPs(senders, receivers)
    case .direct: try direct(senders, receivers)
    }
  }

  private func apply(_ edits: [Edit], to activation: Activation) {
    guard let base = activation.sequence(0).baseAddress else { return }
    for edit in edits { edit.apply(toWhole: base, length: tokens.count, config: model.config) }
  }

  private func throughMLPs(_ senders: [HookPoint: [Edit]], _ receivers: [Site]) throws {
    var heard: [HookPoint: Matrix] = [:]
    let inputs = Set(receivers.map(\.hook))
    try pass.run(
      tokens: [tokens],
      hooks: PassHooks(editing: Set(z.keys).union(inputs)) { activation in
        if inputs.contains(activation.hook) { heard[activation.hook] = copy(of: activation) }
        guard let frozen = z[activation.hook] else { return }
        _ = activation.sequence(0).update(fromContentsOf: frozen.values)
        apply(senders[activation.hook] ?? [], to: activation)
      })
    try pass.run(
      tokens: [tokens],
      hooks: PassHooks(editing: inputs) { activation in
        guard let values = heard[activation.hook] else { return }
        let own = receivers.filter { $0.hook == activation.hook }
        apply(own.map { Edit(site: $0, values: values, isOfSource: false) }, to: activation)
      })
  }

  private func direct(_ senders: [HookPoint: [Edit]], _ receivers: [Site]) throws {
    let writes = senders.flatMap { hook, edits in
      edits.map { (layer: hook.layer ?? 0, rows: write($0)) }
    }.sorted { $0.layer < $1.layer }
    let (width, heads) = (model.config.width, model.config.heads)
    let sites = Dictionary(grouping: receivers, by: \.hook)
    try pass.run(
      tokens: [tokens],
      hooks: PassHooks(editing: Set(sites.keys)) { activation in
        let rows = activation.sequence(0)
        let isEnd = activation.hook.kind == .residPost
        let heard = writes.filter { isEnd || $0.layer < activation.hook.layer ?? 0 }
        for site in sites[activation.hook] ?? [] {
          for position in site.positions {
            let place = isEnd ? position : position * heads + (site.head ?? 0)
            for d in 0..<width {
              rows[place * width + d] += heard.reduce(Float(0)) { $0 + $1.rows[position, d] }
            }
          }
        }
      })
  }

  /// (z_source − z_receiving) W_O of one sender. [T, D]
  private func write(_ edit: Edit) -> Matrix {
    let config = model.config
    let (inner, head) = (config.heads * config.headWidth, edit.site.head ?? 0)
    let own = head * config.headWidth..<(head + 1) * config.headWidth
    let written = Matrix(rows: tokens.count, columns: config.width)
    guard let before = z[edit.hook] else { return written }
    let change = Matrix(rows: tokens.count, columns: inner, values: Array(before.values))
    edit.apply(toWhole: change.pointer, length: tokens.count, config: config)
    for i in 0..<change.count { change.pointer[i] -= before.pointer[i] }
    model.blocks[edit.hook.layer ?? 0].output.multiply(
      change.pointer + own.lowerBound, rows: tokens.count, stride: inner, inner: own,
      columns: 0..<config.width, bias: nil, into: written.pointer, stride: config.width,
      scratch: MultiplyScratch())
    return written
  }
}
