import FileIO
import TestSupport
import Testing

@testable import Hub

@Suite struct HubSettingsTests {
  @Test(arguments: [
    ([:], "/home/me/.cache/huggingface/hub"),
    (["XDG_CACHE_HOME": "/x"], "/x/huggingface/hub"),
    (["HF_HOME": "/hf", "XDG_CACHE_HOME": "/x"], "/hf/hub"),
    (["HF_HOME": "~/hf"], "/home/me/hf/hub"),
    (["HF_HOME": "$HOME/hf"], "/home/me/hf/hub"),
    (["HF_HOME": "${DISK}/hf", "DISK": "/d"], "/d/hf/hub"),
    (["HF_HOME": "/a$b/${c/$"], "/a$b/${c/$/hub"),
    (["HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"], "/old"),
    (["HF_HUB_CACHE": "/c", "HUGGINGFACE_HUB_CACHE": "/old"], "/c"),
    (["HF_HUB_CACHE": "", "HF_HOME": ""], "/home/me/.cache/huggingface/hub"),
  ])
  func theCacheIsWhereHuggingFacesToolsHaveIt(variables: [String: String], path: String) {
    let settings = HubSettings(environment: variables.merging(["HOME": "/home/me"]) { a, _ in a })
    #expect(settings.cache == path)
  }

  @Test func offlineIsWhatPythonTakesForTrue() {
    for value in ["1", "on", "YES", "True"] {
      #expect(HubSettings(environment: ["HF_HUB_OFFLINE": value]).isOffline)
      #expect(HubSettings(environment: ["TRANSFORMERS_OFFLINE": value]).isOffline)
    }
    for value in ["", "0", "no", "false", "2"] {
      #expect(!HubSettings(environment: ["HF_HUB_OFFLINE": value]).isOffline)
    }
  }

  @Test func theTokenIsInAVariableOrAFile() throws {
    let home = try TemporaryDirectory()
    func token(_ variables: [String: String]) throws -> String? {
      try HubSettings(environment: variables.merging(["HF_HOME": home.path]) { a, _ in a }).token()
    }
    #expect(try token([:]) == nil)
    try home.write("token", "hf_file\n".utf8)
    #expect(try token([:]) == "hf_file")
    #expect(try token(["HF_TOKEN": " hf_variable\r\n"]) == "hf_variable")
    #expect(try token(["HUGGING_FACE_HUB_TOKEN": "hf_old"]) == "hf_old")
    #expect(try token(["HF_TOKEN_PATH": home.path + "/none"]) == nil)
    #expect(try token(["HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": "x"]) == nil)
    for bad in ["a b", "a\r\nX-Evil: b", "tökén", "a\u{1}b"] {
      #expect {
        try token(["HF_TOKEN": bad])
      } throws: { error in
        guard case HubError.badSetting(variable: "HF_TOKEN", _)? = error as? HubError else {
          return false
        }
        return !"\(error)".contains(bad)
      }
    }
    #expect(throws: HubError.self) { try token(["HF_TOKEN_PATH": home.path]) }
  }

  @Test func theEndpointIsAnAddress() throws {
    func endpoint(_ text: String) throws -> WebAddress {
      try HubSettings(environment: ["HF_ENDPOINT": text]).endpoint()
    }
    #expect(try endpoint("").trimmed == "https://huggingface.co")
    #expect(try endpoint("https://hf-mirror.com/").trimmed == "https://hf-mirror.com")
    #expect(try endpoint("http://host:8081/api/hub/").trimmed == "http://host:8081/api/hub")
    for bad in [
      "huggingface.co", "ftp://x", "file:///etc", "https://", "https://me:secret@x",
      "https://x/?a=b",
      "https://x/#a", "not an address", "https://a b",
    ] {
      #expect(throws: HubError.self, "\(bad)") { try endpoint(bad) }
    }
    #expect(throws: HubError.self) {
      try HubSettings(environment: ["HF_HUB_DOWNLOAD_TIMEOUT": "soon"]).stallLimit()
    }
  }

  @Test func addressesAreComparedWithoutTheirPaths() throws {
    let hub = try #require(WebAddress("https://huggingface.co/api"))
    func origin(_ text: String) -> Bool? { WebAddress(text).map(hub.isSameOrigin) }
    #expect(origin("https://HuggingFace.co:443/x") == true)
    for other in [
      "http://huggingface.co/", "https://huggingface.co:8443/", "https://huggingface.co.evil.org/",
      "https://huggingface.co@evil.org/", "https://cdn.huggingface.co/",
    ] {
      #expect(origin(other) == false, "\(other)")
    }
    let plain = try #require(WebAddress("http://huggingface.co/"))
    #expect(hub.isSaferThan(plain) && !hub.isSaferThan(hub) && !plain.isSaferThan(hub))
    #expect(hub.resolving("/a/b?c")?.text == "https://huggingface.co/a/b?c")
    #expect(hub.resolving("//other.org/x").map(hub.isSameOrigin) == false)
    #expect(hub.resolving("file:///etc/passwd") == nil)
    let moved = try #require(WebAddress("https://huggingface.co/api/a/b/resolve/main/config.json"))
    #expect(moved.repository(below: hub) == "a/b")
    #expect(escaped("refs/pr/7") == "refs%2Fpr%2F7")
  }
}
