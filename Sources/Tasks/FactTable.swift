import FileIO

/// Reads facts from a CSV file whose first line names its columns, with subject, relation and object
/// among them. Other columns are passed over, and lines without a character.
///
/// - Throws: `FactTableError`.
public func factTable(path: String) throws(FactTableError) -> [Fact] {
  let bytes: [UInt8]
  do throws(FileError) {
    bytes = try readFile(path, limit: 1 << 28)
  } catch {
    throw FactTableError(path: path, line: nil, problem: .file(error))
  }
  guard let text = String(validating: bytes, as: UTF8.self) else {
    throw FactTableError(path: path, line: nil, problem: .notUTF8)
  }
  var names: [String]?
  var facts: [Fact] = []
  for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    .enumerated() where !line.isEmpty
  {
    func fail(_ problem: FactTableError.Problem) -> FactTableError {
      FactTableError(path: path, line: index + 1, problem: problem)
    }
    let fields = csvFields(line)
    guard let columns = names else {
      // A byte order mark is no part of the first column's name.
      let header = fields.map { $0.filter { $0 != "\u{FEFF}" && !$0.isWhitespace } }
      for column in FactColumn.allCases where header.count(where: { $0 == column.rawValue }) != 1 {
        throw fail(.noColumn(column.rawValue))
      }
      names = header
      continue
    }
    guard fields.count == columns.count else {
      throw fail(.wrongFields(found: fields.count, expected: columns.count))
    }
    var row: [String: String] = [:]
    for (name, field) in zip(columns, fields) {
      row[name] = field.trimmingSpaces()
    }
    for column in FactColumn.allCases where (row[column.rawValue] ?? "").isEmpty {
      throw fail(.empty(column.rawValue))
    }
    let relation = row[FactColumn.relation.rawValue] ?? ""
    guard relation.split(separator: "{}", omittingEmptySubsequences: false).count == 2 else {
      throw fail(.noGap(relation))
    }
    facts.append(
      Fact(
        subject: row[FactColumn.subject.rawValue] ?? "", relation: relation,
        object: row[FactColumn.object.rawValue] ?? "", source: "\(path), line \(index + 1)"))
  }
  if facts.isEmpty { throw FactTableError(path: path, line: nil, problem: .noFacts) }
  return facts
}

private enum FactColumn: String, CaseIterable {
  case subject, relation, object
}

extension String {
  fileprivate func trimmingSpaces() -> String {
    var rest = self[...]
    while rest.first?.isWhitespace == true { rest.removeFirst() }
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest)
  }
}

/// What is wrong with a table of facts.
public struct FactTableError: ReportableError, Equatable {
  public enum Problem: Sendable, Equatable {
    case file(FileError)
    case notUTF8
    case noFacts
    case noColumn(String)
    case wrongFields(found: Int, expected: Int)
    case empty(String)
    case noGap(String)
  }

  public let path: String
  /// Counted from 1; nil for the file as a whole.
  public let line: Int?
  public let problem: Problem

  public var exitCode: SysExit {
    if case .file(let error) = problem { return error.exitCode }
    return .badData
  }

  public var description: String {
    if case .file(let error) = problem { return "\(error)" }
    return path + (line.map { ", line \($0)" } ?? "") + ": " + what
  }

  private var what: String {
    switch problem {
    case .file(let error): "\(error)"
    case .notUTF8: "not UTF-8; convert the file, for example with iconv -t UTF-8"
    case .noFacts: "there is no fact in it; give a header and a line a fact"
    case .noColumn(let name):
      "the first line must name the columns subject, relation and object, each once; \(name) is not so"
    case .wrongFields(let found, let expected):
      "\(found) field\(found == 1 ? "" : "s") where the header has \(expected); a field that holds a "
        + "comma stands in quotes"
    case .empty(let name): "the \(name) is empty"
    case .noGap(let relation):
      "the relation \(relation.debugDescription) must hold {} once, where the subject stands"
    }
  }
}
