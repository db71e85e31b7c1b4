import Synchronization

/// W_U and b_U: what takes a row [D] of ln_final.hook_normalized to the logits [V].
///
/// Columns of single tokens are made from the checkpoint as they are asked for. The matrix of all, which
/// takes as much memory as the token embedding, is made when whole products first need it.
///
/// Thread safety: safe to use from any thread.
public final class Unembedding: Sendable {
  /// What is folded into the rows of the checkpoint's matrix: row x of a token becomes
  /// w ∘ x − mean(w ∘ x) − shift.
  struct Folding: Sendable {
    /// [D] each.
    let weight, shift: [Double]
  }

  /// [V, D], the transpose of W_U before it is folded.
  private let head: Matrix
  private let folding: Folding?
  /// [1, V]; nil stands for zeros.
  public let bias: Matrix?
  private let threads: Int
  private let packed = Mutex<Linear?>(nil)

  /// - Parameter threads: how many fold the matrix of all.
  init(_ head: Matrix, folding: Folding? = nil, bias: Matrix?, threads: Int) {
    self.head = head
    self.folding = folding
    self.bias = bias
    self.threads = threads
  }

  /// [D, V] for whole products.
  public var linear: Linear {
    packed.withLock { packed in
      if let packed { return packed }
      let made = Linear(transposed: matrix(), bias: bias)
      packed = made
      return made
    }
  }

  /// W_U[:, token], [D].
  ///
  /// - Precondition: the token is in the vocabulary.
  public func column(_ token: Int) -> [Float] {
    [Float](unsafeUninitializedCapacity: head.columns) { values, count in
      if let base = values.baseAddress { copyColumn(token, to: base) }
      count = head.columns
    }
  }

  /// The logits of some tokens, summed in double precision, by row.
  ///
  /// - Parameter rows: `count` rows [D] of ln_final.hook_normalized.
  /// - Precondition: the tokens are in the vocabulary.
  public func logits(
    of rows: UnsafePointer<Float>, count: Int, tokens: [Int32]
  ) -> [[Float]] {
    let columns = tokens.map { column(Int($0)) }
    return (0..<count).map { number in
      let x = rows + number * head.columns
      return zip(tokens, columns).map { token, column in
        var sum = Double(bias?.pointer[Int(token)] ?? 0)
        for d in column.indices { sum += Double(x[d]) * Double(column[d]) }
        return Float(sum)
      }
    }
  }

  /// The transpose of W_U, [V, D]; the checkpoint's own where nothing is folded.
  func matrix() -> Matrix {
    guard folding != nil else { return head }
    let result = Matrix(rows: head.rows, columns: head.columns)
    head.forRows(threads: threads) { copyColumn($0, to: result.row($0)) }
    return result
  }

  private func copyColumn(_ token: Int, to out: UnsafeMutablePointer<Float>) {
    let row = head.row(token)
    guard let folding else { return out.update(from: row, count: head.columns) }
    let mean = dot(row, folding.weight) / Double(head.columns)
    folding.weight.withUnsafeBufferPointer { weight in
      folding.shift.withUnsafeBufferPointer { shift in
        for i in 0..<head.columns {
          out[i] = Float(weight[i] * Double(row[i]) - mean - shift[i])
        }
      }
    }
  }
}
