import CacheFormat
import FileIO
import Glibc

/// A directory that an analysis writes its results into.
enum ResultsDirectory {
  /// Makes the directory, if it is not there, and keeps other analyses away from it until this process ends:
  /// the files of two would get mixed.
  ///
  /// - Parameter file: one that is to be written into it.
  /// - Throws: `FileError`, `CacheError.cacheAsOutput`, `ResultsInUse`.
  static func make(_ directory: String, for file: String = "patch.json") throws {
    do throws(SystemError) {
      try SystemCalls().makeDirectory(directory)
    } catch {
      guard error.errno == EEXIST else { throw FileError(.create, directory, errno: error.errno) }
      if (try? SystemCalls().list(directory)) == nil {
        throw FileError(.create, directory + "/" + file, errno: ENOTDIR)
      }
      try CacheReader.requireNoCache(in: directory)
    }
    do throws(FileError) {
      try holdDirectory(directory)
    } catch {
      guard error.errno == EWOULDBLOCK else { throw error }
      throw ResultsInUse(directory: directory)
    }
  }

  /// Writes the files of a result. The one that says what the others are goes before they are replaced and
  /// comes last, so that it never stands beside files of another run.
  ///
  /// - Throws: what `others` throws, and `FileError`.
  static func write(
    _ summary: String, _ contents: String, to directory: String, others: () throws -> Void
  ) throws {
    try? SystemCalls().remove("\(directory)/\(summary)")
    try others()
    try replaceFile("\(directory)/\(summary)", with: Array(contents.utf8))
  }
}

/// A directory that another process writes its results into.
private struct ResultsInUse: ReportableError {
  let directory: String

  var description: String {
    "another command is at work on the results in \(directory); wait for it, or give another --out"
  }

  var exitCode: SysExit { .cannotCreate }
}
