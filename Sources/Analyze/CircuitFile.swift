import FileIO
import FoundationEssentials
import Model
import Patching

/// Reads a circuit: CSV whose first line names its columns, or JSON (a name that ends in `.json`).
///
/// CSV has the columns `class`, `layer`, `head`, `pos` and `k`, of which `layer` and `head` must be there.
/// `pos` and `k` hold any number of places and heads, with spaces between them; without a column `k` a
/// head's companions are the others of its class. JSON is `{"heads": […]}`, an object a head with the same
/// keys, `pos` and `k` being lists.
///
/// - Throws: `CircuitFileError`, `FileError`.
func readCircuit(path: String) throws -> Circuit {
  let bytes = try readFile(path, limit: 1 << 26)
  let members = try path.hasSuffix(".json") ? json(bytes, path) : csv(bytes, path)
  do throws(PatchingError) {
    return try Circuit(members)
  } catch {
    throw CircuitFileError(path: path, place: "", what: error.description)
  }
}

private enum Column: String, CaseIterable {
  case className = "class"
  case layer, head
  case place = "pos"
  case companions = "k"

  static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

private func csv(_ bytes: [UInt8], _ path: String) throws -> [Circuit.Member] {
  var members: [Circuit.Member] = []
  var columns: [Column]?
  for (index, line) in csvLines(bytes).enumerated() {
    func fail(_ what: String) -> CircuitFileError {
      CircuitFileError(path: path, place: ", line \(index + 1)", what: what)
    }
    let fields = csvFields(line).map { $0.split(separator: " ").joined(separator: " ") }
    if fields.allSatisfy(\.isEmpty) || line.first == "#" { continue }
    guard let names = columns else {
      columns = try fields.map { name in
        guard let column = Column(rawValue: name) else {
          throw fail("unknown column \"\(name)\"; the columns are \(Column.list)")
        }
        return column
      }
      let found = Set(columns ?? [])
      guard found.count == fields.count, found.isSuperset(of: [.layer, .head]) else {
        throw fail(
          "the first line names the columns, each once, with layer and head among them")
      }
      continue
    }
    guard fields.count == names.count else {
      throw fail("\(fields.count) fields where the header has \(names.count)")
    }
    let row = Dictionary(uniqueKeysWithValues: zip(names, fields))
    func number(_ column: Column) throws -> Int {
      guard let number = Int(row[column] ?? ""), number >= 0 else {
        throw fail("\(column.rawValue) \"\(row[column] ?? "")\" is not a number from 0 on")
      }
      return number
    }
    func words(_ column: Column) -> [String]? {
      row[column].map { $0.split(separator: " ").map(String.init) }
    }
    members.append(
      Circuit.Member(
        AttentionHead(layer: try number(.layer), head: try number(.head)),
        className: row[.className] ?? "",
        places: (words(.place) ?? []).compactMap(Place.init(argument:)),
        companions: try words(.companions)?.map { try companion($0, fail) }))
  }
  return members
}

private func companion(
  _ name: String, _ fail: (String) -> CircuitFileError
) throws -> AttentionHead {
  guard let head = AttentionHead(name) else {
    throw fail("\"\(name)\" in k is no head; write heads as 9.9, with spaces between them")
  }
  return head
}

/// A circuit in JSON.
private struct CircuitJSON: Decodable {
  let heads: [Head]

  struct Head: Decodable {
    let className: String?
    let layer, head: Int
    let places: [String]
    let companions: [String]?

    init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: Key.self)
      for key in values.allKeys where Column(rawValue: key.stringValue) == nil {
        throw DecodingError.dataCorruptedError(
          forKey: key, in: values, debugDescription: "the keys are \(Column.list)")
      }
      func key(_ column: Column) -> Key { Key(column.rawValue) }
      className = try values.decodeIfPresent(String.self, forKey: key(.className))
      layer = try values.decode(Int.self, forKey: key(.layer))
      head = try values.decode(Int.self, forKey: key(.head))
      places = try values.decodeIfPresent([String].self, forKey: key(.place)) ?? []
      companions = try values.decodeIfPresent([String].self, forKey: key(.companions))
    }
  }

  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { return nil }
  }
}

private func json(_ bytes: [UInt8], _ path: String) throws -> [Circuit.Member] {
  let file: CircuitJSON
  do {
    file = try JSONDecoder().decode(CircuitJSON.self, from: Data(bytes))
  } catch let error as DecodingError {
    guard let key = offendingKey(error) else {
      throw CircuitFileError(
        path: path, place: "", what: "it is not JSON of the form {\"heads\": […]}")
    }
    throw CircuitFileError(
      path: path, place: "",
      what: "\(key) is missing, unknown or of the wrong kind; a head has the keys \(Column.list)")
  }
  if let key = bytes.withUnsafeBytes(duplicateKey) {
    throw CircuitFileError(path: path, place: "", what: "an object has the key \(key) twice")
  }
  return try file.heads.enumerated().map { number, head in
    func fail(_ what: String) -> CircuitFileError {
      CircuitFileError(path: path, place: ", heads[\(number)]", what: what)
    }
    guard head.layer >= 0, head.head >= 0 else { throw fail("layers and heads count from 0") }
    return Circuit.Member(
      AttentionHead(layer: head.layer, head: head.head), className: head.className ?? "",
      places: try head.places.map { text in
        guard let place = Place(argument: text) else { throw fail("an empty text in pos") }
        return place
      }, companions: try head.companions?.map { try companion($0, fail) })
  }
}

/// What is wrong with the file of a circuit.
struct CircuitFileError: ReportableError {
  let path: String
  /// Where in the file, such as `, line 3`.
  let place: String
  let what: String

  var exitCode: SysExit { .badData }
  var description: String { "\(shown(path))\(place): \(shown(what))" }
}
