import FileIO
import Glibc

extension WriteContext {
  /// What an earlier writer of this plan left in the directory: its manifest, or nil when it did not
  /// get so far. What it had begun and not finished is removed.
  ///
  /// - Throws: `CacheError` when there is anything else, or anything at all and nothing is to be
  ///   resumed.
  func existing(_ start: CacheWriter.Start) throws(CacheError) -> Manifest? {
    let names = try listed().filter { $0 != CacheWriter.lockName }
    if names.isEmpty { return nil }
    let hasManifest = names.contains(Manifest.fileName)
    guard start == .resume else {
      if hasManifest, let manifest = try? Manifest.read(directory: directory), !manifest.complete {
        throw .unfinished(
          directory: directory, prompts: manifest.prompts, planned: plan.promptCount)
      }
      throw .directoryNotEmpty(directory: directory)
    }
    guard names.allSatisfy(WriteContext.isOwn) else {
      throw .directoryNotEmpty(directory: directory)
    }
    let manifest = hasManifest ? try unfinishedManifest() : nil
    for name in names where name.hasSuffix(".new") || name.hasSuffix(".open") {
      try? fileSystem.remove(path(name))
    }
    return manifest
  }

  private func listed() throws(CacheError) -> [String] {
    do throws(SystemError) {
      return try fileSystem.list(directory)
    } catch {
      throw .cannotCreate(FileError(.list, directory, errno: error.errno))
    }
  }

  /// Whether a writer gives files this name.
  private static func isOwn(_ name: String) -> Bool {
    var name = name[...]
    for suffix in [".new", ".open"] where name.hasSuffix(suffix) {
      name = name.dropLast(suffix.count)
    }
    let frozen = [Manifest.fileName, CachePlan.fileName, PromptFiles.prompts, PromptFiles.pairs]
    return frozen.contains(String(name)) || name.hasPrefix("segment-") && name.hasSuffix(".pbs")
      // As `cachedump repair` puts damaged segments aside.
      || name.hasPrefix("segment-") && name.hasSuffix(".pbs.damaged")
  }

  /// The manifest, which must be of this plan, its segments there in full size.
  private func unfinishedManifest() throws(CacheError) -> Manifest {
    let manifest = try Manifest.read(directory: directory)
    guard manifest.plan == key.hexadecimal else {
      let (other, _) = try CachePlan.read(
        directory: directory, digest: manifest.plan, format: manifest.format)
      throw .otherPlan(directory: directory, differences: other.differences(from: plan))
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
    compare("weight processing", weights, wanted.weights)
    compare(
      "BOS", prependBOS ? "prepended" : "left out", wanted.prependBOS ? "prepended" : "left out")
    compare("BLAS kernel", kernel, wanted.kernel)
    compare("prompt file", promptFileName, wanted.promptFileName)
    compare(
      "contents of the prompt file", promptFileDigest.prefix(12) + "…",
      wanted.promptFileDigest.prefix(12) + "…")
    compare("number of prompts", "\(promptCount)", "\(wanted.promptCount)")
    compare("store", store, wanted.store)
    compare("proofs", proofs?.rawValue ?? "none", wanted.proofs?.rawValue ?? "none")
    compare("element type", elementType.rawValue, wanted.elementType.rawValue)
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
    guard verification.report.isHealthy,
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
