/// What is known of a hook and can be added up over the layers.
protocol HookReport {
  var name: String { get set }
  var shape: [Dimension] { get }
  /// Takes in what is known of another hook of the same kind.
  mutating func add(_ other: Self)
}

/// Reports added up by kind and shape, in order of first appearance, with `*` for the layer in their
/// names.
func addedUpByKind<Report: HookReport>(_ reports: [Report]) -> [Report] {
  var kinds: [Report] = []
  var places: [[String]: Int] = [:]
  for report in reports {
    let name = withoutLayer(report.name)
    let key = [name] + report.shape.map { "\($0)" }
    if let place = places[key] {
      kinds[place].add(report)
    } else {
      places[key] = kinds.count
      kinds.append(report)
      kinds[kinds.count - 1].name = name
    }
  }
  return kinds
}

/// `blocks.7.hook_z` → `blocks.*.hook_z`; other names as they are.
private func withoutLayer(_ name: String) -> String {
  let parts = name.split(separator: ".", maxSplits: 2)
  guard parts.count == 3, parts[0] == "blocks", Int(parts[1]) != nil else { return name }
  return "blocks.*.\(parts[2])"
}

/// A sum that stays at the largest number: totals in a manifest are not to be trusted.
func saturatingSum(_ numbers: [Int]) -> Int {
  numbers.reduce(0) {
    let (sum, overflow) = $0.addingReportingOverflow($1)
    return overflow ? .max : sum
  }
}
