import Model

extension PatchEngine {
  /// What paths put into receivers, for each cell of some pairs.
  ///
  /// Cells that have their senders in common, as when receivers are swept, are one stream.
  func pathEdits(
    _ path: PathPatch, _ parts: [CellsOfPair], _ values: SourceValues, _ pass: PathPass
  ) throws -> [[[Edit]]] {
    struct Place {
      let part, cell: Int
      /// The stream's number, and which of its receivers are the cell's.
      let stream: Int
      let receivers: Range<Int>
    }
    var streams: [PathStream] = []
    var places: [Place] = []
    for (number, part) in parts.enumerated() {
      var numbers: [[AttentionHead]: Int] = [:]
      for (index, cell) in part.cells.enumerated() {
        let heads = path.senders(of: cell)
        let patches = path.patches(of: cell, layerCount: model.config.layers)
        let receivers = part.alignment.sites(of: patches) ?? []
        guard !receivers.isEmpty else { continue }
        let stream: Int
        if let known = numbers[heads] {
          stream = known
        } else {
          let senders = part.alignment.sites(
            of: heads.map { Patch(HookPoint(.z, layer: $0.layer), head: $0.head) })
          stream = streams.count
          numbers[heads] = stream
          streams.append(
            PathStream(
              runs: part.runs,
              senders: try (senders ?? []).map { try values.edit($0, part.runs) },
              receivers: []))
        }
        let first = streams[stream].receivers.count
        streams[stream].receivers += receivers
        places.append(
          Place(
            part: number, cell: index, stream: stream,
            receivers: first..<first + receivers.count))
      }
    }
    let heard = try pass.run(streams, path.definition)
    var edits = parts.map { $0.cells.map { _ in [Edit]() } }
    for place in places {
      edits[place.part][place.cell] = Array(heard[place.stream][place.receivers])
    }
    return edits
  }
}
