import FileIO

/// What happens while a model is fetched.
enum FetchEvent {
  case begins(model: String, endpoint: String)
  /// The hub has the repository under another name.
  case moved(model: String, to: String)
  case planned(files: Int, bytes: Int)
  /// Another process is fetching the same file.
  case waits(file: String)
  /// Negative where bytes had to be thrown away.
  case received(Int)
  case triesAgain(after: HubError, seconds: Double)
  case ends(model: String, commit: String, folder: String)
}

/// Fetches what the local cache lacks of a model.
///
/// All files are of one commit. They get their names in the snapshot when all have come, those that
/// a model is not complete without last, and the reference after them: until then the model is as
/// absent as before.
struct ModelFetch {
  let name: HubName
  let folder: HubFolder
  let client: HubClient
  let report: (FetchEvent) -> Void

  /// - Returns: the directory of the snapshot.
  /// - Throws: `HubError`.
  func run(for use: ModelUse) throws -> String {
    report(.begins(model: name.repository, endpoint: client.name))
    let revision = name.revision ?? "main"
    // A snapshot that is there in part is completed, even if the branch has gone on.
    let pinned = folder.commit(of: revision).flatMap { isCommit($0) ? $0 : nil }
    let configuration = try required(ModelFiles.configuration, at: pinned ?? revision)
    let commit = configuration.commit
    if let pinned, pinned != commit {
      throw HubError.otherCommit(name: name.repository, expected: pinned, received: commit)
    }
    if let owner = configuration.repository, !name.spellings.contains(owner) {
      report(.moved(model: name.repository, to: owner))
    }

    let snapshot = folder.snapshot(commit)
    let isThere = { (file: String) in isPlainFile("\(snapshot)/\(file)") }
    var files: [RemoteFile] = []
    if use != .configuration {
      for file in ModelFiles.tokenizerSettings where !isThere(file) {
        if let found = try describe(file, at: commit) { files.append(found) }
      }
      files += try tokenizer(at: commit, isThere)
    }
    if use == .weights { files += try weights(at: commit, isThere) }
    if !isThere(ModelFiles.configuration) { files.append(configuration) }

    try fetch(files)
    do throws(FileError) {
      try folder.publish(files, commit: commit, as: revision)
    } catch {
      throw HubError.file(error)
    }
    report(.ends(model: name.repository, commit: commit, folder: folder.path))
    return snapshot
  }

  private func tokenizer(at commit: String, _ isThere: (String) -> Bool) throws(HubError)
    -> [RemoteFile]
  {
    let pair = ModelFiles.vocabularyAndMerges
    if isThere(ModelFiles.singleTokenizer) || pair.allSatisfy(isThere) { return [] }
    if let single = try describe(ModelFiles.singleTokenizer, at: commit) { return [single] }
    var files: [RemoteFile] = []
    for file in pair where !isThere(file) { files.append(try required(file, at: commit)) }
    return files
  }

  private func weights(at commit: String, _ isThere: (String) -> Bool) throws -> [RemoteFile] {
    if isThere(ModelFiles.singleWeights) { return [] }
    if let single = try describe(ModelFiles.singleWeights, at: commit) { return [single] }
    guard let index = try describe(ModelFiles.index, at: commit) else {
      throw HubError.noFile(name: name.repository, file: ModelFiles.singleWeights)
    }
    // It says which files there are.
    try download(index).run()
    let shards = try ModelFiles.shards(of: folder.blob(index.digest), model: name.repository)
    var files: [RemoteFile] = []
    for file in shards where !isThere(file) { files.append(try required(file, at: commit)) }
    return files + [index]
  }

  private func fetch(_ files: [RemoteFile]) throws {
    let downloads = files.map(download)
    let bytes = downloads.reduce(0) { $0 + $1.remaining }
    if let free = freeSpace(at: folder.path), free < bytes {
      throw HubError.noRoom(folder: folder.path, needed: bytes, free: free)
    }
    report(.planned(files: files.count, bytes: bytes))
    for download in downloads { try download.run() }
  }

  private func download(_ file: RemoteFile) -> BlobDownload {
    BlobDownload(file, of: name.repository, into: folder, client: client, report: report)
  }

  private func required(_ file: String, at revision: String) throws(HubError) -> RemoteFile {
    guard let found = try describe(file, at: revision) else {
      throw .noFile(name: name.repository, file: file)
    }
    return found
  }

  /// - Throws: also `HubError.otherCommit`, when a file is of another commit than was asked for.
  private func describe(_ file: String, at revision: String) throws(HubError) -> RemoteFile? {
    var persistence = Persistence(client.patience)
    while true {
      do throws(HubError) {
        let found = try client.describe(file, of: name.repository, at: revision)
        if let found, isCommit(revision), found.commit != revision {
          throw .otherCommit(name: name.repository, expected: revision, received: found.commit)
        }
        return found
      } catch {
        try persistence.wait(
          after: error, hasProgressed: false, hasAnswered: client.hasAnswered, report: report)
      }
    }
  }
}
