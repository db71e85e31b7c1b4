import CacheFormat
import Model

/// Which cells of which pairs run as one pass.
extension PatchEngine {
  /// Batches that each of several threads has at least, where there are enough rows, so that all are busy
  /// to the end, even where one core is slower than another.
  private static let batchesPerThread = 4
  /// Batches are not meant to have fewer rows, where the threads have work all the same: the weights are read from
  /// memory for each.
  private static let fewestRows = 36
  /// The most bytes of cached arrays that a thread keeps of several pairs.
  private static let groupBytes = 128 << 20

  /// What runs as one pass.
  struct Batch: Sendable {
    /// By pair, in their order.
    let parts: [PairCells]
    /// The pairs whose cells are put into order together; its other cells are in the batches before and after.
    let group: Range<Int>
  }

  /// Some cells of a pair, which run in the same pass.
  struct PairCells: Sendable {
    let pair: Int
    let cells: [Int]
  }

  /// Cells in batches of about `rowsPerPass` rows, and at least some batches a thread.
  ///
  /// Of a group of neighbouring pairs, cells that enter at the same block run together, whosever they
  /// are: so products are large from the first block of a batch on. Such batches become shorter from the
  /// first to the last, so that no thread is idle for long at the end.
  func batches(
    of cells: [Cell], _ sweep: Sweep, _ pairs: [PatchingPair], _ source: PatchSource,
    prompts: [Prompt], isKnown: (Int, Int) -> Bool
  ) -> [Batch] {
    // Many pairs have the same alignment, and then the same shape by cell: nil where there is no such
    // cell.
    let alignments = pairs.map { alignment(of: $0, source == .otherRun, prompts) }
    var shapes: [Alignment: [CellShape?]] = [:]
    for alignment in alignments where shapes[alignment] == nil {
      shapes[alignment] = cells.map { shape(of: $0, sweep, alignment) }
    }
    let rows = alignments.map { (shapes[$0] ?? []).reduce(0) { $0 + ($1?.rows ?? 0) } }
    let limit = min(rowsPerPass, PatchEngine.rowLimit(of: rows.reduce(0, +), threads: threads))
    return groups(rows: rows, limit: limit, lengths: alignments.map(\.length)).flatMap { group in
      var members: [Member] = []
      for pair in group {
        for (number, shape) in (shapes[alignments[pair]] ?? []).enumerated() {
          guard let shape, !isKnown(number, pair) else { continue }
          members.append(Member(pair: pair, cell: number, shape: shape))
        }
      }
      members.sort { $0.order < $1.order }
      return PatchEngine.cut(members, rows: limit).map { Batch(parts: $0, group: group) }
    }
  }

  /// Rows of a batch, of so many on all threads.
  static func rowLimit(of rows: Int, threads: Int) -> Int {
    guard threads > 1 else { return max(1, rows) }
    let even = max(1, rows / threads)
    return max(even / batchesPerThread, min(even, fewestRows))
  }

  /// Neighbouring cells together, as many as have so many rows, or one. Those that can begin alike are not parted
  /// if they have no more.
  private static func cut(_ members: [Member], rows limit: Int) -> [[PairCells]] {
    var batches: [[PairCells]] = []
    var cells: [Int: [Int]] = [:]  // by pair
    var size = 0
    func close() {
      if !cells.isEmpty {
        batches.append(cells.sorted { $0.key < $1.key }.map { PairCells(pair: $0, cells: $1) })
      }
      (cells, size) = ([:], 0)
    }
    func needRoom(for rows: Int) {
      if size > 0, size + rows > limit { close() }
    }
    var first = 0
    while first < members.count {
      let alike = members[first...].prefix { members[first].canBeginLike($0) }
      let rows = alike.reduce(0) { $0 + $1.shape.rows }
      if rows <= limit { needRoom(for: rows) }
      for member in alike {
        needRoom(for: member.shape.rows)
        cells[member.pair, default: []].append(member.cell)
        size += member.shape.rows
      }
      first += alike.count
    }
    close()
    return batches
  }

  private struct Member {
    let pair, cell: Int
    let shape: CellShape

    /// Cells that can begin alike, and so be one run for a while, are neighbours.
    var order: (Int, Int, Int, Int) { (shape.block, pair, shape.start, cell) }

    func canBeginLike(_ other: Member) -> Bool {
      guard pair == other.pair else { return false }
      return cell == other.cell
        || (shape.hasSeveralSites || other.shape.hasSeveralSites)
          && (shape.block, shape.start) == (other.shape.block, other.shape.start)
    }
  }

  /// What a cell of a pair asks of a pass.
  private struct CellShape {
    let rows: Int
    /// The one that it enters at. Cells of paths, which have their senders in common, are not told apart.
    let block: Int
    /// The first position that it changes.
    let start: Int
    let hasSeveralSites: Bool
  }

  private func shape(of cell: Cell, _ sweep: Sweep, _ alignment: Alignment) -> CellShape? {
    guard let sites = sites(sweep, cell, alignment) else { return nil }
    guard let first = sites.first, let start = sites.map(\.positions.lowerBound).min() else {
      return CellShape(rows: 0, block: 0, start: 0, hasSeveralSites: false)
    }
    return CellShape(
      rows: alignment.length - start,
      block: sweep.path == nil ? Entry(first.hook).firstAttention(of: model.config.layers) : 0,
      start: start, hasSeveralSites: sites.count > 1)
  }

  /// Neighbouring pairs whose cells are put into order together. A pair whose cells take a good part of a
  /// pass is joined by as many as fill a pass at every block, if their arrays fit into `groupBytes`; smaller
  /// ones make one pass, so that no array is read twice.
  ///
  /// - Parameters:
  ///   - rows: of all cells of a pair.
  ///   - limit: rows of a pass.
  private func groups(rows: [Int], limit: Int, lengths: [Int]) -> [Range<Int>] {
    // Queries, keys, values, z, outputs and streams.
    let bytesPerPosition = 9 * 4 * model.config.width * model.config.layers
    var groups: [Range<Int>] = []
    var (size, bytes) = (0, 0)
    for pair in rows.indices {
      let passes = rows[pair] > limit / 2 ? model.config.layers : 1
      let own = lengths[pair] * bytesPerPosition
      if pair == 0 || size + rows[pair] > passes * limit
        || bytes + own > PatchEngine.groupBytes
      {
        groups.append(pair..<pair)
        (size, bytes) = (0, 0)
      }
      groups[groups.count - 1] = groups[groups.count - 1].lowerBound..<pair + 1
      size += rows[pair]
      bytes += own
    }
    return groups
  }
}
