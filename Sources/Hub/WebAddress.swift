import CCurl

/// The address of something on the web, taken apart by curl's own parser, so that what is checked is
/// what is asked for.
struct WebAddress: Equatable, Sendable {
  let text: String
  let scheme: String
  let host: String
  let port: String
  private let path: String
  private let hasMore: Bool

  /// - Returns: nil for what is no address of HTTP or HTTPS.
  init?(_ text: String) {
    self.init(text, from: nil)
  }

  /// The address that `location`, of a redirection from here, stands for: whole or relative.
  func resolving(_ location: String) -> WebAddress? {
    WebAddress(location, from: text)
  }

  private init?(_ text: String, from base: String?) {
    guard !text.isEmpty, let parts = curl_url() else { return nil }
    defer { curl_url_cleanup(parts) }
    for address in [base, text].compactMap({ $0 }) {
      guard curl_url_set(parts, CURLUPART_URL, address, 0) == CURLUE_OK else { return nil }
    }
    func part(_ part: CURLUPart, _ flags: Int32 = 0) -> String? {
      var value: UnsafeMutablePointer<CChar>?
      guard curl_url_get(parts, part, &value, UInt32(flags)) == CURLUE_OK, let value else {
        return nil
      }
      defer { curl_free(value) }
      return String(cString: value)
    }
    guard let whole = part(CURLUPART_URL), let scheme = part(CURLUPART_SCHEME),
      scheme == "https" || scheme == "http", let host = part(CURLUPART_HOST), !host.isEmpty,
      let port = part(CURLUPART_PORT, CURLU_DEFAULT_PORT)
    else { return nil }
    self.text = whole
    self.scheme = scheme
    self.host = host.lowercased()
    self.port = port
    path = part(CURLUPART_PATH) ?? "/"
    hasMore =
      part(CURLUPART_USER) != nil || part(CURLUPART_PASSWORD) != nil
      || part(CURLUPART_QUERY) != nil || part(CURLUPART_FRAGMENT) != nil
  }

  /// Whether paths can be put after it and it can be shown: it has no user, query or fragment.
  var isPlainEndpoint: Bool { !hasMore }

  /// Without a slash at the end.
  var trimmed: String { text.hasSuffix("/") ? String(text.dropLast()) : text }

  func isSameOrigin(as other: WebAddress) -> Bool {
    scheme == other.scheme && host == other.host && port == other.port
  }

  /// Whether going from here to `other` would give up encryption.
  func isSaferThan(_ other: WebAddress) -> Bool { scheme == "https" && other.scheme == "http" }

  /// `owner/name` of an address `…/owner/name/resolve/…` below `endpoint`.
  func repository(below endpoint: WebAddress) -> String? {
    let root = endpoint.path.hasSuffix("/") ? String(endpoint.path.dropLast()) : endpoint.path
    guard isSameOrigin(as: endpoint), path.hasPrefix(root + "/") else { return nil }
    let parts = path.dropFirst(root.count + 1).split(separator: "/")
    guard let mark = parts.firstIndex(of: "resolve"), 1...2 ~= mark else { return nil }
    return parts[..<mark].joined(separator: "/")
  }
}

/// `text` as one part of a path: everything but letters, digits and `-_.~` is escaped.
func escaped(_ text: String) -> String {
  var result = ""
  for byte in text.utf8 {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
      UInt8(ascii: "."), UInt8(ascii: "~"):
      result.unicodeScalars.append(Unicode.Scalar(byte))
    default:
      let digits = String(byte, radix: 16, uppercase: true)
      result += digits.count < 2 ? "%0\(digits)" : "%\(digits)"
    }
  }
  return result
}
