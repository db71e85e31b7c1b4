import FileIO

/// What a check of every file and array of a cache found. Encodes as what
/// `cachedump verify --json` prints.
public struct VerificationReport: Codable, Sendable {
  public struct Finding: Codable, Sendable, Equatable {
    public var file: String
    public var prompt: Int?
    public var hook: String?
    /// A sentence that names all of it.
    public var problem: String
  }

  /// The first findings, at most as many as were asked for.
  public var findings: [Finding] = []
  /// How many there are in all.
  public var damaged = 0
  /// Names in the directory that are not part of the cache, such as what an interrupted capture
  /// was writing. They do no harm.
  public var leftovers: [String] = []
  public var checkedSegments = 0
  public var checkedArrays = 0
  /// Bytes of arrays, decoded and compared with the checksum of what was written.
  public var checkedBytes = 0

  public var isHealthy: Bool { damaged == 0 }
}

extension CacheReader {
  /// Checks everything: the text files against their digests, every segment's structure, every
  /// array's identity, stored bytes and decoded bytes, and the manifest's totals. Goes on after
  /// what is bad. The manifest and the plan were checked when the cache was opened.
  ///
  /// - Parameters:
  ///   - limit: how many findings to keep; the others are counted.
  ///   - progress: called after each segment with the number of prompts that were gone through.
  public func verify(limit: Int = 20, progress: (Int) -> Void = { _ in }) -> VerificationReport {
    var verification = Verification(reader: self, limit: limit)
    verification.checkTexts()
    for number in manifest.segments.indices {
      verification.checkSegment(number)
      progress(verification.promptsSeen)
    }
    verification.checkTotals()
    verification.lookForLeftovers()
    return verification.report
  }
}

private struct Verification {
  let reader: CacheReader
  let limit: Int
  var report = VerificationReport()
  var promptsSeen = 0
  private var tokenCounts: [Int]?
  private var totals: [Manifest.HookTotals]
  private let decoder = BlockDecoder()

  init(reader: CacheReader, limit: Int) {
    self.reader = reader
    self.limit = limit
    totals = Array(repeating: .init(), count: reader.plan.hooks.count)
  }

  private mutating func note(
    _ error: CacheError, file: String, prompt: Int? = nil, hook: String? = nil
  ) {
    report.damaged += 1
    guard report.findings.count < limit else { return }
    report.findings.append(
      .init(file: file, prompt: prompt, hook: hook, problem: error.description))
  }

  private func path(_ name: String) -> String { reader.directory + "/" + name }

  mutating func checkTexts() {
    do throws(CacheError) {
      let counts = try reader.prompts().map(\.tokens.count)
      tokenCounts = counts
      checkRanges(counts)
    } catch {
      note(error, file: path(PromptFiles.prompts))
    }
    do throws(CacheError) {
      let prompts = reader.plan.promptCount
      for (row, pair) in try reader.pairs().enumerated()
      where !(0..<prompts).contains(pair.clean)
        || !(0..<prompts).contains(pair.corrupted ?? pair.clean)
      {
        throw .badLine(
          file: path(PromptFiles.pairs), line: row + 1, what: "it names a prompt that is not there")
      }
    } catch {
      note(error, file: path(PromptFiles.pairs))
    }
  }

  /// Segments hold the prompts that the plan and the token counts give them.
  private mutating func checkRanges(_ tokenCounts: [Int]) {
    let planned = reader.plan.segmentRanges(tokenCounts: tokenCounts)
    let listed = reader.manifest.segments
    guard
      listed.count > planned.count
        || zip(planned, listed).contains(where: {
          $0.count != $1.prompts
        })
    else { return }
    let file = path(Manifest.fileName)
    note(.badManifest(file: file, what: "its segments are not those of the plan"), file: file)
  }

  mutating func checkSegment(_ number: Int) {
    let listed = reader.manifest.segments[number]
    let first = promptsSeen
    promptsSeen += listed.prompts
    do throws(CacheError) {
      let segment = try reader.segment(number)
      report.checkedSegments += 1
      checkPositions(of: segment)
      for hook in reader.plan.hooks.indices {
        for prompt in first..<first + listed.prompts { checkArray(hook, prompt, in: segment) }
      }
    } catch {
      note(error, file: path(listed.name))
    }
  }

  private mutating func checkPositions(of segment: Segment) {
    guard let tokenCounts else { return }
    for prompt in segment.prompts
    where segment.positions(prompt: prompt) != tokenCounts[prompt] {
      note(
        .badIndex(
          file: segment.path,
          what: "prompt \(prompt) has \(segment.positions(prompt: prompt)) positions there, "
            + "\(tokenCounts[prompt]) tokens in \(PromptFiles.prompts)"),
        file: segment.path, prompt: prompt)
    }
  }

  private mutating func checkArray(_ hook: Int, _ prompt: Int, in segment: Segment) {
    let name = reader.plan.hooks[hook].name
    do throws(CacheError) {
      let block = try segment.block(hook: hook, prompt: prompt)
      totals[hook].raw += Int(block.header.rawLength)
      totals[hook].stored += Int(block.header.storedLength)
      totals[hook].blocks[block.header.encoding.name, default: 0] += 1
      do throws(BlockProblem) {
        try Segment.checkStored(block)
        guard try decoder.rawChecksum(block) == block.header.rawChecksum else {
          throw .decodedChecksum
        }
      } catch {
        throw segment.badBlock(hook: hook, prompt: prompt, error)
      }
      report.checkedArrays += 1
      report.checkedBytes += Int(block.header.rawLength)
    } catch {
      note(error, file: segment.path, prompt: prompt, hook: name)
    }
  }

  /// The manifest's totals are those of the arrays; asked only when all of them are sound.
  mutating func checkTotals() {
    guard report.isHealthy, totals != reader.manifest.hooks else { return }
    let file = path(Manifest.fileName)
    note(.badManifest(file: file, what: "its totals are not those of the arrays"), file: file)
  }

  mutating func lookForLeftovers() {
    let parts = Set(
      [Manifest.fileName, CachePlan.fileName, PromptFiles.prompts, PromptFiles.pairs]
        + reader.manifest.segments.map(\.name))
    let names = (try? SystemCalls().list(reader.directory)) ?? []
    report.leftovers = names.filter { !parts.contains($0) }.sorted()
  }
}
