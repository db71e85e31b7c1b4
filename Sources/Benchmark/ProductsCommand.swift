import ArgumentParser
import COpenBLAS
import Model
import Terminal

/// Our matrix products beside OpenBLAS's, which chooses its kernel by the processor.
struct ProductsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "products",
    abstract: "Matrix products with GPT-2 small's weights, ours beside cblas_sgemm.")

  @Option(name: .long, help: "Runs, of which the median counts; the two take turns.")
  var runs = 7

  /// Inner size and columns of query, key, value and output; of mlpIn; of mlpOut.
  static let shapes = [(768, 768), (768, 3072), (3072, 768)]

  func run() throws {
    openblas_set_num_threads(1)
    let name = String(cString: openblas_get_corename())
    print("\(machineLine()); \(Linear.arithmetic) beside OpenBLAS \(name), GFLOPS of all threads")
    var table = Table(Array(repeating: .right, count: 7))
    table.add([
      "inner × columns", "rows", "ours, 1 thread", "sgemm", "ours, 2 threads", "sgemm", "ratio",
    ])
    for (inner, columns) in ProductsCommand.shapes {
      for rows in [16, 64, 264, 1024] {
        var cells = ["\(inner) × \(columns)", "\(rows)"]
        var ratio = 0.0
        for threads in 1...2 {
          let sides = (0..<threads).map { _ in
            ProductSide(rows: rows, inner: inner, columns: columns)
          }
          let (ours, theirs) = rates(sides)
          cells += [significant(ours, 3), significant(theirs, 3)]
          ratio = ours / theirs
        }
        table.add(cells + [fixed(ratio, 2)])
      }
    }
    for line in table.lines() { print(line) }
  }

  /// GFLOPS of both.
  private func rates(_ sides: [ProductSide]) -> (ours: Double, theirs: Double) {
    var (ours, theirs): ([Double], [Double]) = ([], [])
    for run in 0...runs {
      let pair = (rate(sides) { $0.ours() }, rate(sides) { $0.theirs() })
      if run > 0 {
        ours.append(pair.0)
        theirs.append(pair.1)
      }
    }
    return (median(ours), median(theirs))
  }
}
