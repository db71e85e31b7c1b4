import CacheFormat
import FileIO
import Glibc

/// One row of a prompt file, as written.
struct PromptRow: Sendable, Equatable {
  /// Where a role is in the clean prompt.
  enum Place: Sendable, Equatable {
    /// Token position, BOS counted; negative from the end.
    case position(Int)
    /// The token that ends the one occurrence of this text.
    case text(String)
  }

  /// Counted from 1.
  var line: Int
  var id: String?
  var clean = ""
  var corrupted: String?
  var answer: String?
  var wrongAnswer: String?
  var roles: [String: Place] = [:]
  var subject: String?
  var template: String?
}

/// A prompt file, mapped and read line by line (docs/prompts.md describes both forms).
final class PromptFile: Sendable {
  enum Form: Sendable { case text, jsonLines }

  /// The most bytes that a line may have.
  static let lineLimit = 1 << 20

  let form: Form
  private let file: MappedFile

  var path: String { file.path }

  /// SHA-256 of the file as it is on disk, in hexadecimal digits.
  var digest: String { withExtendedLifetime(file) { sha256(file.bytes) } }

  /// - Throws: `PromptError` if `path` is missing, not a plain file, or named as something else
  ///   than a .txt, .tsv, .jsonl or .ndjson file.
  init(path: String) throws(PromptError) {
    do {
      file = try MappedFile(path: path)
    } catch {
      throw PromptError(path: path, line: nil, problem: .file(error))
    }
    let name = path.split(separator: "/").last ?? ""
    let suffix = name.lastIndex(of: ".").map { name[$0...].lowercased() }
    switch suffix {
    case ".jsonl", ".ndjson": form = .jsonLines
    case ".txt", ".tsv", nil: form = .text
    default: throw PromptError(path: path, line: nil, problem: .unknownFormat)
    }
  }

  func rows() -> Rows { Rows(file: self) }

  /// The rows in the file's order, parsed as they are asked for.
  struct Rows {
    private let file: PromptFile
    private var offset: Int
    private var line = 0
    private var foundRow = false

    fileprivate init(file: PromptFile) {
      self.file = file
      offset = file.file.bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    }

    /// The next row; nil at the end.
    ///
    /// - Throws: `PromptError` for a malformed line, and at the end of a file without any row.
    mutating func next() throws(PromptError) -> PromptRow? {
      while let bytes = nextLine() {
        do throws(PromptError.Problem) {
          guard bytes.count <= PromptFile.lineLimit else {
            throw .lineTooLong(limit: PromptFile.lineLimit)
          }
          if isBlank(bytes) || (file.form == .text && bytes.first == UInt8(ascii: "#")) { continue }
          foundRow = true
          return switch file.form {
          case .text: try PromptRow(columns: bytes, line: line)
          case .jsonLines: try PromptRow(json: bytes, line: line)
          }
        } catch {
          throw PromptError(path: file.path, line: line, problem: error)
        }
      }
      if !foundRow { throw PromptError(path: file.path, line: nil, problem: .noPrompts) }
      return nil
    }

    /// The bytes of the next line without its LF or CRLF.
    private mutating func nextLine() -> UnsafeRawBufferPointer? {
      let rest = UnsafeRawBufferPointer(rebasing: file.file.bytes[offset...])
      guard let start = rest.baseAddress, !rest.isEmpty else { return nil }
      line += 1
      var end = rest.count
      if let newline = memchr(start, 0x0A, rest.count) {
        end = UnsafeRawPointer(newline) - start
      }
      offset += min(end + 1, rest.count)
      if end > 0, rest[end - 1] == 0x0D { end -= 1 }
      return UnsafeRawBufferPointer(rebasing: rest[..<end])
    }
  }
}

private func isBlank(_ line: UnsafeRawBufferPointer) -> Bool {
  line.allSatisfy { $0 == 0x20 || $0 == 0x09 }
}

extension PromptRow {
  /// A line of a .txt file: `clean [TAB corrupted [TAB answer [TAB wrong-answer]]]`.
  fileprivate init(columns bytes: UnsafeRawBufferPointer, line: Int) throws(PromptError.Problem) {
    let order: [PromptError.Column] = [.clean, .corrupted, .answer, .wrongAnswer]
    let columns = bytes.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
    guard columns.count <= order.count else { throw .tooManyColumns(columns.count) }
    self.init(line: line)
    for (column, bytes) in zip(order, columns) {
      guard let text = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
      try set(column, text)
    }
  }

  /// Stores one of the four columns; an empty one is refused.
  mutating func set(_ column: PromptError.Column, _ text: String)
    throws(PromptError.Problem)
  {
    if text.isEmpty { throw .empty(column) }
    switch column {
    case .clean: clean = text
    case .corrupted: corrupted = text
    case .answer: answer = text
    case .wrongAnswer: wrongAnswer = text
    }
  }
}
