import Patching

/// What the parts of a sweep are called.
extension Sweep {
  /// Which positions are changed where no axis says it.
  var placeText: String {
    if let path { return path.description }
    return switch place {
    case nil: "all positions"
    case .index(let position): "position \(position)"
    case .role(let role): "position \(role)"
    }
  }

  /// The names of the places on axes that have more than numbers, by axis.
  var axisLabels: [String: [String]] {
    switch axis {
    case .role, .headRole: ["role": roles]
    case .direction: ["direction": subspaces.indices.map { "direction \($0)" }]
    case .list: ["cell": list.map(\.name)]
    default: [:]
    }
  }

  /// A cell in words, such as `L5 H1 all positions` or `L0 pos 10 ␣John`.
  ///
  /// - Parameter token: the token at a position, where that means the same in every pair.
  func name(of cell: Cell, token: (Int) -> String?) -> String {
    if let number = cell.number { return list[number].name }
    var parts = [
      cell.layer.map { "L\($0)" }, cell.direction.map { "direction \($0)" },
      cell.head.map { "H\($0)" }, cell.neuron.map { "N\($0)" },
    ]
    switch cell.place {
    case nil: if path == nil { parts.append("all positions") }
    case .role(let role): parts.append(role)
    case .index(let position):
      parts += ["pos \(position)", axis.hasPositions ? token(position) : nil]
    }
    switch cell.key {
    case nil: break
    case .role(let role): parts.append("← \(role)")
    case .index(let position): parts += ["← pos \(position)", token(position)]
    }
    return parts.compactMap { $0 }.joined(separator: " ")
  }
}
