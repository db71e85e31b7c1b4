import ArgumentParser
import CacheFormat
import Model
import Terminal

/// Whole numbers such as `9,10`, `0-3` or `-2--1`.
struct NumberList: ExpressibleByArgument {
  private let ranges: [ClosedRange<Int>]

  init?(argument: String) {
    var ranges: [ClosedRange<Int>] = []
    for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
      if let number = Int(part) {
        ranges.append(number...number)
        continue
      }
      // The first character may be a sign.
      guard let dash = part.dropFirst().firstIndex(of: "-"), let first = Int(part[..<dash]),
        let last = Int(part[part.index(after: dash)...]), first <= last
      else { return nil }
      ranges.append(first...last)
    }
    self.ranges = ranges
  }

  func contains(_ number: Int?) -> Bool {
    guard let number else { return false }
    return ranges.contains { $0.contains(number) }
  }
}

/// Which cells of a result are listed.
struct CellFilter: ParsableArguments {
  @Option(
    name: [.customLong("hooks"), .customLong("hook")], parsing: .singleValue,
    help: ArgumentHelp(
      "Cells of these hooks only, separated by commas: short names (resid_pre, z, k6), full names or globs.",
      valueName: "names"))
  var hooks: [String] = []

  @Option(help: ArgumentHelp("Cells of these layers only, such as 9,10 or 0-3.", valueName: "list"))
  var layer: NumberList?

  @Option(help: ArgumentHelp("Cells of these heads only.", valueName: "list"))
  var head: NumberList?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Cells at these positions only, attending ones where there are two; negative ones are those of a sweep with --pos.",
      valueName: "list"))
  var pos: NumberList?

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "Cells at the positions with these roles only, separated by commas, such as S2,END.",
      valueName: "names"))
  var role: [String] = []

  @Option(
    help: ArgumentHelp(
      "Cells with an effect of at least this size only, of either sign.", valueName: "x"))
  var minEffect: Double?

  @Option(help: ArgumentHelp("Cells with a q of at most this only.", valueName: "x"))
  var maxQ: Double?

  @Option(
    help: ArgumentHelp(
      "Cells of these metrics only, several separated by commas.", valueName: "names"))
  var metric: [String] = []

  func validate() throws {
    if let minEffect, !(minEffect >= 0 && minEffect.isFinite) {
      throw ValidationError("--min-effect takes a size, a number from 0 on.")
    }
    if let maxQ, !(0...1 ~= maxQ) { throw ValidationError("--max-q takes a number from 0 to 1.") }
  }

  /// Whether anything is asked for.
  var isUsed: Bool {
    !hooks.isEmpty || layer != nil || head != nil || pos != nil || !role.isEmpty || minEffect != nil
      || maxQ != nil
      || !metric.isEmpty
  }

  /// Resolves the names among these sweeps.
  ///
  /// - Throws: `HookSelectionError` or `UsageError` for a name that no sweep has.
  func resolved(among sweeps: [PatchFile.Sweep]) throws -> Resolved {
    let metrics = metric.flatMap { $0.split(separator: ",").map(String.init) }
    if let none = metrics.first(where: { name in !sweeps.contains { $0.metricName == name } }) {
      let known = unique(sweeps.map(\.metricName)).map(shown).joined(separator: ", ")
      throw UsageError("the result has no metric '\(none)'; it has \(known)")
    }
    let wanted = role.flatMap { $0.split(separator: ",").map(String.init) }
    let roles = unique(
      sweeps.flatMap { ($0.labels["role"] ?? []) + ($0.role.map { [$0] } ?? []) })
    if let none = wanted.first(where: { !roles.contains($0) }) {
      let known = roles.isEmpty ? "none" : roles.map(shown).joined(separator: ", ")
      throw UsageError("the result has no role '\(none)'; it has \(known)")
    }
    return Resolved(
      filter: self, layers: hooks.isEmpty ? nil : try layersByHook(sweeps),
      roles: role.isEmpty ? nil : Set(wanted), metrics: metric.isEmpty ? nil : Set(metrics))
  }

  /// The layers that `hooks` choose, by the hook's short name; nil among them for hooks outside the
  /// blocks.
  private func layersByHook(_ sweeps: [PatchFile.Sweep]) throws -> [String: Set<Int?>] {
    var points: [HookPoint] = []
    for sweep in sweeps {
      guard let kind = HookKind.allCases.first(where: { $0.shortName == sweep.hook }) else {
        continue
      }
      points += kind.isInBlock ? sweep.layers.map { HookPoint(kind, layer: $0) } : [HookPoint(kind)]
    }
    let selector = HookSelector(
      defaults: unique(points.map(\.name)), layers: (points.compactMap(\.layer).max() ?? -1) + 1)
    var layers: [String: Set<Int?>] = [:]
    for pattern in hooks.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
      let pattern = String(pattern)
      let named = sweeps.filter { $0.hook == pattern }
      for sweep in named { layers[pattern, default: []].formUnion(sweep.layers + [nil]) }
      guard named.isEmpty else { continue }
      if pattern.contains("-") {
        throw UsageError(
          "a result does not know how many layers the model has; write '\(pattern)' with a layer "
            + "counted from the first one")
      }
      let chosen: [String]
      do throws(HookSelectionError) {
        chosen = try selector.select([pattern])
      } catch {
        guard case .unknown = error else { throw error }
        let known = unique(sweeps.map(\.hook)).map(shown).joined(separator: ", ")
        throw UsageError("the result has no cells of '\(pattern)'; it has \(known)")
      }
      for point in chosen.compactMap(HookPoint.init(name:)) {
        layers[point.kind.shortName, default: []].insert(point.layer)
      }
    }
    return layers
  }

  struct Resolved {
    fileprivate let filter: CellFilter
    fileprivate let layers: [String: Set<Int?>]?
    fileprivate let roles, metrics: Set<String>?

    /// The cells of a sweep that are at the places asked for.
    func cells(of sweep: PatchFile.Sweep) -> [ResultCell] {
      guard takes(sweep) else { return [] }
      return sweep.resultCells.filter(takes)
    }

    /// Whether a sweep's metric and hook are asked for.
    func takes(_ sweep: PatchFile.Sweep) -> Bool {
      (metrics?.contains(sweep.metricName) ?? true)
        && (layers.map { $0[sweep.hook] != nil } ?? true)
    }

    private func takes(_ cell: ResultCell) -> Bool {
      if let layers, layers[cell.hook]?.contains(cell.layer) != true { return false }
      if let roles, !(cell.role.map(roles.contains) ?? false) { return false }
      return (filter.layer?.contains(cell.layer) ?? true)
        && (filter.head?.contains(cell.head) ?? true)
        && (filter.pos?.contains(cell.position) ?? true)
    }

    /// Whether an effect is large, and a q-value small enough.
    func takes(effect: Double?, q: Double?) -> Bool {
      if let least = filter.minEffect, !(abs(effect ?? .nan) >= least) { return false }
      if let most = filter.maxQ, !((q ?? .nan) <= most) { return false }
      return true
    }
  }
}

/// The different texts, in their order.
func unique(_ texts: [String]) -> [String] {
  var seen = Set<String>()
  return texts.filter { seen.insert($0).inserted }
}
