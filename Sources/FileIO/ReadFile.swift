import Glibc

/// The bytes of a small file.
///
/// - Parameter limit: the most bytes that a file of this kind may have; a larger one is refused
///   before anything is allocated.
public func readFile(_ path: String, limit: Int) throws(FileError) -> [UInt8] {
  let file = try MappedFile(path: path)
  guard file.count <= limit else { throw FileError(.tooLarge, path, errno: EFBIG) }
  return withExtendedLifetime(file) { [UInt8](file.bytes) }
}
