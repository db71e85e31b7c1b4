import Model
import Terminal

/// Where the cells of a result are, and what they are called: read off the axes.
extension PatchFile.Sweep {
  var cellCount: Int { effect.count }

  /// What the cells patch, where they are those of a list.
  var listed: [PatchFile.Listed]? { axes == ["cell"] ? cells : nil }

  /// Whether a list of cells can say what its cells patch.
  var isListable: Bool {
    window == 1 && subspace == nil && path == nil
      && (listed != nil
        || Set(axes).isSubset(of: ["layer", "head", "pos", "role", "dest", "src", "neuron"]))
  }

  func cell(_ index: Int) -> ResultCell { ResultCell(index, of: self) }

  /// All cells, in the order of the axes.
  var resultCells: [ResultCell] { (0..<cellCount).map(cell) }

  /// Such as `layer 12 × head 12, all positions`.
  var axesText: String {
    let axes = zip(axes, shape).map { "\(shown($0)) \(grouped($1))" }
    return ([axes.joined(separator: " × ")].filter { !$0.isEmpty } + remarks)
      .joined(separator: ", ")
  }

  /// What is not to be seen from the axes: the positions where no axis has them, and what is unusual.
  private var remarks: [String] {
    var remarks: [String] = []
    if let path {
      remarks.append(path.text)
    } else if !hasPositions {
      let place = position.map(String.init) ?? role.map(shown)
      remarks.append(place.map { "position \($0)" } ?? "all positions")
    }
    if let subspace { remarks.append("a subspace of \(counted(subspace, "dimension"))") }
    if source != "other" { remarks.append("source \(shown(source))") }
    if window > 1 { remarks.append("windows of \(window) layers") }
    return remarks
  }

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
  /// role or the cell's own name says which.
  let position: Int?
  /// The attended position.
  let key: Int?
  let neuron: Int?
  /// What stands for the position, where that is not the same in every pair.
  let role: String?
  /// What it patches, where it is one of a list.
  let listed: PatchFile.Listed?
  /// In words, as `analyze patch` names it, such as `L9 H6 all positions`.
  let name: String
  /// What it is along each axis of the sweep: the number, or what roles and other axes without numbers
  /// of their own call it. The same in every sweep with these axes.
  let identity: [String]

  fileprivate init(_ index: Int, of sweep: PatchFile.Sweep) {
    var numbers: [String: Int] = [:]
    var identity: [String] = []
    var words: [String] = []
    var rest = index
    // The last axis runs fastest.
    for (axis, length) in zip(sweep.axes, sweep.shape).reversed() {
      let place = rest % max(1, length)
      rest /= max(1, length)
      let label = sweep.labels[axis]?[place]
      let number = axis == "layer" ? sweep.layers[place] : place
      numbers[axis] = number
      switch axis {
      case "layer", "head", "pos", "dest", "src", "neuron": identity.append(String(number))
      default:
        identity.append(label ?? String(number))
        words.append(label.map(shown) ?? "\(shown(axis)) \(number)")
      }
    }
    func text(_ axis: String, _ number: Int) -> String {
      let label = axis == "layer" ? nil : sweep.labels[axis]?[number]
      return label.map { "\(number) \(shown($0))" } ?? String(number)
    }
    let position = numbers["pos"] ?? numbers["dest"]
    var name: [String] = []
    if let layer = numbers["layer"] { name.append("L\(layer)") }
    if let head = numbers["head"] { name.append("H\(head)") }
    if let neuron = numbers["neuron"] { name.append("N\(neuron)") }
    name += words.reversed()
    if let position {
      name.append("pos " + text(numbers["pos"] == nil ? "dest" : "pos", position))
    } else if !sweep.hasPositions, sweep.path == nil {
      name.append(sweep.position.map { "pos \($0)" } ?? sweep.role.map(shown) ?? "all positions")
    }
    if let key = numbers["src"] { name.append("← pos " + text("src", key)) }
    self.index = index
    hook = sweep.hook
    listed = sweep.listed?[index]
    let part = listed.flatMap { $0.parts.count == 1 ? $0.parts[0] : nil }
    layer = numbers["layer"] ?? part?.layer
    head = numbers["head"] ?? part?.head
    self.position = position ?? sweep.position ?? part?.pos.flatMap { Int($0) }
    key = numbers["src"] ?? part?.src.flatMap { Int($0) }
    neuron = numbers["neuron"] ?? part?.neuron
    role =
      numbers["role"].flatMap { sweep.labels["role"]?[$0] } ?? sweep.role
      ?? part?.pos.flatMap { Int($0) == nil ? $0 : nil }
    self.name = name.joined(separator: " ")
    self.identity = identity.reversed()
  }
}

/// Text of a file fit for one line of a terminal.
func shown(_ text: String) -> String { printable(visible(text)) }
