import Glibc

/// The bytes of a small file.
///
/// - Parameters:
///   - limit: the most bytes that a file of this kind may have; a larger one is refused before
///     anything is allocated.
///   - followLinks: whether the last component may be a symbolic link.
public func readFile(_ path: String, limit: Int, followLinks: Bool = true) throws(FileError)
  -> [UInt8]
{
  let file = try MappedFile(path: path, followLinks: followLinks)
  guard file.count <= limit else { throw FileError(.tooLarge, path, errno: EFBIG) }
  return withExtendedLifetime(file) { [UInt8](file.bytes) }
}
