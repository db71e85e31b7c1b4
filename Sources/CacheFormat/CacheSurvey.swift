import FileIO
import FoundationEssentials
import Glibc

/// What of a cache can be relied upon besides its segments: the plan, the prompts' lengths, and the
/// manifest if that is sound.
struct CacheSurvey {
  let directory: String
  let plan: CachePlan
  let graph: HookGraph
  let key: PlanKey
  let tokenCounts: [Int]
  /// Nil where it is damaged or missing.
  let manifest: Manifest?
  let manifestState: CacheRepair.ManifestState
  /// What is wrong with the manifest.
  let problems: [VerificationReport.Finding]

  /// - Throws: `RepairError` if something else than the manifest cannot be relied upon.
  init(directory: String) throws(RepairError) {
    self.directory = directory
    let path = directory + "/" + Manifest.fileName
    var found: Manifest?
    var problem: CacheError?
    do throws(CacheError) {
      found = try Manifest.read(directory: directory)
    } catch {
      switch error {
      case .badManifest, .notACache: problem = error
      default: throw .cache(error)
      }
    }
    (plan, graph, key) =
      if let found {
        try CacheSurvey.plan(named: found, directory: directory)
      } else {
        try CacheSurvey.planWithoutManifest(directory: directory)
      }
    tokenCounts = try CacheSurvey.checkedTexts(of: plan, directory: directory)
    if let manifest = found, !manifest.fits(plan, tokenCounts: tokenCounts) {
      problem = .badManifest(file: path, what: "its segments are not those of the plan")
      found = nil
    }
    manifest = found
    if case .notACache = problem {
      manifestState = .missing
      problems = [.init(file: path, problem: "there is no file \(path)")]
    } else {
      manifestState = problem == nil ? .sound : .damaged
      problems = problem.map { [.init(file: path, problem: $0.description)] } ?? []
    }
  }

  private static func plan(named manifest: Manifest, directory: String) throws(RepairError)
    -> (CachePlan, HookGraph, PlanKey)
  {
    do throws(CacheError) {
      let (plan, graph) = try CachePlan.read(
        directory: directory, digest: manifest.plan, format: manifest.format)
      guard let key = PlanKey(manifest.plan) else {
        throw .badManifest(
          file: directory + "/" + Manifest.fileName, what: "its plan digest is not a SHA-256")
      }
      return (plan, graph, key)
    } catch {
      throw .frozenFile(error)
    }
  }

  private struct Version: Decodable {
    var formatVersion: Int
  }

  /// The plan that is there, if a segment names its digest.
  private static func planWithoutManifest(directory: String) throws(RepairError)
    -> (CachePlan, HookGraph, PlanKey)
  {
    let path = directory + "/" + CachePlan.fileName
    let bytes: [UInt8]
    do throws(FileError) {
      bytes = try readFile(path, limit: Limits.planBytes, followLinks: false)
    } catch {
      guard error.operation == .open, [ENOENT, ENOTDIR].contains(error.errno) else {
        throw .file(error)
      }
      throw .cache(.notACache(directory: directory))
    }
    let named = try plansNamedBySegments(directory: directory)
    guard let key = PlanKey(sha256(bytes)), named.contains(key.bytes) else {
      throw .planUnproven(
        file: path,
        what: named.isEmpty
          ? "the manifest is damaged or missing, and no sealed segment is there to name the plan"
          : "the manifest is damaged or missing, and the segments name another plan than this one")
    }
    // The digest fits: from here on it is what the writer wrote.
    guard let version = try? JSONDecoder().decode(Version.self, from: Data(bytes)) else {
      throw .cache(.badPlan(file: path, what: "it does not say which format it has"))
    }
    guard version.formatVersion <= CachePlan.currentFormat else {
      throw .cache(.newerFormat(file: path, found: version.formatVersion))
    }
    do throws(CacheError) {
      let (plan, graph) = try CachePlan.read(
        directory: directory, digest: key.hexadecimal, format: version.formatVersion)
      return (plan, graph, key)
    } catch {
      throw .cache(error)
    }
  }

  /// The plan digests in the headers of the sealed segments, of those whose header is intact.
  private static func plansNamedBySegments(directory: String) throws(RepairError) -> Set<[UInt8]> {
    let header = ByteBuffer(capacity: Record.size)
    var plans: Set<[UInt8]> = []
    for number in try segmentNumbers(in: directory) {
      let path = directory + "/" + SegmentLayout.fileName(number)
      guard let file = try? RandomAccessFile(path: path, followLinks: false),
        file.count >= Record.size,
        (try? file.read(at: 0, into: .init(start: header.base, count: Record.size))) != nil,
        let found = SegmentHeader.decode(header.base)
      else { continue }
      plans.insert(found.plan)
    }
    return plans
  }

  /// The numbers of the sealed segments that are there, in order.
  static func segmentNumbers(in directory: String) throws(RepairError) -> [Int] {
    let names: [String]
    do throws(SystemError) {
      names = try SystemCalls().list(directory)
    } catch {
      throw .file(FileError(.list, directory, errno: error.errno))
    }
    return names.compactMap { name in
      guard name.hasPrefix("segment-"), name.hasSuffix(".pbs"),
        let number = Int(name.dropFirst("segment-".count).dropLast(".pbs".count)), number >= 0,
        SegmentLayout.fileName(number) == name
      else { return nil }
      return number
    }.sorted()
  }

  /// Checks `prompts.jsonl` and `pairs.jsonl`; answers the prompts' numbers of tokens.
  private static func checkedTexts(of plan: CachePlan, directory: String) throws(RepairError)
    -> [Int]
  {
    do throws(CacheError) {
      _ = try readLines(
        PromptPair.self, path: directory + "/" + PromptFiles.pairs, digest: plan.pairsDigest,
        count: plan.pairCount)
      return try readLines(
        Prompt.self, path: directory + "/" + PromptFiles.prompts, digest: plan.promptsDigest,
        count: plan.promptCount
      ).map(\.tokens.count)
    } catch {
      throw .frozenFile(error)
    }
  }
}
