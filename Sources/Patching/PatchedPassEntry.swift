import CKernels
import Model

/// How runs join a patched pass, and which rows they bring.
extension PatchedPass {
  /// Makes room for every row that attention can change, as far as a fork does not leave it to its parent, and
  /// lets runs join.
  func enterAttention(_ layer: Int) throws -> [AttentionWork] {
    let all = 0..<config.heads
    var next: [Slot] = []
    var work: [AttentionWork] = []
    /// By new slot, those whose rows it goes on with: the run's own or its parent's, and where these are not
    /// all, then those of the run that they come from.
    var origins: [[Slot]] = []
    func goOn(_ item: Int, from number: Int, as fork: Fork? = nil) {
      var slot = slots[number]
      let known = [slot] + (slot.parent.flatMap { slotOfItem[$0] }.map { [slots[$0]] } ?? [])
      slot.item = item
      slot.parent = fork.flatMap { $0.end == nil ? nil : $0.parent }
      slot.rows = slot.start..<(fork?.end ?? items[item].runs.length)
      let edited = items[item].edits.filter {
        $0.hook.layer == layer && $0.hook.kind.isBeforeQueries
      }
      let changed = (known.map(\.rows) + edited.map(\.positions)).hull.clamped(to: slot.rows)
      work.append(AttentionWork(changed: slot.reusesRows ? changed : slot.rows, heads: all))
      next.append(slot)
      origins.append(known)
    }
    for index in slots.indices { goOn(slots[index].item, from: index) }
    for (number, fork) in forking[layer] ?? [] {
      guard let parent = slotOfItem[fork.parent] else {
        preconditionFailure("a run forks from one that is not there")
      }
      goOn(number, from: parent, as: fork)
    }
    for number in joining[.attention(layer)] ?? [] {
      let (slot, attention) = joinAttention(number, layer)
      next.append(slot)
      work.append(attention)
      origins.append([])
    }
    // Nothing moves where all that was there goes on alone with the rows that it has.
    if next.map(\.item) == slots.map(\.item), next.map(\.rows) == slots.map(\.rows) { return work }
    try layOut(&next) { index, slot, rows in
      let width = config.width
      var cached: UnsafePointer<Float>?
      for position in slot.rows {
        let values: UnsafePointer<Float>
        if let origin = origins[index].first(where: { $0.rows.contains(position) }) {
          values = UnsafePointer(stream.pointer + origin.place(of: position) * width)
        } else {
          let all = try cached ?? entryStream(slot.item, layer, items[slot.item].runs)
          cached = all
          values = all + position * width
        }
        (rows + (position - slot.rows.lowerBound) * width).update(from: values, count: width)
      }
    }
    return work
  }

  /// Rows [T, D] of the stream at a block's input: the receiving run's, with the embeddings replaced
  /// where a run's first edit asks for it.
  private func entryStream(
    _ item: Int, _ layer: Int, _ runs: PairRuns
  ) throws -> UnsafePointer<Float> {
    let sum = try runs.array(.receiving, HookPoint(.residPre, layer: layer))
    let embeddings = items[item].edits.filter { [.embed, .posEmbed].contains($0.hook.kind) }
    guard layer == 0, !embeddings.isEmpty else { return UnsafePointer(sum.pointer) }
    let count = runs.length * config.width
    let (tokens, positions) = (row.need(2 * count), row.pointer + count)
    tokens.update(from: try runs.array(.receiving, HookPoint(.embed)).pointer, count: count)
    positions.update(from: try runs.array(.receiving, HookPoint(.posEmbed)).pointer, count: count)
    for edit in embeddings {
      edit.apply(
        to: edit.hook.kind == .embed ? tokens : positions, rows: 0..<runs.length, config: config)
    }
    pb_add(tokens, positions, tokens, count)
    return UnsafePointer(tokens)
  }

  private func joinAttention(_ number: Int, _ layer: Int) -> (Slot, AttentionWork) {
    let item = items[number]
    let (runs, length) = (item.runs, item.runs.length)
    let all = 0..<config.heads
    func slot(_ rows: Range<Int>, start: Int, follows: Bool = false, reuses: Bool = true) -> Slot {
      Slot(
        item: number, start: start, followsSource: follows, reusesRows: reuses, rows: rows,
        offset: 0)
    }
    let start = item.start
    let here = item.edits.filter { Entry($0.hook) == .attention(layer) }
    let inBlock = item.edits.filter { isInBlock($0, layer) }
    let changesInput = here.contains { $0.hook.kind.isBeforeQueries }
    let canReuse =
      runs.holdsKeysAndValues(from: layer)
      && (changesInput || runs.holds(HookPoint(.z, layer: layer)))
    guard canReuse else {
      return (slot(0..<length, start: 0, reuses: false), .init(changed: 0..<length, heads: all))
    }
    if let follow = rowsOfSource(item) {
      return (
        slot(follow..<length, start: follow, follows: true),
        .init(changed: follow..<follow, heads: all)
      )
    }
    if changesInput {
      let inputs = here.filter { $0.hook.kind.isBeforeQueries }
      let changed = inputs.map(\.positions).hull
      let isOfSource = inputs.count == 1 && putsSourceStream(inputs[0])
      return (
        slot(start..<length, start: start),
        isOfSource
          ? .init(changed: changed.lowerBound..<changed.lowerBound, ofSource: changed, heads: all)
          : .init(changed: changed, heads: all)
      )
    }
    // Queries, scores, patterns, z and results at a position change that row alone; keys and values
    // change all from there on.
    let reaches = here.contains { $0.hook.kind == .k || $0.hook.kind == .v }
    let hull = inBlock.map(\.positions).hull
    let attended = here.filter { $0.hook.kind != .z && $0.hook.kind != .result }
    let heads = attended.map { edit in edit.site.head.map { $0..<($0 + 1) } ?? all }.hull
    let rows = hull.lowerBound..<(reaches ? length : hull.upperBound)
    return (
      slot(rows, start: start), .init(changed: hull.lowerBound..<hull.lowerBound, heads: heads)
    )
  }

  /// Whether an edit comes before the next block's attention makes room for all rows.
  private func isInBlock(_ edit: Edit, _ layer: Int) -> Bool {
    (edit.hook.layer ?? (Entry(edit.hook) == .final ? config.layers - 1 : 0)) == layer
  }

  /// Where the first rows that differ between the runs become the source's altogether, they stay so
  /// in all later blocks: what they attend to is the source's too. Returns the first row that is not
  /// one of them; nil if there is none, or it is not known.
  func rowsOfSource(_ item: PatchedRun) -> Int? {
    guard item.edits.count == 1, let edit = item.edits.first, putsSourceStream(edit),
      edit.positions.lowerBound == item.runs.firstDifference,
      edit.positions.upperBound < item.runs.length
    else { return nil }
    return edit.positions.upperBound
  }

  /// Whether rows of a block's input become the source run's.
  private func putsSourceStream(_ edit: Edit) -> Bool {
    edit.hook.kind == .residPre && edit.site.isWholeRows && edit.isOfSource && !edit.adds
  }

  /// The same run with the output of a block, where its first edits are of that, as the input of the next one,
  /// where more is known of its rows.
  func enteringAttention(_ run: PatchedRun) -> PatchedRun {
    let first = run.edits[0].hook
    guard first.kind == .residPost, let layer = first.layer, layer + 1 < config.layers
    else { return run }
    let next = HookPoint(.residPre, layer: layer + 1)
    return PatchedRun(
      runs: run.runs, edits: run.edits.map { $0.hook == first ? $0.moved(to: next) : $0 })
  }

  /// Lets the runs that begin at a place behind the attention of a block join with their changed rows.
  func enter(_ entry: Entry, _ layer: Int) throws {
    guard let numbers = joining[entry] else { return }
    let isLast = layer == config.layers - 1
    var next = slots
    for number in numbers {
      let item = items[number]
      let length = item.runs.length
      var rows = item.edits.filter { isInBlock($0, layer) }.map(\.positions).hull
      if entry == .final || isLast { rows = rows.clamped(to: (length - 1)..<length) }
      let reuses = item.runs.holdsKeysAndValues(from: entry.firstAttention(of: config.layers))
      let start = item.start
      next.append(
        Slot(
          item: number, start: reuses ? start : 0, followsSource: false, reusesRows: reuses,
          rows: rows, offset: 0))
    }
    let known = slots.count
    try layOut(&next) { index, slot, rows in
      let width = config.width
      guard index >= known else {
        rows.update(
          from: stream.pointer + slot.offset * width, count: slot.rows.count * width)
        return
      }
      let runs = items[slot.item].runs
      func cached(_ kind: HookKind) throws -> UnsafePointer<Float> {
        let array = try runs.array(.receiving, HookPoint(kind, layer: layer))
        return UnsafePointer(array.pointer + slot.rows.lowerBound * width)
      }
      let count = slot.rows.count * width
      /// The stream before a branch, and the branch with its edits.
      func add(_ kind: HookKind, to before: HookKind) throws {
        rows.update(from: try cached(kind), count: count)
        for edit in items[slot.item].edits where edit.hook == HookPoint(kind, layer: layer) {
          edit.apply(to: rows, rows: slot.rows, config: config)
        }
        pb_add(try cached(before), rows, rows, count)
      }
      switch items[slot.item].edits[0].hook.kind {
      case .attnOut: try add(.attnOut, to: .residPre)
      case .mlpOut: try add(.mlpOut, to: .residMid)
      case .residPost, .finalScale, .finalNormalized:
        rows.update(from: try cached(.residPost), count: count)
      default: rows.update(from: try cached(.residMid), count: count)
      }
    }
  }

  /// Gives every slot its place in the stream, and its rows to `fill`, which gets the number of the
  /// slot, the slot as it was placed before, and its rows. Empty slots are left out.
  private func layOut(
    _ next: inout [Slot], fill: (Int, Slot, UnsafeMutablePointer<Float>) throws -> Void
  ) throws {
    let count = next.reduce(0) { $0 + $1.rows.count }
    let target = nextStream.need(count * config.width)
    var offset = 0
    for index in next.indices where !next[index].rows.isEmpty {
      try fill(index, next[index], target + offset * config.width)
      next[index].offset = offset
      offset += next[index].rows.count
    }
    slots = next.filter { !$0.rows.isEmpty }
    indexSlots()
    swap(&stream, &nextStream)
  }

  func indexSlots() {
    for number in slotOfItem.indices { slotOfItem[number] = nil }
    for (index, slot) in slots.enumerated() { slotOfItem[slot.item] = index }
  }
}

extension HookKind {
  /// Whether q, k and v are made from it.
  var isBeforeQueries: Bool {
    switch self {
    case .embed, .posEmbed, .residPre, .attnIn, .qInput, .kInput, .vInput, .ln1Scale,
      .ln1Normalized:
      true
    default: false
    }
  }
}

extension [Range<Int>] {
  /// The smallest range that holds all; empty if there are none.
  package var hull: Range<Int> {
    guard let low = map(\.lowerBound).min(), let high = map(\.upperBound).max() else {
      return 0..<0
    }
    return low..<high
  }
}
