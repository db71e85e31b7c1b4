import FileIO
import Glibc

extension CacheWriter {
  /// Looks what a writer would go on from, before anything is loaded for it, and changes nothing.
  ///
  /// - Returns: the number of prompts that are in the cache for good, and the bytes of their
  ///   segments.
  /// - Throws: `CacheError` where no writer could start, whatever its plan.
  public static func survey(_ directory: String, start: Start, breakingLock: Bool = false)
    throws(CacheError) -> (prompts: Int, bytes: Int)
  {
    let directory = withoutTrailingSlash(directory)
    do throws(LockFile.Failure) {
      try LockFile.check(path: directory + "/" + lockName, breaking: breakingLock)
    } catch {
      throw refusal(error, directory: directory)
    }
    do throws(CacheError) {
      guard try names(in: directory, start: start, SystemCalls()).contains(Manifest.fileName) else {
        return (0, 0)
      }
    } catch {
      guard case .cannotCreate(let reason) = error else { throw error }
      try requireParent(of: directory)
      guard reason.errno == ENOENT else { throw error }
      return (0, 0)
    }
    let manifest = try Manifest.read(directory: directory)
    return (manifest.prompts, manifest.segments.reduce(0) { $0 + $1.size })
  }

  private static func requireParent(of directory: String) throws(CacheError) {
    do throws(SystemError) {
      _ = try SystemCalls().list(FileIO.directory(of: directory))
    } catch {
      // One that may not be listed may be one to write to.
      guard error.errno == ENOENT || error.errno == ENOTDIR else { return }
      throw .cannotCreate(FileError(.create, directory, errno: error.errno))
    }
  }

  /// The names in a directory but for the lock's, which must be none or those of a cache to resume.
  fileprivate static func names(
    in directory: String, start: Start, _ fileSystem: any FileSystem
  ) throws(CacheError) -> [String] {
    var names: [String]
    do throws(SystemError) {
      names = try fileSystem.list(directory)
    } catch {
      throw .cannotCreate(FileError(.list, directory, errno: error.errno))
    }
    names.removeAll { $0 == lockName }
    if names.isEmpty { return [] }
    guard start == .resume else {
      if let reader = try? CacheReader(directory: directory), !reader.isComplete {
        throw .unfinished(
          directory: directory, prompts: reader.committedPrompts, planned: reader.plan.promptCount)
      }
      throw .directoryNotEmpty(directory: directory)
    }
    guard names.allSatisfy(isOwn) else { throw .directoryNotEmpty(directory: directory) }
    // A writer has a manifest before it begins a segment: it was lost, and they may be of value.
    guard names.contains(Manifest.fileName) || !names.contains(where: isSegment) else {
      throw .badManifest(
        file: directory + "/" + Manifest.fileName, what: "it is gone, but segments are there")
    }
    return names
  }

  /// Whether a writer gives files this name, or `cachedump repair` to segments that it puts aside.
  private static func isOwn(_ name: String) -> Bool {
    let frozen = [Manifest.fileName, CachePlan.fileName, PromptFiles.prompts, PromptFiles.pairs]
    return isSegment(name) || frozen.contains { name == $0 || name == $0 + ".new" }
      || name.hasPrefix("segment-")
        && (name.hasSuffix(".pbs.open") || name.hasSuffix(".pbs.damaged"))
  }

  private static func isSegment(_ name: String) -> Bool {
    name.hasPrefix("segment-") && name.hasSuffix(".pbs")
  }
}

extension WriteContext {
  /// What an earlier writer of this plan left in the directory: its manifest, or nil when it did not
  /// get so far. What it had begun and not finished is removed.
  ///
  /// - Throws: `CacheError` when there is anything else, or anything at all and nothing is to be
  ///   resumed.
  func existing(_ start: CacheWriter.Start, tokenCounts: [Int]) throws(CacheError) -> Manifest? {
    let names = try CacheWriter.names(in: directory, start: start, fileSystem)
    let manifest = names.contains(Manifest.fileName) ? try unfinishedManifest(tokenCounts) : nil
    for name in names where name.hasSuffix(".new") || name.hasSuffix(".open") {
      try? fileSystem.remove(path(name))
    }
    // The earlier writer may have been killed between a rename and this. A segment that is adopted
    // must not be listed before its name is durable.
    if !names.isEmpty {
      do throws(FileError) {
        try fileSystem.makeNamesDurable(in: directory)
      } catch {
        throw failure(error)
      }
    }
    return manifest
  }

  /// The manifest, which must be of this plan, its segments there in full size.
  private func unfinishedManifest(_ tokenCounts: [Int]) throws(CacheError) -> Manifest {
    let manifest = try Manifest.read(directory: directory)
    guard manifest.plan == key.hexadecimal else {
      let (other, _) = try CachePlan.read(
        directory: directory, digest: manifest.plan, format: manifest.format)
      throw .otherPlan(directory: directory, differences: other.differences(from: plan))
    }
    guard manifest.fits(plan, tokenCounts: tokenCounts) else {
      throw .badManifest(
        file: path(Manifest.fileName), what: "it does not list the segments of the plan")
    }
    for segment in manifest.segments {
      let file = path(segment.name)
      guard let size = try? plainFileSize(file) else { throw .missingSegment(file: file) }
      guard size == segment.size else {
        throw .wrongSize(file: file, expected: segment.size, found: size)
      }
    }
    return manifest
  }

  /// Whether a file is there with exactly these bytes.
  func holds(_ name: String, _ bytes: [UInt8]) -> Bool {
    (try? readFile(path(name), limit: bytes.count, followLinks: false)) == bytes
  }
}

extension CachePlan {
  /// What differs between a plan on disk and the one that is wanted, a phrase each.
  func differences(from wanted: CachePlan) -> [String] {
    var found: [String] = []
    func compare(_ name: String, _ a: String, _ b: String) {
      if a != b { found.append("\(name) was \(a.prefix(40)), now \(b.prefix(40))") }
    }
    compare("format", "\(formatVersion)", "\(wanted.formatVersion)")
    compare("program", tool, wanted.tool)
    compare("model", model.name, wanted.model.name)
    compare(
      "weights", model.weightsDigest.prefix(12) + "…", wanted.model.weightsDigest.prefix(12) + "…")
    compare(
      "tokenizer", model.tokenizerDigest.prefix(12) + "…",
      wanted.model.tokenizerDigest.prefix(12) + "…")
    found += model.configurationDifferences(to: wanted.model)
    compare("weight processing", weights, wanted.weights)
    compare(
      "BOS", prependBOS ? "prepended" : "left out", wanted.prependBOS ? "prepended" : "left out")
    compare("arithmetic", kernel, wanted.kernel)
    compare("prompt file", promptFileName, wanted.promptFileName)
    compare(
      "contents of the prompt file", promptFileDigest.prefix(12) + "…",
      wanted.promptFileDigest.prefix(12) + "…")
    compare("number of prompts", "\(promptCount)", "\(wanted.promptCount)")
    compare("store", store, wanted.store)
    compare("proofs", proofs?.rawValue ?? "none", wanted.proofs?.rawValue ?? "none")
    compare("element type", elementType.rawValue, wanted.elementType.rawValue)
    compare("patched runs", patched?.what ?? "none", wanted.patched?.what ?? "none")
    if found.isEmpty, hooks != wanted.hooks {
      compare("hooks", "\(hooks.count) hooks", "\(wanted.hooks.count) other hooks")
    }
    return found.isEmpty ? ["the prompts or pairs are others"] : found
  }
}

extension CacheWriter {
  /// A segment that an interrupted capture sealed but did not commit, if it is sound to the last
  /// array: then it is what would be captured again.
  ///
  /// Nil too for rounded values: how far they are off is not in the segment.
  public func adopt(_ index: Int) -> SealedSegment? {
    guard plan.elementType == .f32, segmentRanges.indices.contains(index),
      let listed = listing(of: index)
    else { return nil }
    let before = segmentRanges[..<index].enumerated().map { number, prompts in
      Manifest.Segment(
        name: SegmentLayout.fileName(number), size: 0, prompts: prompts.count, tokens: 0, index: "")
    }
    var manifest = Manifest(
      plan: planDigest, hooks: Array(repeating: .init(), count: plan.hooks.count))
    manifest.segments = before + [listed]
    manifest.prompts = segmentRanges[index].upperBound
    guard
      let reader = try? CacheReader(
        directory: directory, manifest: manifest, plan: plan, graph: graph, checksums: true,
        access: .automatic)
    else { return nil }
    var verification = Verification(reader: reader, limit: 1)
    verification.tokenCounts = tokenCounts
    verification.checkSegment(index)
    guard verification.refusal == nil, verification.report.isHealthy,
      let checksum = bytes(hexadecimal: listed.index)?.reduce(UInt32(0), { $0 << 8 | UInt32($1) })
    else { return nil }
    return SealedSegment(
      number: index, prompts: segmentRanges[index], tokens: listed.tokens, size: listed.size,
      indexChecksum: checksum, hooks: verification.totals)
  }

  /// What a manifest would say of a segment file that is there, by its own trailer.
  private func listing(of index: Int) -> Manifest.Segment? {
    let name = SegmentLayout.fileName(index)
    guard let file = try? RandomAccessFile(path: directory + "/" + name, followLinks: false),
      let trailer = try? SegmentTrailer.read(from: file)
    else { return nil }
    let prompts = segmentRanges[index]
    return Manifest.Segment(
      name: name, size: file.count, prompts: prompts.count,
      tokens: tokenCounts[prompts].reduce(0, +), index: hexadecimal(trailer.indexChecksum))
  }
}
