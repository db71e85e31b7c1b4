import CCurl

/// A request over HTTP. Redirections are not followed.
struct HTTPRequest {
  var address: WebAddress
  /// HEAD in place of GET.
  var onlyHead = false
  var headers: [String] = []
}

/// What a server answered, without the body.
struct HTTPResponse: Sendable {
  var status = 0
  /// By their names in lower case. Of one that comes twice, the first.
  fileprivate(set) var headers: [String: String] = [:]
}

/// Why a request got no answer, or not all of it.
struct HTTPFailure: Error, Equatable {
  enum Kind { case unreachable, certificate, other }
  let kind: Kind
  /// The client's words.
  let reason: String
}

/// Requests over libcurl, one after another; connections are used again. Used by one thread.
final class HTTPConnection {
  private let handle: UnsafeMutableRawPointer
  private let certificates: String?
  private let connectLimit: Int
  private let stallLimit: Int
  private let agent: String

  /// The library's own start, once a process.
  private static let started: CURLcode = curl_global_init(3)

  /// - Parameters:
  ///   - certificates: a file of certificates to trust in place of the system's.
  ///   - connectLimit: seconds that connecting may take.
  ///   - stallLimit: seconds without a byte after which a connection counts as broken.
  init(certificates: String?, connectLimit: Int, stallLimit: Int, agent: String)
    throws(HTTPFailure)
  {
    guard HTTPConnection.started == CURLE_OK, let handle = curl_easy_init() else {
      throw HTTPFailure(kind: .other, reason: "libcurl cannot start")
    }
    self.handle = handle
    self.certificates = certificates
    self.connectLimit = connectLimit
    self.stallLimit = stallLimit
    self.agent = agent
  }

  deinit { curl_easy_cleanup(handle) }

  /// Sends a request and waits for the end of the answer.
  ///
  /// - Parameter receive: gets the body piece by piece, with the response so far.
  /// - Throws: `HTTPFailure`, or what `receive` threw, which ends the transfer.
  func perform(
    _ request: HTTPRequest,
    receive: (HTTPResponse, UnsafeRawBufferPointer) throws -> Void
  ) throws -> HTTPResponse {
    try withoutActuallyEscaping(receive) { receive in
      let exchange = Exchange(receive: receive)
      var message = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
      let code = message.withUnsafeMutableBufferPointer {
        perform(request, exchange, message: $0.baseAddress)
      }
      if let failure = exchange.failure { throw failure }
      guard code == CURLE_OK else {
        let detail = String(
          decoding: message.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        throw HTTPFailure(
          kind: kind(of: code),
          reason: detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail)
      }
      return exchange.response
    }
  }

  private func perform(
    _ request: HTTPRequest, _ exchange: Exchange, message: UnsafeMutablePointer<CChar>?
  ) -> CURLcode {
    var list: UnsafeMutablePointer<curl_slist>?
    for header in request.headers { list = curl_slist_append(list, header) ?? list }
    defer { curl_slist_free_all(list) }
    // Nothing of this request may stay in the handle: what it points to goes.
    defer { curl_easy_reset(handle) }
    let context = Unmanaged.passUnretained(exchange).toOpaque()
    let settings: [CURLcode] = [
      curl_allow_web_only(handle),
      curl_set_text(handle, CURLOPT_URL, request.address.text),
      curl_set_long(handle, CURLOPT_NOBODY, request.onlyHead ? 1 : 0),
      curl_set_long(handle, CURLOPT_FOLLOWLOCATION, 0),
      curl_set_list(handle, CURLOPT_HTTPHEADER, list),
      curl_set_text(handle, CURLOPT_USERAGENT, agent),
      // Not to be taken from the user's .netrc: the token is all that identifies him.
      curl_set_long(handle, CURLOPT_NETRC, 0),
      curl_set_long(handle, CURLOPT_CONNECTTIMEOUT, connectLimit),
      curl_set_long(handle, CURLOPT_LOW_SPEED_LIMIT, 1),
      curl_set_long(handle, CURLOPT_LOW_SPEED_TIME, stallLimit),
      curl_set_long(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1),
      curl_set_pointer(handle, CURLOPT_ERRORBUFFER, message),
      curl_set_receiver(handle, CURLOPT_HEADERFUNCTION, receiveHeader),
      curl_set_pointer(handle, CURLOPT_HEADERDATA, context),
      curl_set_receiver(handle, CURLOPT_WRITEFUNCTION, receiveBody),
      curl_set_pointer(handle, CURLOPT_WRITEDATA, context),
      certificates.map { curl_set_text(handle, CURLOPT_CAINFO, $0) } ?? CURLE_OK,
    ]
    if let refused = settings.first(where: { $0 != CURLE_OK }) { return refused }
    return withExtendedLifetime(exchange) { curl_easy_perform(handle) }
  }

  private func kind(of code: CURLcode) -> HTTPFailure.Kind {
    switch code {
    case CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT:
      .unreachable
    case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR:
      .certificate
    default: .other
    }
  }
}

/// What one request has received.
private final class Exchange {
  var response = HTTPResponse()
  let receive: (HTTPResponse, UnsafeRawBufferPointer) throws -> Void
  var failure: (any Error)?

  init(receive: @escaping (HTTPResponse, UnsafeRawBufferPointer) throws -> Void) {
    self.receive = receive
  }

  func addHeader(_ line: UnsafeRawBufferPointer) {
    let text = String(decoding: line, as: UTF8.self)
    if text.hasPrefix("HTTP/") {
      // Another response than the one before, which said to go on.
      response = HTTPResponse()
      let fields = text.split(separator: " ")
      response.status = fields.count > 1 ? Int(fields[1].prefix { $0.isNumber }) ?? 0 : 0
    } else if let colon = text.firstIndex(of: ":") {
      let name = text[..<colon].lowercased()
      let value = text[colon...].dropFirst().split(whereSeparator: \.isWhitespace)
      if response.headers[name] == nil {
        response.headers[name] = value.joined(separator: " ")
      }
    }
  }
}

private func receiveHeader(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  guard let context else { return 0 }
  let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
  exchange.addHeader(UnsafeRawBufferPointer(start: bytes, count: size * count))
  return size * count
}

private func receiveBody(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  guard let context else { return 0 }
  let exchange = Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
  do {
    try exchange.receive(
      exchange.response, UnsafeRawBufferPointer(start: bytes, count: size * count))
    return size * count
  } catch {
    exchange.failure = error
    // Any other number than the one of the bytes makes curl stop.
    return size * count + 1
  }
}
