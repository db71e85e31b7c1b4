import Model
import Terminal

/// Where the cells of a result are, and what they are called: read off the axes.
extension PatchFile.Sweep {
  var cellCount: Int { effect.count }

  func cell(_ index: Int) -> ResultCell { ResultCell(index, of: self) }

  /// All cells, in the order of the axes.
  var cells: [ResultCell] { (0..<cellCount).map(cell) }

  /// The axes that are none of a hook's own, such as `direction`.
  var otherAxes: [String] { axes.filter { !ResultCell.knownAxes.contains($0) } }

  /// Such as `layer 12 × head 12, all positions`.
  var axesText: String {
    let axes = zip(axes, shape).map { "\(shown($0)) \(grouped($1))" }
    return ([axes.joined(separator: " × ")].filter { !$0.isEmpty } + remarks)
      .joined(separator: ", ")
  }

  /// What is not to be seen from the axes: the positions where no axis has them, and what is unusual.
  private var remarks: [String] {
    var remarks: [String] = []
    if !hasPositions { remarks.append(place.map { "position \($0)" } ?? "all positions") }
    if source != "other" { remarks.append("source \(shown(source))") }
    if window > 1 { remarks.append("windows of \(window) layers") }
    return remarks
  }

  /// The one position, or the role that has it, where no axis says which.
  var place: String? { position.map(String.init) ?? role.map(shown) }

  /// Whether its axes say which positions a cell patches.
  fileprivate var hasPositions: Bool {
    !Set(axes).isDisjoint(with: ["pos", "dest", "role", "cell"])
  }
}

/// One cell of a sweep.
struct ResultCell {
  /// Its number in the sweep.
  let index: Int
  let hook: String
  let layer: Int?
  let head: Int?
  /// The position, or the attending one; counted from the end if negative. nil for all, and where a
  /// role or a list's own name says which.
  let position: Int?
  /// The role that has the position.
  let role: String?
  /// The attended position.
  let key: Int?
  let neuron: Int?
  /// What it is on axes that are none of a hook's own: by axis the label, or the number.
  let others: [String: String]
  /// In words, as `analyze patch` names it, such as `L9 H6 all positions`.
  let name: String
  /// What it is along each axis: the number, or what roles and other axes without numbers of their own
  /// call it. The same in every sweep with these axes.
  let identity: [String]

  fileprivate static let knownAxes = [
    "layer", "head", "pos", "dest", "src", "neuron", "role", "cell",
  ]

  fileprivate init(_ index: Int, of sweep: PatchFile.Sweep) {
    var numbers: [String: Int] = [:]
    var names: [String: String] = [:]
    var others: [String: String] = [:]
    var identity: [String] = []
    var rest = index
    // The last axis runs fastest.
    for (axis, length) in zip(sweep.axes, sweep.shape).reversed() {
      let place = rest % max(1, length)
      rest /= max(1, length)
      let label = sweep.labels[axis]?[place]
      let number = axis == "layer" ? sweep.layers[place] : place
      numbers[axis] = number
      names[axis] = label.map(shown)
      let isOther = !ResultCell.knownAxes.contains(axis)
      if isOther { others[axis] = label ?? String(number) }
      let isNamed = isOther || axis == "role" || axis == "cell"
      identity.append(isNamed ? label ?? String(number) : String(number))
    }
    func text(_ axis: String, _ prefix: String) -> String? {
      numbers[axis].map { "\(prefix)\($0)" + (names[axis].map { " \($0)" } ?? "") }
    }
    func label(_ axis: String) -> String? {
      numbers[axis].map { names[axis] ?? "\(shown(axis)) \($0)" }
    }
    let role = numbers["role"].map { sweep.labels["role"]?[$0] ?? String($0) }
    var parts = [label("cell"), numbers["layer"].map { "L\($0)" }]
    parts += sweep.otherAxes.map(label)
    parts += [numbers["head"].map { "H\($0)" }, numbers["neuron"].map { "N\($0)" }]
    parts += [label("role"), text("pos", "pos "), text("dest", "pos ")]
    if !sweep.hasPositions {
      parts.append(sweep.position.map { "pos \($0)" } ?? sweep.role.map(shown) ?? "all positions")
    }
    parts.append(text("src", "← pos "))
    self.index = index
    hook = sweep.hook
    layer = numbers["layer"]
    head = numbers["head"]
    position = numbers["pos"] ?? numbers["dest"] ?? sweep.position
    self.role = role ?? sweep.role
    key = numbers["src"]
    neuron = numbers["neuron"]
    self.others = others
    name = parts.compactMap { $0 }.joined(separator: " ")
    self.identity = identity.reversed()
  }
}

/// Text of a file fit for one line of a terminal.
func shown(_ text: String) -> String { printable(visible(text)) }
