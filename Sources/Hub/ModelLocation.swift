import FileIO
import Terminal

/// The directory of a model.
///
/// - Parameters:
///   - name: a directory in Hugging Face's layout; or the name of a repository on the hub, with
///     `@revision` after it if it is not to be `main`. A directory of that name comes first. The
///     snapshot in the hub's local cache is used if it is complete; what is missing is fetched from
///     the hub, unless HF_HUB_OFFLINE forbids it (docs/models.md has the variables and what is
///     checked).
///   - use: what is needed of the model; nothing else is fetched.
///   - quiet: whether to say nothing on standard error about what is fetched.
/// - Throws: `HubError`.
public func locateModel(_ name: String, for use: ModelUse = .weights, quiet: Bool = false)
  throws -> String
{
  let display = FetchDisplay(quiet: quiet)
  return try locateModel(name, for: use, settings: HubSettings(), report: display.show)
}

func locateModel(
  _ name: String, for use: ModelUse, settings: HubSettings, patience: HubClient.Patience? = nil,
  report: @escaping (FetchEvent) -> Void
) throws -> String {
  if isDirectory(name) { return name }
  guard let hubName = HubName(name) else { throw HubError.notAModel(name: name) }
  let revision = hubName.revision ?? "main"
  let folders = hubName.spellings.map { HubFolder(cache: settings.cache, repository: $0) }
  /// The first that knows the revision, and what its snapshot lacks.
  var partial: (folder: HubFolder, missing: [String])?
  for folder in folders {
    guard let commit = folder.commit(of: revision) else { continue }
    let snapshot = folder.snapshot(commit)
    let missing = ModelFiles.missing(in: snapshot, for: use)
    if missing.isEmpty { return snapshot }
    if partial == nil, isDirectory(snapshot) { partial = (folder, missing) }
  }
  guard !settings.isOffline else {
    throw HubError.offline(name: name, cache: settings.cache, missing: partial?.missing ?? [])
  }
  var patience = patience ?? HubClient.Patience()
  patience.stallSeconds = try settings.stallLimit()
  let client = try HubClient(
    endpoint: try settings.endpoint(), token: try settings.token(),
    certificates: settings.certificates,
    agent: toolVersion.split(separator: " ").joined(separator: "/"), patience: patience)
  let fetch = ModelFetch(
    name: hubName, folder: partial?.folder ?? folders[0], client: client, report: report)
  return try fetch.run(for: use)
}
