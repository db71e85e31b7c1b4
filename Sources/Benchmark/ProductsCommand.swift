import ArgumentParser
import COpenBLAS
import Foundation
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
  private static let shapes = [(768, 768), (768, 3072), (3072, 768)]

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
          let sides = (0..<threads).map { _ in Side(rows: rows, inner: inner, columns: columns) }
          let (ours, theirs) = rates(sides)
          cells += [significant(ours, 3), significant(theirs, 3)]
          ratio = ours / theirs
        }
        table.add(cells + [fixed(ratio, 2)])
      }
    }
    for line in table.lines() { print(line) }
  }

  /// What one thread works on.
  private final class Side: @unchecked Sendable {
    let (rows, inner, columns): (Int, Int, Int)
    let x, w, y: Matrix
    let linear: Linear
    let scratch = MultiplyScratch()

    init(rows: Int, inner: Int, columns: Int) {
      (self.rows, self.inner, self.columns) = (rows, inner, columns)
      x = Matrix(rows: rows, columns: inner, values: Side.values(rows * inner))
      w = Matrix(rows: inner, columns: columns, values: Side.values(inner * columns))
      y = Matrix(rows: rows, columns: columns)
      linear = Linear(w, bias: nil)
    }

    static func values(_ count: Int) -> [Float] {
      (0..<count).map { Float(($0 &* 2_654_435_761) & 1023) / 1024 - 0.5 }
    }

    func ours() { linear.apply(x.pointer, rows: rows, into: y.pointer, scratch: scratch) }

    func theirs() {
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows), blasint(columns),
        blasint(inner), 1, x.pointer, blasint(inner), w.pointer, blasint(columns), 0, y.pointer,
        blasint(columns))
    }
  }

  /// GFLOPS of both.
  private func rates(_ sides: [Side]) -> (ours: Double, theirs: Double) {
    let work = 2e-9 * Double(sides[0].rows * sides[0].inner * sides[0].columns)
    let times = max(1, Int(2 / work))
    func rate(_ body: @escaping @Sendable (Side) -> Void) -> Double {
      work * Double(times * sides.count)
        / seconds {
          onThreads(sides.count) { thread in
            for _ in 0..<times { body(sides[thread]) }
          }
        }
    }
    var (ours, theirs): ([Double], [Double]) = ([], [])
    for run in 0...runs {
      let pair = (rate { $0.ours() }, rate { $0.theirs() })
      if run > 0 {
        ours.append(pair.0)
        theirs.append(pair.1)
      }
    }
    return (median(ours), median(theirs))
  }
}
