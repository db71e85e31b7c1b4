import FileIO
import Glibc

/// What is damaged in a cache, what can be kept of it, and the repair itself.
///
/// A cache is a prefix of whole prompts, and so is what is kept: the segments before the first
/// damaged one. A manifest that is damaged or gone is made anew from the plan and the sealed
/// segments, which name the plan and vouch for themselves. Everything else that is frozen cannot be
/// told from what is left.
public struct CacheRepair: Sendable {
  public enum ManifestState: String, Encodable, Sendable {
    case sound, damaged, missing
  }

  /// A segment and the prompts that it has or should have.
  public struct Part: Encodable, Sendable, Equatable {
    public var name: String
    public var firstPrompt: Int
    public var prompts: Int
  }

  public let directory: String
  public let plan: CachePlan
  public let manifest: ManifestState
  /// The first damaged place of each file that is damaged.
  public let problems: [VerificationReport.Finding]
  public var keptSegments: Int { replacement.segments.count }
  public var keptPrompts: Int { replacement.prompts }
  /// Segments that are damaged or missing.
  public let lost: [Part]
  /// Sound segments after a lost one.
  public let later: [Part]
  /// Whether `capture --resume` takes the later segments as they are. How far rounded values are
  /// off is known to the writer of a segment alone, so that those are captured again.
  public var laterCanBeAdopted: Bool { plan.elementType == .f32 }
  public var isNeeded: Bool { !problems.isEmpty }
  private let fileSystem: any FileSystem
  private let replacement: Manifest
  /// Files to be put aside.
  private let damagedFiles: [String]

  /// Looks at the whole cache and changes nothing.
  ///
  /// - Parameters:
  ///   - access: how segments are read.
  ///   - progress: called after each segment with the number of prompts that were gone through, and
  ///     that of all.
  /// - Throws: `RepairError` if nothing can be repaired.
  public init(
    of directory: String, access: FileAccess = .automatic,
    fileSystem: any FileSystem = SystemCalls(), progress: (Int, Int) -> Void = { _, _ in }
  ) throws(RepairError) {
    let survey = try CacheSurvey(directory: withoutTrailingSlash(directory))
    let segments = try SegmentTriage(survey, access: access, progress: progress)
    self.directory = survey.directory
    self.fileSystem = fileSystem
    plan = survey.plan
    manifest = survey.manifestState
    problems = survey.problems + segments.problems
    lost = segments.lost
    later = segments.later
    replacement = segments.replacement
    damagedFiles = segments.damagedFiles
  }

  /// Keeps a writer away as long as the result lives.
  ///
  /// - Parameter breaking: whether to take a lock that a process of another host left.
  public static func lock(_ directory: String, breaking: Bool) throws(CacheError) -> LockFile {
    do throws(CacheError) {
      return try CacheWriter.lock(withoutTrailingSlash(directory), breaking: breaking)
    } catch {
      if case .cannotCreate(let failure) = error, [ENOENT, ENOTDIR].contains(failure.errno) {
        throw .notACache(directory: directory)
      }
      throw error
    }
  }

  /// Puts damaged segments aside, under their name + `.damaged`, and then the manifest of what is
  /// kept in place of the old one, durably. No byte of a segment is changed or removed. Call it
  /// under the lock.
  ///
  /// - Throws: `RepairError.file`; then it can be called again.
  public func apply() throws(RepairError) {
    do throws(FileError) {
      for name in damagedFiles {
        let path = directory + "/" + name
        do throws(SystemError) {
          try fileSystem.rename(path, unusedPath(for: path))
        } catch {
          throw FileError(.rename, path, errno: error.errno)
        }
      }
      if !damagedFiles.isEmpty { try fileSystem.makeNamesDurable(in: directory) }
      try replaceFile(
        directory + "/" + Manifest.fileName, with: replacement.encoded(), in: fileSystem)
    } catch {
      throw .file(error)
    }
  }

  /// `segment-000001.pbs.damaged`, or, where an earlier repair left that, `segment-000001-2.pbs…`.
  private func unusedPath(for path: String) -> String {
    var candidate = path + ".damaged"
    var number = 2
    var status = stat()
    while lstat(candidate, &status) == 0 {
      candidate = "\(path.dropLast(".pbs".count))-\(number).pbs.damaged"
      number += 1
    }
    return candidate
  }
}

extension CacheRepair: Encodable {
  private enum Key: String, CodingKey {
    case directory, manifest, problems, plannedPrompts, keptSegments, keptPrompts, lost, later
    case laterCanBeAdopted
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(directory, forKey: .directory)
    try container.encode(manifest, forKey: .manifest)
    try container.encode(problems, forKey: .problems)
    try container.encode(plan.promptCount, forKey: .plannedPrompts)
    try container.encode(keptSegments, forKey: .keptSegments)
    try container.encode(keptPrompts, forKey: .keptPrompts)
    try container.encode(lost, forKey: .lost)
    try container.encode(later, forKey: .later)
    try container.encode(laterCanBeAdopted, forKey: .laterCanBeAdopted)
  }
}

/// Why a cache cannot be repaired, or why the repair stopped.
public enum RepairError: ReportableError, Equatable {
  case cache(CacheError)
  case file(FileError)
  /// A file other than the manifest and the segments is damaged.
  case frozenFile(CacheError)
  /// The manifest is gone, and no segment names the plan that is there.
  case planUnproven(file: String, what: String)

  public var exitCode: SysExit {
    switch self {
    case .cache(let error), .frozenFile(let error): error.exitCode
    case .file(let error): error.exitCode
    case .planUnproven: .badData
    }
  }

  public var description: String {
    switch self {
    case .cache(let error): error.description
    case .file(let error): error.description
    case .frozenFile(let error):
      "\(error), or run the capture command again with --resume, which writes it anew if nothing "
        + "else changed; nothing was changed"
    case .planUnproven(let file, let what):
      "\(file) cannot be relied upon: \(what); nothing is kept and nothing was changed, restore the "
        + "manifest or that file from a copy"
    }
  }
}
