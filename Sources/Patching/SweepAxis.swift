/// The cells of a sweep besides its layers.
public enum SweepAxis: String, Sendable, CaseIterable {
  /// One cell a position: layers × positions.
  case position = "pos"
  /// One cell a role, such as the subject, wherever in a prompt it stands: layers × roles.
  case role = "role"
  /// One cell a head, at all positions or one: layers × heads.
  case head = "head"
  /// One cell a head and position: layers × positions × heads.
  case headPosition = "head-pos"
  /// One cell a head and role: layers × roles × heads.
  case headRole = "head-role"
  /// For patterns and scores, one cell a head, attending position and attended position: layers ×
  /// heads × positions × positions.
  case headEdge = "head-dest-src"
  /// One cell a value of a row, such as a neuron of mlp.hook_post, at all positions or one: layers ×
  /// neurons.
  case neuron = "neuron"
  /// One cell a direction that is given, at all positions or one: layers × directions.
  case direction = "direction"
  /// One cell a layer, at all positions or one.
  case all = "all"
  /// The cells of a list, each with what it patches.
  case list = "cell"

  /// Whether each cell has a position of its own.
  public var hasPositions: Bool {
    switch self {
    case .position, .role, .headPosition, .headRole, .headEdge: true
    case .head, .neuron, .direction, .all, .list: false
    }
  }

  /// Whether each cell has a role of its own.
  public var hasRoles: Bool { self == .role || self == .headRole }

  /// Whether each cell has a head of its own.
  public var hasHeads: Bool {
    switch self {
    case .head, .headPosition, .headRole, .headEdge: true
    case .position, .role, .neuron, .direction, .all, .list: false
    }
  }
}
