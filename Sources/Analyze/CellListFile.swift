import CacheFormat
import FileIO
import Model
import Patching

/// The hooks of a model by the names that users write.
func hookSelector(for config: ModelConfig) -> HookSelector {
  let points = config.hookPoints
  return HookSelector(
    defaults: points.filter(\.kind.isDefault).map(\.name),
    optional: points.filter { !$0.kind.isDefault }.map(\.name), layers: config.layers)
}

/// Reads a list of cells: CSV whose first line names its columns.
///
/// Rows that have the same value in the column `group` are one cell; without that column every row is
/// one, and equal rows are the same one. A field that is empty stands for all heads, positions, attended
/// positions or values. What `analyze results --csv` says of cells besides is passed over.
///
/// - Throws: `CellListError`, `FileError`, `PatchingError`.
func cellList(path: String, config: ModelConfig) throws -> Sweep {
  let bytes = try readFile(path, limit: 1 << 26)
  let selector = hookSelector(for: config)
  var columns: [String]?
  var cells: [ListedCell] = []
  var numbers: [String: Int] = [:]
  /// Rows so far.
  var seen: Set<ListedCell> = []
  for (index, line) in csvLines(bytes).enumerated() {
    let fields = csvFields(line).map { $0.split(separator: " ").joined(separator: " ") }
    if fields.allSatisfy(\.isEmpty) { continue }
    func fail(_ problem: CellListError.Problem) -> CellListError {
      CellListError(path: path, line: index + 1, problem: problem)
    }
    guard let names = columns else {
      for name in fields where CellColumn(rawValue: name) == nil && !isMeasured(name) {
        throw fail(.unknownColumn(name))
      }
      columns = fields
      guard Set(fields).count == fields.count, fields.contains(CellColumn.hook.rawValue) else {
        throw fail(.noHookColumn)
      }
      continue
    }
    guard fields.count == names.count else {
      throw fail(.wrongFields(found: fields.count, expected: names.count))
    }
    var row: [CellColumn: String] = [:]
    for (name, field) in zip(names, fields) where !field.isEmpty {
      if let column = CellColumn(rawValue: name) { row[column] = field }
    }
    func number(_ column: CellColumn) throws -> Int? {
      guard let field = row[column] else { return nil }
      guard let number = Int(field) else { throw fail(.notANumber(column: column.rawValue, field)) }
      return number
    }
    let patch = Patch(
      try hook(row[.hook] ?? "", layer: try number(.layer), selector, config, fail),
      head: try number(.head), place: row[.position].flatMap(Place.init(argument:)),
      key: row[.attended].flatMap(Place.init(argument:)), neuron: try number(.neuron))
    do throws(PatchingError) {
      try Sweep(name: "cells", list: [ListedCell(name: "", patches: [patch])]).check(config)
    } catch {
      throw fail(.cell(error))
    }
    let key = row[.group] ?? ""
    // Lists of results have a cell once a metric.
    guard seen.insert(ListedCell(name: "", group: key, patches: [patch])).inserted else { continue }
    if !key.isEmpty, let known = numbers[key] {
      cells[known].patches.append(patch)
      cells[known].name += " + " + name(of: patch)
    } else {
      numbers[key] = cells.count
      let group = row[.group].map { $0 + ": " } ?? ""
      cells.append(
        ListedCell(name: group + name(of: patch), group: row[.group], patches: [patch]))
    }
  }
  guard !cells.isEmpty else { throw CellListError(path: path, line: 1, problem: .empty) }
  return try Sweep(name: "cells", list: cells)
}

private enum CellColumn: String {
  case group, hook, layer, head, neuron
  case position = "pos"
  case attended = "src"
}

/// Whether a column of `analyze results --csv` says something of a cell rather than which one it is.
private func isMeasured(_ column: String) -> Bool {
  let all = [CellFacts.csvHeader, ResultComparison.Cell.csvHeader].flatMap {
    $0.split(separator: ",").map(String.init)
  }
  return all.contains(column)
}

/// The one hook that a row names.
private func hook(
  _ name: String, layer: Int?, _ selector: HookSelector, _ config: ModelConfig,
  _ fail: (CellListError.Problem) -> CellListError
) throws -> HookPoint {
  var points: [HookPoint]
  if let kind = HookKind.allCases.first(where: { $0.shortName == name }) {
    points = config.hookPoints.filter { $0.kind == kind }
  } else {
    do throws(HookSelectionError) {
      points = try selector.select([name]).compactMap(HookPoint.init(name:))
    } catch {
      throw fail(.hook(error))
    }
  }
  if let layer {
    let wanted = layer < 0 ? layer + config.layers : layer
    points = points.filter { $0.layer == wanted }
  }
  guard points.count == 1 else { throw fail(.notOneHook(name, layer: layer, points.count)) }
  return points[0]
}

/// A part of a cell in words, such as `z L9 H6 pos 14`.
private func name(of patch: Patch) -> String {
  [
    patch.hook.kind.shortName, patch.hook.layer.map { "L\($0)" }, patch.head.map { "H\($0)" },
    patch.neuron.map { "N\($0)" },
    patch.place.map { if case .index = $0 { "pos \($0)" } else { "\($0)" } },
    patch.key.map { "← \($0)" },
  ].compactMap { $0 }.joined(separator: " ")
}

/// What is wrong with a list of cells.
struct CellListError: ReportableError {
  enum Problem {
    case empty
    case unknownColumn(String)
    case noHookColumn
    case wrongFields(found: Int, expected: Int)
    case notANumber(column: String, String)
    case hook(HookSelectionError)
    case notOneHook(String, layer: Int?, Int)
    case cell(PatchingError)
  }

  let path: String
  let line: Int
  let problem: Problem

  var exitCode: SysExit { .badData }

  var description: String { "\(path), line \(line): \(what)" }

  private var what: String {
    switch problem {
    case .empty: "there are no cells; give a header and a row a cell"
    case .unknownColumn(let name):
      "unknown column \"\(shown(String(name.prefix(40))))\"; the columns are group, hook, layer, head, pos, src and neuron"
    case .noHookColumn:
      "the first line names the columns, each once, and hook among them"
    case .wrongFields(let found, let expected):
      "\(found) field\(found == 1 ? "" : "s") where the header has \(expected)"
    case .notANumber(let column, let field): "\(column) \"\(field)\" is not a whole number"
    case .hook(let error): error.description
    case .notOneHook(let name, nil, _):
      "\(name) is a hook of several layers; give the layer"
    case .cell(let error): error.description
    case .notOneHook(let name, let layer?, _): "there is no \(name) in layer \(layer)"
    }
  }
}
