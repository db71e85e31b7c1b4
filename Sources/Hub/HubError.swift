import FileIO
import Glibc

/// Why there is no model of a name, here or on the hub.
public enum HubError: ReportableError, Equatable {
  /// Neither a directory nor a name that a repository on the hub can have.
  case notAModel(name: String)
  /// The local cache lacks it, wholly or some files, and no connection may be opened.
  case offline(name: String, cache: String, missing: [String])
  case badSetting(variable: String, problem: String)

  /// The hub did not answer.
  case unreachable(name: String, endpoint: String, reason: String)
  case certificate(endpoint: String, reason: String)
  /// The transfer of a file broke off or stood still, also when it was tried again.
  case interrupted(file: String, endpoint: String, reason: String)
  /// Answers 429 and 5xx; `wait` is what the server asks for, in seconds.
  case busy(endpoint: String, status: Int, wait: Int?)
  case unexpectedStatus(file: String, endpoint: String, status: Int)

  /// No such repository, or a private one; the hub does not say which.
  case noRepository(name: String, endpoint: String, hasToken: Bool)
  case refusedToken(name: String, endpoint: String)
  /// The repository is there, but not for this user.
  case forbidden(name: String, endpoint: String, isGated: Bool)
  case noRevision(name: String, revision: String)
  /// The repository lacks a file without which it is no GPT-2 that can be read.
  case noFile(name: String, file: String)

  /// An answer that cannot be right.
  case badAnswer(file: String, endpoint: String, problem: String)
  /// What came is not what the hub said that it has.
  case wrongDigest(file: String, endpoint: String, expected: String, received: String)
  /// The hub's files changed between two requests.
  case otherCommit(name: String, expected: String, received: String)
  case badIndex(name: String, problem: String)

  case noRoom(folder: String, needed: Int, free: Int)
  case file(FileError)

  public var description: String {
    switch self {
    case .notAModel(let name):
      "there is no model \(shown(name)): it is not a directory, and no repository on the hub has "
        + "such a name; \(ways)"
    case .offline(let name, let cache, let missing):
      "there is no model \(name): the hub's cache \(cache) lacks "
        + (missing.isEmpty ? "it" : missing.joined(separator: ", "))
        + ", and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE, \(ways)"
    case .badSetting(let variable, let problem): "\(variable) \(problem); change or unset it"
    case .unreachable(let name, let endpoint, let reason):
      "there is no model \(name): the hub's cache lacks it, and \(endpoint) cannot be reached "
        + "(\(shown(reason))); check the network and HF_ENDPOINT, \(ways)"
    case .certificate(let endpoint, let reason):
      "\(endpoint) does not prove to be who it says (\(shown(reason))); if your network looks into "
        + "connections, name its certificates in REQUESTS_CA_BUNDLE"
    case .interrupted(let file, let endpoint, let reason):
      "the download of \(file) from \(endpoint) broke off (\(shown(reason))); the same command goes "
        + "on where it stopped"
    case .busy(let endpoint, let status, let wait):
      "\(endpoint) answers \(status)" + (status == 429 ? " (too many requests)" : "")
        + "; the same command "
        + (wait.map { "after \($0) seconds " } ?? "later ") + "goes on where it stopped"
    case .unexpectedStatus(let file, let endpoint, let status):
      "\(endpoint) answers \(status) for \(file); check HF_ENDPOINT, \(ways)"
    case .noRepository(let name, let endpoint, let hasToken):
      "there is no model \(name): it is not a directory, and \(endpoint) has no such repository "
        + (hasToken
          ? "that HF_TOKEN opens; check the name, "
          : "that is open to all; check the name, set HF_TOKEN if it is private, ") + ways
    case .refusedToken(let name, let endpoint):
      "\(endpoint) refuses the token for \(name); check HF_TOKEN and the token file in HF_HOME, or "
        + "remove them for a model that is open to all"
    case .forbidden(let name, let endpoint, let isGated):
      isGated
        ? "\(name) is gated: ask for access on \(endpoint)/\(name), and set HF_TOKEN to a token of "
          + "yours that may read it"
        : "\(endpoint) forbids \(name); set HF_TOKEN to a token that may read it"
    case .noRevision(let name, let revision):
      "\(name) has no revision \(shown(revision)); give a branch, a tag or a commit after the @"
    case .noFile(let name, let file):
      "\(name) has no \(file) on the hub"
        + (file == "model.safetensors"
          ? ": only safetensors files are read; load the model in Python and save it with "
            + "save_pretrained, or name a revision that has them after an @"
          : ": it is not a model in Hugging Face's layout; \(ways)")
    case .badAnswer(let file, let endpoint, let problem):
      "\(endpoint) answers wrongly for \(file): \(shown(problem)); check HF_ENDPOINT, and a proxy in between"
    case .wrongDigest(let file, let endpoint, let expected, let received):
      "\(file) from \(endpoint) is damaged: it should have the digest \(expected) and has "
        + "\(received); it was thrown away, try again"
    case .otherCommit(let name, let expected, let received):
      "\(name) changed while it was fetched: the commit was \(expected) and is \(received); try again"
    case .badIndex(let name, let problem):
      "model.safetensors.index.json of \(name) \(problem)"
    case .noRoom(let folder, let needed, let free):
      "\(folder) has room for \(free / 1_000_000) MB, and \(needed / 1_000_000) MB are to be fetched; "
        + "make room, or set HF_HUB_CACHE to a folder on another disk"
    case .file(let error):
      switch error.errno {
      case EFBIG where error.operation == .tooLarge: error.description
      case ENOSPC, EDQUOT, EFBIG:
        "\(error); make room, and the same command goes on where it stopped"
      case ENOSYS, ENOLCK, ENOTSUP, EPERM:
        "\(error); set HF_HUB_CACHE to a folder on a local disk"
      default: error.description
      }
    }
  }

  public var exitCode: SysExit {
    switch self {
    case .notAModel, .offline, .noRepository, .noRevision, .noFile: .noInput
    case .badSetting, .certificate, .refusedToken, .forbidden: .configuration
    case .unreachable, .interrupted, .busy, .otherCommit: .tryAgain
    case .unexpectedStatus, .badAnswer, .wrongDigest, .badIndex: .badData
    case .noRoom: .ioError
    case .file(let error): error.exitCode
    }
  }

  /// Whether the same request may succeed a little later.
  var isTransient: Bool {
    switch self {
    case .interrupted, .busy: true
    default: false
    }
  }
}

private let ways =
  "give --model a directory in Hugging Face's layout, or try --model examples/demo-model"

/// A text that came from outside, made fit for a sentence: one line, of bounded length.
private func shown(_ text: String) -> String {
  let line = text.unicodeScalars.prefix(200).map {
    $0.properties.generalCategory == .control ? "\u{FFFD}" : String($0)
  }
  return line.joined() + (text.unicodeScalars.count > 200 ? "…" : "")
}
