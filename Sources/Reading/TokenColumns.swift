import Model

/// Columns of W_U, kept: answers come again and again, and a column lies in D places. Used by one
/// thread.
final class TokenColumns {
  private static let most = 4096

  private let unembedding: Unembedding
  private var known: [Int32: [Float]] = [:]

  init(_ unembedding: Unembedding) {
    self.unembedding = unembedding
  }

  /// W_U[:, token], [D].
  ///
  /// - Precondition: the token is in the vocabulary.
  func column(_ token: Int32) -> [Float] {
    if let column = known[token] { return column }
    if known.count == TokenColumns.most { known.removeAll() }
    let column = unembedding.column(Int(token))
    known[token] = column
    return column
  }
}
