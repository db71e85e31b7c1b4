import FileIO
import Glibc

/// What is wrong with one stored array.
public enum BlockProblem: Error, Equatable, Sendable, CustomStringConvertible {
  /// The header's checksum or magic does not fit.
  case header
  /// The header is sound but belongs to another array, segment or run.
  case identity(String)
  /// The header says what no writer of this format would write.
  case impossible(String)
  /// The stored bytes do not have the checksum that the header has of them.
  case storedChecksum
  /// The stored bytes are right, but what they decode to is not what was written.
  case decodedChecksum
  /// LZ4 could not decode the bytes to the length that the header has.
  case undecodable
  /// What the array's recipe gives is not what was there when the cache was written.
  case derivedChecksum
  /// The bytes between the array and the next one are not zero.
  case padding
  /// It leaves out rows that it shares with another prompt's array, and that cannot be decoded.
  indirect case base(prompt: Int, problem: BlockProblem)

  public var description: String {
    switch self {
    case .header: "its header is damaged"
    case .identity(let found): "in its place stands \(found)"
    case .impossible(let what): "its header says \(what)"
    case .storedChecksum: "its bytes fail their checksum"
    case .decodedChecksum: "it decodes to other values than were written"
    case .undecodable: "it cannot be decompressed"
    case .derivedChecksum: "what is derived from other arrays is not what was captured"
    case .padding: "the bytes after it are not zero"
    case .base(let prompt, let problem):
      "it shares rows with prompt \(prompt), whose array is damaged: \(problem)"
    }
  }
}

/// Everything that can go wrong with a cache, one case a way.
public enum CacheError: ReportableError, Equatable {
  // Opening
  /// There is no such directory, or it holds no manifest.
  case notACache(directory: String)
  /// Other files are to be written into a directory that is a cache.
  case cacheAsOutput(directory: String)
  /// The manifest was written by a later version of the format.
  case newerFormat(file: String, found: Int)
  /// The operating system refused something while reading.
  case unreadable(FileError)
  /// The manifest's checksum fails, or it does not say what a manifest must.
  case badManifest(file: String, what: String)
  /// The plan does not say what a plan must.
  case badPlan(file: String, what: String)
  /// A frozen file is not the one that the manifest or the plan names.
  case wrongDigest(file: String, expected: String, found: String)
  /// `prompts.jsonl` or `pairs.jsonl` has a line that is not what it must be.
  case badLine(file: String, line: Int, what: String)

  // Segments
  case missingSegment(file: String)
  case wrongSize(file: String, expected: Int, found: Int)
  case badSegmentHeader(file: String, what: String)
  case badTrailer(file: String, what: String)
  case badIndex(file: String, what: String)
  case badBlock(file: String, prompt: Int, hook: String, problem: BlockProblem)

  // Asking for what is not there
  case noSuchPrompt(directory: String, prompt: Int, committed: Int, planned: Int)
  case noSuchHook(directory: String, hook: String)
  case wrongCount(hook: String, prompt: Int, expected: Int, given: Int)
  case noSuchRows(hook: String, prompt: Int, rows: Range<Int>, positions: Int)

  // Writing
  case directoryNotEmpty(directory: String)
  /// The directory holds a capture that was interrupted, and nobody asked to resume it.
  case unfinished(directory: String, prompts: Int, planned: Int)
  /// The capture to resume was of something else.
  case otherPlan(directory: String, differences: [String])
  /// Another process is writing.
  case locked(directory: String, by: LockFile.Owner?)
  /// A process of another host was writing and may still be.
  case lockLeft(directory: String, by: LockFile.Owner)
  case cannotCreate(FileError)
  /// The plan, prompts and pairs do not fit each other or the format.
  case unwritablePlan(what: String)
  case arrayTooLarge(hook: String, positions: Int)
  /// Arrays, segments or commits came in another order than the format has.
  case outOfOrder(what: String)
  /// A file of the cache could not be written; the first `safe` prompts are in the cache for good.
  case writeFailed(FileError, directory: String, safe: Int)

  public var exitCode: SysExit {
    switch self {
    case .notACache, .missingSegment, .noSuchPrompt, .noSuchHook: .noInput
    case .unreadable(let error): error.exitCode
    case .directoryNotEmpty, .unfinished, .locked, .lockLeft, .cannotCreate, .cacheAsOutput:
      .cannotCreate
    case .otherPlan: .configuration
    case .writeFailed: .ioError
    case .wrongCount, .noSuchRows, .outOfOrder: .usage
    default: .badData
    }
  }

  public var description: String {
    switch self {
    case .cacheAsOutput(let directory):
      "\(directory) is a cache, which is never written to again; give --out another place"
    case .notACache(let directory):
      "\(directory) is not a cache: it has no file named manifest; "
        + "give the directory that capture wrote to"
    case .newerFormat(let file, let found):
      "\(file) was written by format \(found), this program reads up to "
        + "\(CachePlan.currentFormat); use a newer Patchbay"
    case .unreadable(let error): error.description
    case .badManifest(let file, let what):
      "\(file) is damaged: \(what); cachedump repair makes it anew from the segments"
    case .badPlan(let file, let what): damaged(file, what)
    case .wrongDigest(let file, let expected, let found):
      "\(file) is not the file that the cache was made with: its SHA-256 is "
        + "\(found.prefix(12))…, not \(expected.prefix(12))…; restore it from a copy"
    case .badLine(let file, let line, let what): damaged("line \(line) of \(file)", what)
    case .missingSegment(let file):
      "\(file) is listed in the manifest but not there; restore it from a copy"
    case .wrongSize(let file, let expected, let found):
      "\(file) has \(found) bytes, the manifest says \(expected); restore it from a copy"
    case .badSegmentHeader(let file, let what): damaged("the header of \(file)", what)
    case .badTrailer(let file, let what): damaged("the trailer of \(file)", what)
    case .badIndex(let file, let what): damaged("the index of \(file)", what)
    case .badBlock(let file, let prompt, let hook, let problem):
      "\(file) is damaged at prompt \(prompt), \(hook): \(problem); "
        + "cachedump verify lists all damage, the other arrays can be read"
    default: requestOrWriteDescription
    }
  }

  private var requestOrWriteDescription: String {
    switch self {
    case .noSuchPrompt(let directory, let prompt, let committed, let planned):
      "\(directory) has no prompt \(prompt): "
        + (committed == 0 ? "none" : "prompts 0 to \(committed - 1)") + " of \(planned) are there"
    case .noSuchHook(let directory, let hook):
      "\(directory) has no array named \(hook); cachedump ls --hooks lists those it has"
    case .wrongCount(let hook, let prompt, let expected, let given):
      "\(hook) of prompt \(prompt) has \(expected) values, not \(given)"
    case .noSuchRows(let hook, let prompt, let rows, let positions):
      "\(hook) of prompt \(prompt), which has \(positions) positions, has no rows \(rows)"
    case .directoryNotEmpty(let directory):
      "\(directory) is not empty; give a directory that does not exist yet"
    case .unfinished(let directory, let prompts, let planned):
      "\(directory) holds an unfinished capture, \(prompts) of \(planned) prompts; "
        + "add --resume to go on with it, or give a directory that does not exist yet"
    case .otherPlan(let directory, let differences):
      "\(directory) cannot be resumed, it was begun otherwise: "
        + differences.joined(separator: "; ")
    case .locked(let directory, let owner):
      "\(directory) is being written by \(owner?.description ?? "another process"); "
        + "wait for it to end"
    case .lockLeft(let directory, let owner):
      "\(directory) was being written by \(owner) when this host last saw it; if that process is "
        + "gone, add --break-lock"
    case .cannotCreate(let error) where error.errno == ENOENT: error.description
    case .cannotCreate(let error):
      "\(error); give a directory that does not exist yet, in a place where you may write"
    case .unwritablePlan(let what): "this cannot be captured: \(what)"
    case .arrayTooLarge(let hook, let positions):
      "\(hook) of a prompt of \(positions) positions has more than "
        + "\(Limits.arrayBytes >> 30) GiB; leave it out or shorten the prompt"
    case .outOfOrder(let what): "the cache is written in its own order only: \(what)"
    case .writeFailed(let error, let directory, let safe):
      "\(error); \(safe) prompts are safe in \(directory), the same command with --resume goes on"
        + (error.isDiskFull ? " once there is room" : "")
    default: "the cache cannot be used"
    }
  }

  private func damaged(_ file: String, _ what: String) -> String {
    "\(file) is damaged: \(what); restore it from a copy or capture again"
  }
}

extension FileError {
  /// Whether space, not the disk itself, was the matter.
  var isDiskFull: Bool { errno == ENOSPC || errno == EDQUOT }
}
