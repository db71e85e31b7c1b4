import FileIO
import Glibc

/// A model that is not where it was looked for.
public struct ModelNotFound: ReportableError, Equatable {
  public let name: String
  public let hubFolder: String

  public var description: String {
    "there is no model \(name): it is not a directory with a config.json, and the hub's cache "
      + "\(hubFolder) does not hold it; give --model a directory in Hugging Face's layout, "
      + "download it there with Hugging Face's own tools, or try --model examples/demo-model"
  }

  public var exitCode: SysExit { .noInput }
}

/// The directory of a model: `name` itself if it is a directory, or else the snapshot of that name
/// in Hugging Face's local cache (`HF_HUB_CACHE`, `HF_HOME/hub` or `~/.cache/huggingface/hub`).
///
/// - Throws: `ModelNotFound`.
public func locateModel(_ name: String) throws(ModelNotFound) -> String {
  try locateModel(name, hub: hubFolder())
}

func locateModel(_ name: String, hub: String) throws(ModelNotFound) -> String {
  if isDirectory(name) { return name }
  let isHubName = !name.isEmpty && !name.hasPrefix("/") && !name.hasPrefix(".")
  // The hub moved GPT-2's first models into an organisation; caches hold them under either name.
  let candidates = name.contains("/") ? [name] : [name, "openai-community/" + name]
  for candidate in candidates where isHubName {
    let parts = candidate.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0 != ".." && $0 != "." }) else {
      continue
    }
    let folder = hub + "/models--" + parts.joined(separator: "--")
    guard let reference = try? readFile(folder + "/refs/main", limit: 256) else { continue }
    let revision = String(decoding: reference, as: UTF8.self).prefix { !$0.isWhitespace }
    guard !revision.isEmpty, !revision.contains("/"), !revision.hasPrefix(".") else { continue }
    let snapshot = folder + "/snapshots/" + revision
    if isFile(snapshot + "/config.json") { return snapshot }
  }
  throw ModelNotFound(name: name, hubFolder: hub)
}

private func hubFolder() -> String {
  func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }
  return variable("HF_HUB_CACHE")
    ?? variable("HF_HOME").map { $0 + "/hub" }
    ?? (variable("HOME") ?? "~") + "/.cache/huggingface/hub"
}

private func isDirectory(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

private func isFile(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}
