import FileIO

/// A model's folder in the hub's local cache, in the layout of Hugging Face's own programs:
///
///     models--OWNER--NAME/refs/REVISION           the commit that a branch or tag was at
///     models--OWNER--NAME/blobs/DIGEST            the files, by digest
///     models--OWNER--NAME/blobs/DIGEST.incomplete what there is of a file so far
///     models--OWNER--NAME/snapshots/COMMIT/FILE   links to ../../blobs/DIGEST
///     .locks/models--OWNER--NAME/DIGEST.lock      held by who fetches the file
struct HubFolder: Sendable {
  let path: String
  private let locks: String

  /// - Parameters:
  ///   - cache: the folder of the whole cache.
  ///   - repository: a name that `HubName` accepted.
  init(cache: String, repository: String) {
    let name = "models--" + repository.split(separator: "/").joined(separator: "--")
    path = "\(cache)/\(name)"
    locks = "\(cache)/.locks/\(name)"
  }

  /// The commit that a revision stands for, nil if it is not known here.
  func commit(of revision: String) -> String? {
    if isCommit(revision) { return revision }
    guard let bytes = try? readFile("\(path)/refs/\(revision)", limit: 256) else { return nil }
    let commit = String(decoding: bytes, as: UTF8.self).prefix { !$0.isWhitespace }
    guard !commit.isEmpty, !commit.contains("/"), !commit.hasPrefix(".") else { return nil }
    return String(commit)
  }

  func snapshot(_ commit: String) -> String { "\(path)/snapshots/\(commit)" }

  func blob(_ digest: ContentDigest) -> String { "\(path)/blobs/\(digest.name)" }

  func partial(_ digest: ContentDigest) -> String { blob(digest) + ".incomplete" }

  /// Waits until no other process fetches the file.
  func lock(_ digest: ContentDigest, waiting: () -> Void) throws(FileError) -> WaitingLock {
    try lock(digest.name, waiting: waiting)
  }

  private func lock(_ name: String, waiting: () -> Void) throws(FileError) -> WaitingLock {
    try makeDirectories(locks)
    return try WaitingLock(path: "\(locks)/\(name).lock", waiting: waiting)
  }

  /// Gives blobs their names in a snapshot, one after another, and then notes that a branch or tag
  /// is at the commit.
  func publish(_ files: [RemoteFile], commit: String, as revision: String) throws(FileError) {
    let lock = try lock("snapshots") {}
    for file in files { try link(file) }
    try setReference(revision, to: commit)
    withExtendedLifetime(lock) {}
  }

  private func link(_ file: RemoteFile) throws(FileError) {
    try makeDirectories(snapshot(file.commit))
    try replaceLink(
      "\(snapshot(file.commit))/\(file.name)", to: "../../blobs/\(file.digest.name)")
  }

  private func setReference(_ revision: String, to commit: String) throws(FileError) {
    guard !isCommit(revision) else { return }
    let reference = "\(path)/refs/\(revision)"
    try makeDirectories(directory(of: reference))
    try replaceFile(reference, with: Array(commit.utf8))
  }
}
