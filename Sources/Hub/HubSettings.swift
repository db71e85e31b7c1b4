import FileIO
import FoundationEssentials
import Glibc

/// What the environment says about the hub, in the variables of Hugging Face's own tools. An empty
/// variable counts as one that is not set.
struct HubSettings: Sendable {
  private let environment: [String: String]

  init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    self.environment = environment
  }

  /// The folder of the local cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
  var cache: String {
    variable("HF_HUB_CACHE").map(expanded) ?? variable("HUGGINGFACE_HUB_CACHE").map(expanded)
      ?? home + "/hub"
  }

  private var home: String {
    variable("HF_HOME").map(expanded)
      ?? variable("XDG_CACHE_HOME").map { expanded($0) + "/huggingface" }
      ?? expanded("~/.cache/huggingface")
  }

  /// Whether no connection may be opened: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
  var isOffline: Bool { isTrue("HF_HUB_OFFLINE") || isTrue("TRANSFORMERS_OFFLINE") }

  /// The hub or a mirror of it: `HF_ENDPOINT`.
  func endpoint() throws(HubError) -> WebAddress {
    let name = "HF_ENDPOINT"
    let text = variable(name) ?? "https://huggingface.co"
    guard let address = WebAddress(text), address.isPlainEndpoint else {
      throw .badSetting(variable: name, problem: "is not an address such as https://huggingface.co")
    }
    return address
  }

  /// What identifies the user: `HF_TOKEN`, or the file that Hugging Face's `login` writes; nil if
  /// there is neither.
  func token() throws(HubError) -> String? {
    if isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") { return nil }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
      if let token = try checkedToken(variable(name), from: name) { return token }
    }
    let path = variable("HF_TOKEN_PATH").map(expanded) ?? home + "/token"
    let bytes: [UInt8]
    do throws(FileError) {
      bytes = try readFile(path, limit: 4096)
    } catch {
      guard error.errno == ENOENT || error.errno == ENOTDIR else { throw .file(error) }
      return nil
    }
    return try checkedToken(String(decoding: bytes, as: UTF8.self), from: path)
  }

  /// Certificates to trust in place of the system's; companies that look into connections have some.
  var certificates: String? {
    ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"].lazy.compactMap(variable).first
      .map(expanded)
  }

  /// Seconds without a byte after which a connection counts as broken: `HF_HUB_DOWNLOAD_TIMEOUT`.
  func stallLimit() throws(HubError) -> Int {
    let name = "HF_HUB_DOWNLOAD_TIMEOUT"
    guard let text = variable(name) else { return 10 }
    guard let seconds = Int(text), 1...86_400 ~= seconds else {
      throw .badSetting(variable: name, problem: "is not a number of seconds, 1 to 86400")
    }
    return seconds
  }

  private func variable(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  private func isTrue(_ name: String) -> Bool {
    ["1", "ON", "YES", "TRUE"].contains(environment[name]?.uppercased())
  }

  /// A token ends up in a header of a request, where a line break would begin another header.
  private func checkedToken(_ text: String?, from source: String) throws(HubError) -> String? {
    let words = text?.split(whereSeparator: \.isWhitespace) ?? []
    guard let token = words.first else { return nil }
    guard words.count == 1, token.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else {
      throw .badSetting(variable: source, problem: "holds characters that no token has")
    }
    return String(token)
  }

  /// A path with `~` in front, `$NAME` and `${NAME}` replaced, as Hugging Face's tools do where no
  /// shell has done it. Variables that are not set stay as they are.
  private func expanded(_ path: String) -> String {
    var rest = path[...]
    var result = ""
    if rest == "~" || rest.hasPrefix("~/"), let user = variable("HOME") {
      result = user
      rest = rest.dropFirst()
    }
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      let after = rest[dollar...].dropFirst()
      let isBraced = after.first == "{"
      let name = (isBraced ? after.dropFirst() : after).prefix {
        $0 == "_" || $0.isLetter || $0.isNumber
      }
      let end = isBraced ? name.endIndex : nil
      if let end, end >= rest.endIndex || rest[end] != "}" {
        result += "$"
        rest = after
        continue
      }
      rest = isBraced ? rest[name.endIndex...].dropFirst() : rest[name.endIndex...]
      result += environment[String(name)] ?? (isBraced ? "${\(name)}" : "$\(name)")
    }
    return result + rest
  }
}
