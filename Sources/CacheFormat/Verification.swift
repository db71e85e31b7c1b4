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
    /// How many other places of the file are damaged.
    public var more = 0
  }

  /// The first damaged place of each file, of at most as many files as were asked for.
  public var findings: [Finding] = []
  /// How many damaged places there are in all, and in how many files.
  public var damaged = 0
  public var damagedFiles = 0
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
  ///   - limit: how many damaged files to name; the others are counted.
  ///   - progress: called after each segment with the number of prompts that were gone through.
  /// - Throws: `CacheError.unreadable` if the system refuses to open or map a file that may be sound.
  public func verify(
    limit: Int = 20, progress: (Int) -> Void = { _ in }
  ) throws(CacheError) -> VerificationReport {
    var verification = Verification(reader: self, limit: limit)
    verification.checkTexts()
    for number in manifest.segments.indices {
      verification.checkSegment(number)
      progress(verification.promptsSeen)
    }
    if let refusal = verification.refusal { throw .unreadable(refusal) }
    verification.checkTotals()
    verification.lookForLeftovers()
    return verification.report
  }
}

struct Verification {
  let reader: CacheReader
  let limit: Int
  var report = VerificationReport()
  var promptsSeen = 0
  /// Of every prompt of the plan; nil while they are not known.
  var tokenCounts: [Int]?
  /// What the system refused first, which is no damage.
  private(set) var refusal: FileError?
  private(set) var totals: [Manifest.HookTotals]
  private let context = ReadContext()
  /// The damaged file that was noted last.
  private var lastFile: String?

  init(reader: CacheReader, limit: Int) {
    self.reader = reader
    self.limit = limit
    totals = Array(repeating: .init(), count: reader.plan.hooks.count)
  }

  private mutating func note(
    _ error: CacheError, file: String, prompt: Int? = nil, hook: String? = nil
  ) {
    if case .unreadable(let failure) = error, failure.isRefusal {
      refusal = refusal ?? failure
      return
    }
    report.damaged += 1
    if let place = report.findings.firstIndex(where: { $0.file == file }) {
      report.findings[place].more += 1
      return
    }
    // Files are gone through one after the other.
    if file != lastFile { report.damagedFiles += 1 }
    lastFile = file
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
    promptsSeen += listed.prompts
    do throws(CacheError) {
      let segment = try reader.segment(number)
      report.checkedSegments += 1
      checkPositions(of: segment)
      for hook in reader.plan.hooks.indices {
        for prompt in segment.prompts {
          guard case .stored(let entry) = segment.place(hook: hook, prompt: prompt) else {
            continue
          }
          checkStored(hook, prompt, entry, in: segment)
        }
      }
      // Prompt after prompt, so that the residual stream is added up once.
      for prompt in segment.prompts {
        for hook in reader.plan.hooks.indices {
          guard case .derived = segment.place(hook: hook, prompt: prompt) else { continue }
          checkDerived(hook, prompt, in: segment)
        }
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

  private mutating func checkStored(
    _ hook: Int, _ prompt: Int, _ entry: IndexEntry, in segment: Segment
  ) {
    do throws(CacheError) {
      var block = try segment.block(hook: hook, prompt: prompt, at: entry, room: context.block)
      count(hook, bytes: Int(block.header.rawLength), encoding: block.header.encoding.name)
      totals[hook].stored += Int(block.header.storedLength)
      do throws(BlockProblem) {
        try block.checkStored()
      } catch {
        throw segment.badBlock(hook: hook, prompt: prompt, error)
      }
      let known = try context.knownElements(of: block, in: segment, checksums: true)
      do throws(BlockProblem) {
        guard try context.decoder.rawChecksum(block, after: known) == block.header.rawChecksum
        else { throw .decodedChecksum }
      } catch {
        throw segment.badBlock(hook: hook, prompt: prompt, error)
      }
      report.checkedArrays += 1
      report.checkedBytes += Int(block.header.rawLength)
    } catch {
      note(error, file: segment.path, prompt: prompt, hook: reader.plan.hooks[hook].name)
    }
  }

  private mutating func checkDerived(_ hook: Int, _ prompt: Int, in segment: Segment) {
    do throws(CacheError) {
      let bytes = try PromptArrays(prompt, of: reader, in: segment, context)
        .derivedBytes(hook: hook)
      count(hook, bytes: bytes, encoding: Manifest.HookTotals.derived)
      report.checkedArrays += 1
      report.checkedBytes += bytes
    } catch {
      // A damaged source has been named already, and each array that needs it would name it again.
      let name = reader.plan.hooks[hook].name
      guard case .badBlock(_, _, name, .derivedChecksum) = error else { return }
      note(error, file: segment.path, prompt: prompt, hook: name)
    }
  }

  private mutating func count(_ hook: Int, bytes: Int, encoding: String) {
    totals[hook].raw += bytes
    totals[hook].blocks[encoding, default: 0] += 1
  }

  /// The manifest's totals are those of the arrays; asked only when all of them are sound.
  mutating func checkTotals() {
    // How far rounded values are off is known to the writer alone.
    let listed = reader.manifest.hooks.map {
      Manifest.HookTotals(raw: $0.raw, stored: $0.stored, blocks: $0.blocks)
    }
    guard report.isHealthy, totals != listed else { return }
    let file = path(Manifest.fileName)
    note(.badManifest(file: file, what: "its totals are not those of the arrays"), file: file)
  }

  mutating func lookForLeftovers() {
    let parts = Set(
      [
        CacheWriter.lockName, Manifest.fileName, CachePlan.fileName, PromptFiles.prompts,
        PromptFiles.pairs,
      ]
        + reader.manifest.segments.map(\.name))
    let names = (try? SystemCalls().list(reader.directory)) ?? []
    report.leftovers = names.filter { !parts.contains($0) }.sorted()
  }
}
