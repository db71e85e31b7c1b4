import FileIO

/// Brings one file of the hub into the blobs of the local cache.
///
/// What has come lies in `DIGEST.incomplete` and is taken up again by the next run, of this program
/// or of Hugging Face's. Only a file of the right size and digest gets its name.
final class BlobDownload {
  private let file: RemoteFile
  private let repository: String
  private let folder: HubFolder
  private let client: HubClient
  private let report: (FetchEvent) -> Void

  init(
    _ file: RemoteFile, of repository: String, into folder: HubFolder, client: HubClient,
    report: @escaping (FetchEvent) -> Void
  ) {
    self.file = file
    self.repository = repository
    self.folder = folder
    self.client = client
    self.report = report
  }

  /// Bytes that are still to come, less those that are there and to be thrown away.
  var remaining: Int {
    if isPlainFile(folder.blob(file.digest)) { return 0 }
    return file.size - ((try? plainFileSize(folder.partial(file.digest))) ?? 0)
  }

  /// Fetches the file unless it is there.
  ///
  /// - Throws: `HubError`.
  func run() throws {
    do {
      try makeDirectories(directory(of: folder.blob(file.digest)))
      let lock = try folder.lock(file.digest) { report(.waits(file: file.name)) }
      defer { withExtendedLifetime(lock) {} }
      // Whoever wrote it, and however long ago: only bytes that were checked are linked.
      if isPlainFile(folder.blob(file.digest)),
        try file.digest.ofFile(folder.blob(file.digest)) == file.digest
      {
        return
      }
      try fetch()
    } catch let error as FileError {
      throw HubError.file(error)
    }
  }

  private func fetch() throws {
    var partial = try DurableFile(appendingTo: folder.partial(file.digest))
    if partial.count > file.size { try restart(&partial) }
    var isResumed = partial.count > 0
    while true {
      try complete(&partial)
      let digest = try file.digest.ofFile(partial.path)
      if digest == file.digest { break }
      guard isResumed else {
        partial.discard()
        throw HubError.wrongDigest(
          file: file.name, endpoint: client.name, expected: file.digest.name, received: digest.name)
      }
      // What lay there may be what is wrong.
      isResumed = false
      try restart(&partial)
    }
    try partial.publish(as: folder.blob(file.digest))
  }

  /// Fetches until the size is reached, and tries again as long as something new comes.
  private func complete(_ partial: inout DurableFile) throws {
    var persistence = Persistence(client.patience)
    var most = partial.count
    while partial.count < file.size {
      do {
        try fetchRest(&partial)
      } catch let error as HubError where error.isTransient {
        try persistence.wait(
          after: error, hasProgressed: partial.count > most, hasAnswered: client.hasAnswered,
          report: report)
      }
      most = max(most, partial.count)
    }
  }

  private func fetchRest(_ partial: inout DurableFile) throws {
    let offset = partial.count
    var isChecked = false
    var file = partial
    defer { partial = file }
    let response = try client.get(
      self.file.name, of: repository, at: self.file.commit, from: offset
    ) { response, bytes in
      if !isChecked {
        try check(response, from: offset)
        if response.status == 200, offset > 0 { try restart(&file) }
        isChecked = true
      }
      guard bytes.count <= self.file.size - file.count else {
        file.discard()
        throw wrong("it sends more than the \(self.file.size) bytes that it announced")
      }
      try file.write(bytes)
      report(.received(bytes.count))
    }
    switch response.status {
    case 404: throw wrong("it described the file, and now does not have it")
    case 416:
      // It knows of no byte from there on, though the size that it gave says so.
      try restart(&file)
      throw interruption("it refused to go on at byte \(offset)")
    default:
      guard file.count == self.file.size else {
        throw interruption("\(file.count) of \(self.file.size) bytes came")
      }
    }
  }

  /// - Throws: `HubError.badAnswer` where the answer is not the file from `offset` on, or all of it.
  private func check(_ response: HTTPResponse, from offset: Int) throws(HubError) {
    var expected = file.size
    if response.status == 206 {
      let range = "bytes \(offset)-\(file.size - 1)/\(file.size)"
      let answer = response.headers["content-range"] ?? "none"
      guard offset > 0, answer.lowercased() == range else {
        throw wrong("it was asked for the range \(range) and sends \(answer.prefix(80))")
      }
      expected -= offset
    }
    if let length = response.headers["content-length"], length != String(expected) {
      throw wrong("it announced \(expected) bytes and sends \(length.prefix(20))")
    }
  }

  private func restart(_ partial: inout DurableFile) throws(FileError) {
    report(.received(-partial.count))
    partial.discard()
    partial = try DurableFile(creating: folder.partial(file.digest))
  }

  private func wrong(_ problem: String) -> HubError {
    .badAnswer(file: file.name, endpoint: client.name, problem: problem)
  }

  private func interruption(_ reason: String) -> HubError {
    .interrupted(file: file.name, endpoint: client.name, reason: reason)
  }
}
