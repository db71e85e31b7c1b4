import FileIO
import Glibc

/// Which segments of a cache are sound, and the manifest of those before the first that is not.
struct SegmentTriage {
  private(set) var problems: [VerificationReport.Finding] = []
  /// Damaged or missing segments, and sound ones after the first of them.
  private(set) var lost: [CacheRepair.Part] = []
  private(set) var later: [CacheRepair.Part] = []
  /// The lost segments' files that are there.
  private(set) var damagedFiles: [String] = []
  private(set) var replacement: Manifest

  /// Goes through every array of every segment that the manifest lists or, where there is none, of
  /// every sealed segment.
  ///
  /// - Throws: `RepairError.file` if a file cannot be opened for a reason that is no damage.
  init(
    _ survey: CacheSurvey, access: FileAccess, progress: (Int, Int) -> Void
  ) throws(RepairError) {
    let candidates = try Candidate.all(of: survey)
    replacement = survey.emptyManifest
    var listing = survey.emptyManifest
    listing.segments = candidates.map(\.listed)
    let reader: CacheReader
    do throws(CacheError) {
      reader = try CacheReader(
        directory: survey.directory, manifest: listing, plan: survey.plan, graph: survey.graph,
        checksums: true, access: access)
    } catch {
      throw .cache(error)
    }
    var verification = Verification(reader: reader, limit: .max)
    verification.tokenCounts = survey.tokenCounts
    let all = candidates.last?.part.end ?? 0
    for (number, candidate) in candidates.enumerated() {
      let before = problems.count
      if let problem = candidate.problem {
        problems.append(.init(file: candidate.path, problem: problem))
      } else {
        verification.checkSegment(number)
        if let refusal = verification.refusal { throw .file(refusal) }
        problems += verification.report.findings
        verification.report = VerificationReport()
      }
      sort(candidate, isSound: problems.count == before, totals: verification.totals)
      progress(candidate.part.end, all)
    }
    finish(survey)
  }

  private mutating func sort(
    _ candidate: Candidate, isSound: Bool, totals: [Manifest.HookTotals]
  ) {
    if !isSound {
      lost.append(candidate.part)
      if candidate.isThere { damagedFiles.append(candidate.part.name) }
    } else if lost.isEmpty {
      replacement.segments.append(candidate.listed)
      replacement.prompts += candidate.listed.prompts
      replacement.tokens += candidate.listed.tokens
      replacement.hooks = totals
    } else {
      later.append(candidate.part)
    }
  }

  /// The manifest as a writer has it after so many commits.
  private mutating func finish(_ survey: CacheSurvey) {
    replacement.complete = replacement.prompts == survey.plan.promptCount
    replacement.generation = replacement.segments.count + (replacement.complete ? 1 : 0)
    // How far rounded values are off cannot be known from what is left of them.
    guard let old = survey.manifest, lost.isEmpty else { return }
    for (hook, totals) in old.hooks.enumerated() {
      replacement.hooks[hook].worst = totals.worst
      replacement.hooks[hook].squares = totals.squares
    }
    guard replacement.hooks != old.hooks else { return }
    let path = survey.directory + "/" + Manifest.fileName
    let error = CacheError.badManifest(file: path, what: "its totals are not those of the arrays")
    problems.append(.init(file: path, problem: error.description))
  }
}

extension CacheRepair.Part {
  /// The number after its last prompt.
  fileprivate var end: Int { firstPrompt + prompts }
}

extension CacheSurvey {
  fileprivate var emptyManifest: Manifest {
    var manifest = Manifest(
      plan: key.hexadecimal, hooks: Array(repeating: .init(), count: plan.hooks.count))
    manifest.format = plan.formatVersion
    return manifest
  }
}

/// A segment that is in the cache or may be.
private struct Candidate {
  let path: String
  let part: CacheRepair.Part
  /// What a manifest says of it, or would.
  let listed: Manifest.Segment
  private(set) var isThere = true
  /// Why there is nothing to check.
  private(set) var problem: String?

  static func all(of survey: CacheSurvey) throws(RepairError) -> [Candidate] {
    let ranges = survey.plan.segmentRanges(tokenCounts: survey.tokenCounts)
    let count =
      if let manifest = survey.manifest {
        manifest.segments.count
      } else {
        (try CacheSurvey.segmentNumbers(in: survey.directory).last { $0 < ranges.count } ?? -1) + 1
      }
    var candidates: [Candidate] = []
    for (number, range) in ranges.prefix(count).enumerated() {
      candidates.append(try Candidate(number, prompts: range, survey: survey))
    }
    return candidates
  }

  private init(_ number: Int, prompts: Range<Int>, survey: CacheSurvey) throws(RepairError) {
    let name = SegmentLayout.fileName(number)
    path = survey.directory + "/" + name
    part = CacheRepair.Part(name: name, firstPrompt: prompts.lowerBound, prompts: prompts.count)
    var own = Manifest.Segment(
      name: name, size: 2 * Record.size, prompts: prompts.count,
      tokens: survey.tokenCounts[prompts].reduce(0, +), index: "00000000")
    do throws(FileError) {
      let file = try RandomAccessFile(path: path, followLinks: false)
      if survey.manifest == nil {
        if file.count < 2 * Record.size {
          problem = "\(CacheError.badTrailer(file: path, what: "the file is too short for one"))"
        }
        own.size = file.count
        if let trailer = try SegmentTrailer.read(from: file) {
          own.index = hexadecimal(trailer.indexChecksum)
        }
      }
    } catch {
      switch (error.operation, error.errno) {
      case (.open, ENOENT):
        isThere = false
        problem = "\(path) is not there"
      case (.notPlainFile, _), (.open, ELOOP):
        problem = FileError(.notPlainFile, path, errno: error.errno).description
      default: throw .file(error)
      }
    }
    listed = survey.manifest?.segments[number] ?? own
  }
}
