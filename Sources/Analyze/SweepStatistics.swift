import Patching

/// The statistics of a sweep's cells, of the differences patched − unpatched over the pairs, and the
/// q-values of the cells among each other.
struct SweepStatistics {
  let cells: [CellStatistics]
  /// nil for cells that cannot have an effect or have too few pairs.
  let q: [Double?]

  init(
    _ result: SweepResult, resampling: Resampling, method: FalseDiscoveryMethod, threads: Int
  ) {
    let differences = result.cells.indices.map { cell in
      result.pairs(of: cell).map { pair in
        Double(result.patched[cell][pair] ?? .nan)
          - Double(result.baselines[pair].receiving(result.direction))
      }
    }
    cells = resampling.statistics(of: differences, threads: threads)
    q = falseDiscovery(
      zip(cells, differences).map { cell, values in
        values.count < 2 || values.allSatisfy { $0 == 0 } ? nil : cell.p
      }, method: method)
  }

  var columns: PatchFile.Differences {
    PatchFile.Differences(
      mean: cells.map(\.mean), standardError: cells.map(\.standardError),
      median: cells.map(\.median), lower: cells.map { $0.interval?.lower },
      upper: cells.map { $0.interval?.upper }, p: cells.map(\.p), q: q)
  }
}
