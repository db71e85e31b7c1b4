import FileIO

/// A file on the hub, as the hub describes it.
struct RemoteFile: Equatable, Sendable {
  let name: String
  /// Of the repository, 40 hexadecimal digits.
  let commit: String
  let digest: ContentDigest
  let size: Int
  /// `owner/name` of the repository that answered, which moved if it is not the one that was asked;
  /// nil where the addresses do not tell.
  let repository: String?
}

/// Asks the hub, or a mirror of it, for files.
///
/// The token goes to the hub's own scheme, host and port alone, never to a host that it redirects to.
final class HubClient {
  /// How patient it is with servers and networks.
  struct Patience: Sendable {
    var connectSeconds = 10
    var stallSeconds = 10
    /// Tries that bring nothing new before it gives up.
    var tries = 5
    /// Seconds before the second try; each later one waits twice as long.
    var pause = 1.0
    /// The longest wait that a server may ask for.
    var longestPause = 60
  }

  let endpoint: WebAddress
  /// The endpoint in sentences.
  let name: String
  let patience: Patience
  private let token: String?
  private let connection: HTTPConnection
  private(set) var hasAnswered = false

  /// More than a redirection through a mirror to a store takes.
  private static let redirectionLimit = 10
  /// No file of a model is larger: a petabyte.
  private static let sizeLimit = 1 << 50

  init(
    endpoint: WebAddress, token: String?, certificates: String?, agent: String, patience: Patience
  ) throws(HubError) {
    self.endpoint = endpoint
    name = endpoint.trimmed
    self.token = token
    self.patience = patience
    do throws(HTTPFailure) {
      connection = try HTTPConnection(
        certificates: certificates, connectLimit: patience.connectSeconds,
        stallLimit: patience.stallSeconds, agent: agent)
    } catch {
      throw .unreachable(name: name, endpoint: name, reason: error.reason)
    }
  }

  /// Asks for commit, size and digest of a file; nil if the repository does not have it.
  func describe(_ file: String, of repository: String, at revision: String) throws(HubError)
    -> RemoteFile?
  {
    var commit: String?
    var tag: String?
    var size: String?
    var owner: String?
    let response = try follow(
      file, of: repository, at: revision, onlyHead: true,
      visit: { response, address in
        // The hub describes what it stores elsewhere on the redirection to there. A redirection's
        // own ETag and length are of something else.
        let isFile = response.status == 200
        commit = commit ?? response.headers["x-repo-commit"]
        tag = tag ?? response.headers["x-linked-etag"] ?? (isFile ? response.headers["etag"] : nil)
        size =
          size ?? response.headers["x-linked-size"]
          ?? (isFile ? response.headers["content-length"] : nil)
        owner = address.repository(below: self.endpoint) ?? owner
        return response.status < 400 && commit != nil && tag != nil && size != nil
      }, receive: { _, _ in })
    guard response.status != 404 else { return nil }
    func wrong(_ problem: String) -> HubError {
      .badAnswer(file: file, endpoint: name, problem: problem)
    }
    guard let commit, isCommit(commit) else { throw wrong("it does not say the commit") }
    guard let tag, let digest = ContentDigest(tag: tag) else {
      throw wrong("it gives no digest, by which the file could be checked")
    }
    guard let size, size.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let count = Int(size),
      count <= HubClient.sizeLimit
    else { throw wrong("it does not say the size") }
    return RemoteFile(name: file, commit: commit, digest: digest, size: count, repository: owner)
  }

  /// Fetches a file from a byte on.
  ///
  /// - Parameter receive: gets the body piece by piece, with the response: 200 for the whole file,
  ///   206 for the rest.
  /// - Returns: the response, of status 200, 206, 404 or 416.
  func get(
    _ file: String, of repository: String, at commit: String, from offset: Int,
    receive: (HTTPResponse, UnsafeRawBufferPointer) throws -> Void
  ) throws(HubError) -> HTTPResponse {
    try follow(
      file, of: repository, at: commit, onlyHead: false,
      headers: offset > 0 ? ["Range: bytes=\(offset)-"] : [], visit: { _, _ in false },
      receive: { response, bytes in
        // Bodies of redirections and refusals are nobody's business.
        if response.status == 200 || response.status == 206 { try receive(response, bytes) }
      })
  }

  /// Goes from address to address until one answers with something else than a redirection, or
  /// `visit` says that it has seen enough.
  private func follow(
    _ file: String, of repository: String, at revision: String, onlyHead: Bool,
    headers: [String] = [], visit: (HTTPResponse, WebAddress) -> Bool,
    receive: (HTTPResponse, UnsafeRawBufferPointer) throws -> Void
  ) throws(HubError) -> HTTPResponse {
    func wrong(_ problem: String) -> HubError {
      .badAnswer(file: file, endpoint: name, problem: problem)
    }
    let start = "\(name)/\(repository)/resolve/\(escaped(revision))/\(escaped(file))"
    guard var address = WebAddress(start) else { throw wrong("\(start) is no address") }
    for _ in 0..<HubClient.redirectionLimit {
      var request = HTTPRequest(address: address, onlyHead: onlyHead)
      request.headers = headers + ["Accept-Encoding: identity"]
      if let token, address.isSameOrigin(as: endpoint) {
        request.headers.append("Authorization: Bearer \(token)")
      }
      let response = try send(request, file: file, of: repository, receive: receive)
      if visit(response, address) { return response }
      guard [301, 302, 303, 307, 308].contains(response.status) else {
        try check(response, file: file, of: repository, at: revision)
        return response
      }
      guard let location = response.headers["location"],
        let next = address.resolving(location)
      else { throw wrong("it redirects to nowhere") }
      guard !address.isSaferThan(next) else {
        throw wrong("it redirects from https to http, where anyone could change the file")
      }
      address = next
    }
    throw wrong("it redirects more than \(HubClient.redirectionLimit) times")
  }

  private func send(
    _ request: HTTPRequest, file: String, of repository: String,
    receive: (HTTPResponse, UnsafeRawBufferPointer) throws -> Void
  ) throws(HubError) -> HTTPResponse {
    do {
      let response = try connection.perform(request, receive: receive)
      hasAnswered = true
      return response
    } catch let failure as HTTPFailure {
      throw switch failure.kind {
      case .unreachable where !hasAnswered:
        HubError.unreachable(name: repository, endpoint: name, reason: failure.reason)
      case .certificate: .certificate(endpoint: name, reason: failure.reason)
      default: .interrupted(file: file, endpoint: name, reason: failure.reason)
      }
    } catch let error as FileError {
      throw .file(error)
    } catch {
      throw error as? HubError
        ?? .interrupted(file: file, endpoint: name, reason: "\(error)")
    }
  }

  /// - Throws: what a status means, unless it is 200, 206, 404 for a file that is not there, or 416.
  private func check(
    _ response: HTTPResponse, file: String, of repository: String, at revision: String
  ) throws(HubError) {
    let code = response.headers["x-error-code"]
    let isGated = code == "GatedRepo"
    switch response.status {
    case 200, 206, 416: return
    case 404 where code == "RepoNotFound":
      throw .noRepository(name: repository, endpoint: name, hasToken: token != nil)
    case 404 where code == "RevisionNotFound":
      throw .noRevision(name: repository, revision: revision)
    case 404: return
    case 401 where token == nil && !isGated:
      throw .noRepository(name: repository, endpoint: name, hasToken: false)
    case 401 where token != nil: throw .refusedToken(name: repository, endpoint: name)
    case 401, 403: throw .forbidden(name: repository, endpoint: name, isGated: isGated)
    case 429, 500...599:
      let wait = response.headers["retry-after"].flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
      throw .busy(endpoint: name, status: response.status, wait: wait)
    default:
      throw .unexpectedStatus(file: file, endpoint: name, status: response.status)
    }
  }
}
