import COpenBLAS

/// The one file of the forward pass that calls OpenBLAS.
public enum BLAS {
  /// The name of the kernels that OpenBLAS chose for this CPU. The last bits of a product depend
  /// on it.
  public static var kernelName: String { String(cString: openblas_get_corename()) }

  /// Makes each product run on the thread that asks for it. Patchbay runs whole batches side by
  /// side instead, which keeps every core busy and results independent of the number of threads.
  public static func useCallingThreadOnly() { openblas_set_num_threads(1) }

  /// y = x W, or y += x W.
  ///
  /// - Parameters:
  ///   - x: `rows` rows of `inner` values, `xStride` apart.
  ///   - w: [inner, columns], rows `wStride` apart.
  ///   - y: `rows` rows of `columns` values, `yStride` apart.
  static func multiply(
    _ x: UnsafePointer<Float>, rows: Int, stride xStride: Int,
    by w: UnsafePointer<Float>, inner: Int, columns: Int, stride wStride: Int,
    into y: UnsafeMutablePointer<Float>, stride yStride: Int, adding: Bool
  ) {
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows), blasint(columns), blasint(inner),
      1, x, blasint(xStride), w, blasint(wStride), adding ? 1 : 0, y, blasint(yStride))
  }

  /// y += x Wᵀ with `w` [columns, inner], such as the unembedding [V, D].
  static func multiplyTransposed(
    _ x: UnsafePointer<Float>, rows: Int, by w: Matrix, addingTo y: UnsafeMutablePointer<Float>
  ) {
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasTrans, blasint(rows), blasint(w.rows), blasint(w.columns),
      1, x, blasint(w.columns), w.pointer, blasint(w.columns), 1, y, blasint(w.rows))
  }
}
