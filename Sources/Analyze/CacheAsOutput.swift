import FileIO

/// Results that would lie among the files of a cache.
struct CacheAsOutput: ReportableError {
  let directory: String

  var description: String {
    "\(shown(directory)) is a cache, which is never written to again; give --out another directory"
  }
  var exitCode: SysExit { .cannotCreate }
}
