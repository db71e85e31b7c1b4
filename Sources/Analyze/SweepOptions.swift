import ArgumentParser
import CacheFormat
import Model
import Patching
import Terminal

/// What is patched or ablated, cell by cell.
struct SweepOptions: ParsableArguments {
  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      """
      Hooks, separated by commas: short names (resid_pre, z, k6), full names or globs; block_every \
      stands for resid_pre,attn_out,mlp_out and head_every for z,q,k,v,pattern.
      """, valueName: "names"))
  var hooks: [String] = []

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      A list of cells in place of --hooks: CSV with a header of some of group, hook, layer, head, pos, \
      src and neuron. Rows of the same group are patched together.
      """, valueName: "file.csv"))
  var cells: String?

  @Option(
    name: .long,
    help: """
      One cell for each layer and position (pos), role (role), head (head), position and head \
      (head-pos), role and head (head-role), head and two positions of a pattern (head-dest-src), single \
      value (neuron), direction of --subspace (direction), or one a layer (all); by default pos for the residual stream and its \
      writers, head inside attention, all elsewhere.
      """)
  var by: SweepAxis?

  @Option(
    name: .long, parsing: .unconditional,
    help: ArgumentHelp(
      """
      The one position where --by leaves it open: a number, a negative one counting from the end, or \
      a role of the prompt file such as S2, subject or END.
      """, valueName: "pos"))
  var pos: Place?

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      Change only the part of each row that lies in the span of these directions: an array [count, \
      width] of float32 or float64.
      """, valueName: "file.npy"))
  var subspace: String?

  @Option(
    name: .long,
    help: "How many neighbouring layers a cell changes at once, from layer - window/2 on.")
  var window = 1

  @Option(
    name: .long,
    help: ArgumentHelp(
      """
      Write all activations of the changed runs as a cache of its own, which lens, attribution, attention \
      and stats read; for one cell, or several that are changed together (--cells).
      """, valueName: "dir"))
  var capture: String?

  func validate() throws {
    if cells != nil {
      guard hooks.isEmpty else { throw ValidationError("Give --hooks or --cells, not both.") }
      guard by == nil, pos == nil, window == 1, subspace == nil else {
        throw ValidationError(
          "--cells says itself what is changed; leave out --by, --pos, --window and --subspace.")
      }
    } else if hooks.isEmpty {
      throw ValidationError("Give --hooks or --cells: what is to be changed.")
    }
  }

  /// One sweep a kind of hook, in the order in which the user named them, or the list of cells.
  ///
  /// - Parameter roles: those of the pairs.
  func sweeps(for config: ModelConfig, roles: [String]) throws -> [Sweep] {
    if let cells { return [try cellList(path: cells, config: config)] }
    let subspaces = try subspace.map { path in
      let rows = try npyRows(path: path)
      do throws(PatchingError) {
        return by == .direction
          ? try rows.map { (row) throws(PatchingError) in try Subspace(rows: [row]) }
          : [try Subspace(rows: rows)]
      } catch {
        throw NPYError(path: path, what: error.description)
      }
    }
    let patterns = hooks.flatMap {
      $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }.flatMap { SweepOptions.groups[$0] ?? [$0] }
    let selector = hookSelector(for: config)
    var layers: [HookKind: Set<Int>] = [:]
    var order: [HookKind] = []
    for name in try patterns.flatMap({ try selector.select([$0]) }) {
      guard let point = HookPoint(name: name) else { continue }
      if layers[point.kind] == nil { order.append(point.kind) }
      layers[point.kind, default: []].formUnion(point.layer.map { [$0] } ?? [])
    }
    return try order.map { kind in
      try Sweep(
        kind, layers: (layers[kind] ?? []).sorted(), by: by, at: pos, window: window,
        roles: roles, subspaces: subspaces ?? [])
    }
  }

  /// Several kinds of hooks by one name, as TransformerLens's `get_act_patch_…_every` sweep them.
  private static let groups = [
    "block_every": ["resid_pre", "attn_out", "mlp_out"],
    "head_every": ["z", "q", "k", "v", "pattern"],
  ]
}

extension SweepAxis: ExpressibleByArgument {
  /// Lists are given as files.
  public init?(argument: String) {
    self.init(rawValue: argument)
    if self == .list { return nil }
  }

  public static var allValueStrings: [String] {
    allCases.filter { $0 != .list }.map(\.rawValue)
  }
}

extension Place: ExpressibleByArgument {
  public init?(argument: String) {
    if argument.isEmpty { return nil }
    if let position = Int(argument) {
      self = .index(position)
    } else {
      self = .role(argument)
    }
  }
}
